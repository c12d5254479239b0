"""/openapi/v2 and /openapi/v3: what kube-apiserver merges into its own documents, and `kubectl explain` reads there.

Clients keep what they have by its hash, in a header (ETag) or, for ever, in the URL (`?hash=`). Named are our group and
its version alone: kube-apiserver takes every name from us that we claim, its own too.
Sources: k8s.io/kube-openapi/pkg/handler and handler3.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from app.api.accept import Clause, clauses, number
from app.api.answers import gzipped
from app.api.document import Document, served
from app.api.encoding import encoded
from app.api.negotiation import JSON, Wishes
from app.api.openapi_document import GROUPS_OF_V3, v2, v3
from app.go_syntax import parse_query

V2_PATH, V3_PATH = "/openapi/v2", "/openapi/v3"
_WORTH_COMPRESSING = 1400
"""Bytes of the v2 document; v3 is never compressed."""
_ONE_YEAR = timedelta(days=365)

_Content = tuple[bytes, str]
"""JSON, and its hash."""


class OpenApi:
    """Both versions' documents of a release; v3's of the version describes each metric that discovery names."""

    def __init__(self, release: str, metrics: Callable[[], Sequence[str]]) -> None:
        self._release = release
        self._metrics = metrics
        self._latest: dict[str, Document] = {}

    def everything(self, wishes: Wishes) -> Response:
        """`/openapi/v2`."""
        if _accepts_json(clauses(_accept(wishes))):
            response = self._serve(V2_PATH, _v2(self._release), wishes)
        else:
            response = Response(status_code=406)
        if len(response.body) >= _WORTH_COMPRESSING and _accepts_gzip(wishes.header(b"accept-encoding")):
            gzipped(response)
        for header in ("Accept-Encoding", "Accept"):
            response.headers.append("vary", header)
        return response

    def groups(self, wishes: Wishes) -> Response:
        """`/openapi/v3`: which documents there are, by URLs that change with them."""
        metrics = tuple(self._metrics())
        urls = {name: {"serverRelativeURL": _url(name, _v3(self._release, name, metrics)[1])} for name in GROUPS_OF_V3}
        return self._serve(V3_PATH, _content({"paths": urls}), wishes)

    def group(self, path: str, wishes: Wishes) -> Response:
        """One of v3's documents; for a name that isn't listed: nothing, as in Kubernetes."""
        name = path.removeprefix(f"{V3_PATH}/")
        wanted = clauses(_accept(wishes))
        if wanted and not _accepts_json(wanted):
            return Response(status_code=406, headers={"vary": "Accept"})
        if not wanted or name not in GROUPS_OF_V3:
            return Response()  # without `Vary`: Kubernetes' servers keep no header of an answer that has no body
        content = _, etag = _v3(self._release, name, tuple(self._metrics()))
        asked = parse_query(wishes.query).get("hash", [""])[0]
        response = self._serve(path, content, wishes)
        response.headers["vary"] = "Accept"
        # For another hash it's the present one all the same: no redirect passes kube-apiserver's proxy.
        if asked == etag:
            response.headers["cache-control"] = "public, immutable"
            response.headers["expires"] = format_datetime(datetime.now(UTC) + _ONE_YEAR, usegmt=True)
        return response

    def _serve(self, path: str, content: _Content, wishes: Wishes) -> Response:
        body, etag = content
        latest = self._latest.get(path)
        if latest is None or latest.etag != f'"{etag}"':
            latest = self._latest[path] = Document(body, f'"{etag}"', datetime.now(UTC).replace(microsecond=0))
        return served(latest, wishes)


def _accept(wishes: Wishes) -> str:
    return wishes.header(b"accept") or "*/*"


def _accepts_json(wanted: Iterable[Clause]) -> bool:
    return any(clause.type in {"application", "*"} and clause.subtype in {"json", "*"} for clause in wanted)


def _accepts_gzip(accepted: str) -> bool:
    """Source: github.com/NYTimes/gziphandler, which reads more here than Kubernetes does elsewhere."""
    for token in accepted.split(","):
        coding, *parameters = (part.strip() for part in token.split(";"))
        quality = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
        if coding.lower() == "gzip":
            return number(quality) > 0
    return False


def _url(name: str, etag: str) -> str:
    return f"{V3_PATH}/{name}?{urlencode({'hash': etag})}"


@cache
def _v2(release: str) -> _Content:
    return _content(v2(release))


@lru_cache(maxsize=8)
def _v3(release: str, name: str, metrics: tuple[str, ...]) -> _Content:
    return _content(v3(release, name, metrics))


def _content(content: Mapping[str, Any]) -> _Content:
    body = encoded(content, JSON).rstrip(b"\n")
    return body, hashlib.sha512(body).hexdigest().upper()
