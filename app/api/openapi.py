"""/openapi/v2 and /openapi/v3: what kube-apiserver merges into its own documents, and `kubectl explain` reads there.

Clients keep what they have by its hash, in a header (ETag) or, for ever, in the URL (`?hash=`). Named are our group and
its version alone: kube-apiserver takes every name from us that we claim, its own too.
Sources: k8s.io/kube-openapi/pkg/handler and handler3.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from app.api.accept import clauses
from app.api.answers import compressed
from app.api.encoding import encoded
from app.api.negotiation import JSON, Wishes
from app.api.openapi_document import GROUPS_OF_V3, v2, v3
from app.go_syntax import parse_query

V2_PATH, V3_PATH = "/openapi/v2", "/openapi/v3"
_WORTH_COMPRESSING = 1400
"""Bytes of the v2 document; v3 is never compressed."""
_ONE_YEAR = timedelta(days=365)

_Document = tuple[bytes, str]
"""JSON, and its hash."""


class OpenApi:
    """Both versions' documents of a release; v3's of the version describes each metric that discovery names."""

    def __init__(self, release: str, metrics: Callable[[], Sequence[str]]) -> None:
        self._release = release
        self._metrics = metrics

    def everything(self, wishes: Wishes) -> Response:
        """`/openapi/v2`."""
        if not _accepts_json(wishes):
            return _nothing(406)
        response = _unless_known(_v2(self._release), wishes)
        response.headers["vary"] = "Accept"
        if len(response.body) < _WORTH_COMPRESSING:
            return response
        return compressed(response, wishes)

    def groups(self, wishes: Wishes) -> Response:
        """`/openapi/v3`: which documents there are, by URLs that change with them."""
        metrics = tuple(self._metrics())
        urls = {name: {"serverRelativeURL": _url(name, _v3(self._release, name, metrics)[1])} for name in GROUPS_OF_V3}
        return _unless_known(_document({"paths": urls}), wishes)

    def group(self, path: str, wishes: Wishes) -> Response:
        """One of v3's documents; for a name that isn't listed: nothing, as in Kubernetes."""
        name = path.removeprefix(f"{V3_PATH}/")
        if not _accepts_json(wishes):
            return _nothing(406)
        if name not in GROUPS_OF_V3:
            return _nothing(200)
        document = _, etag = _v3(self._release, name, tuple(self._metrics()))
        asked = parse_query(wishes.query).get("hash", [""])[0]
        if asked and asked != etag:
            return _moved(_url(name, etag), etag)
        response = _unless_known(document, wishes)
        response.headers["vary"] = "Accept"
        if asked:
            response.headers["cache-control"] = "public, immutable"
            response.headers["expires"] = format_datetime(datetime.now(UTC) + _ONE_YEAR, usegmt=True)
        return response


def _accepts_json(wishes: Wishes) -> bool:
    wanted = clauses(wishes.header(b"accept") or "*/*")
    return any(clause.type in {"application", "*"} and clause.subtype in {"json", "*"} for clause in wanted)


def _unless_known(document: _Document, wishes: Wishes) -> Response:
    """The document, or 304 for who has it already."""
    body, etag = document
    headers = {"etag": f'"{etag}"'}
    known = {tag.strip().removeprefix("W/") for tag in wishes.header(b"if-none-match").split(",")}
    if known & {"*", f'"{etag}"'}:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=JSON)


def _moved(url: str, etag: str) -> Response:
    headers = {"location": url, "etag": f'"{etag}"', "vary": "Accept"}
    return Response(status_code=301, headers=headers, media_type=JSON)


def _nothing(code: int) -> Response:
    return Response(status_code=code, headers={"vary": "Accept"})


def _url(name: str, etag: str) -> str:
    return f"{V3_PATH}/{name}?{urlencode({'hash': etag})}"


@cache
def _v2(release: str) -> _Document:
    return _document(v2(release))


@lru_cache(maxsize=8)
def _v3(release: str, name: str, metrics: tuple[str, ...]) -> _Document:
    return _document(v3(release, name, metrics))


def _document(content: Mapping[str, Any]) -> _Document:
    body = encoded(content, JSON).rstrip(b"\n")
    return body, hashlib.sha512(body).hexdigest().upper()
