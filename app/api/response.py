"""Objects as responses, in the representation that was negotiated; errors too.

Sources: k8s.io/apimachinery/pkg/runtime/serializer/json; sigs.k8s.io/yaml.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import structlog
import yaml
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.negotiation import JSON, YAML, Representation, negotiate
from app.api.request import Request
from app.api.status import StatusError

Object = Mapping[str, Any]

COMPRESSED_FROM = 128 * 1024
"""Bytes: longer responses are compressed for clients that accept it."""
_COMPRESSION_LEVEL = 1
_NEVER_FOLD = 2**31 - 1
_NOT_UTF8 = re.compile("[\ud800-\udfff]")
_FOR_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_FOR_HTML_ONE = re.compile("[<>&\u2028\u2029]")
_STRING = "tag:yaml.org,2002:str"
_STRINGS = {_STRING, "tag:yaml.org,2002:yaml", "tag:yaml.org,2002:value"}
"""`*` and `=` are something else to PyYAML alone."""
_NOT_A_STRING = re.compile(r"[yYnN]|0o[0-7]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
"""A string to PyYAML, and something else to other YAML parsers."""

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_indented = json.JSONEncoder(separators=(",", ": "), ensure_ascii=False, indent=2).encode
_log = structlog.get_logger()


def encode(content: Object, media_type: str = JSON, *, indent: bool = False) -> bytes:
    """Return an object as a media type. What isn't UTF-8 is replaced; JSON can't be mistaken for HTML."""
    text = _indented(content) if indent else _compact(content) + "\n"
    if _FOR_HTML_ONE.search(text):
        for mark, escape in _FOR_HTML.items():
            text = text.replace(mark, escape)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = _NOT_UTF8.sub(r"\\ufffd", text).encode()
    if media_type != YAML:
        return encoded
    plain = json.loads(encoded)
    return bytes(yaml.dump(plain, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, width=_NEVER_FOLD))


class _Dumper(yaml.CSafeDumper):
    """Writes strings as sigs.k8s.io/yaml does."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Write everything out."""
        return True

    def string(self, text: str) -> yaml.ScalarNode:
        """Return a plain scalar if every YAML parser reads it as a string."""
        style = None
        if "\n" in text:
            style = "|"
        elif _NOT_A_STRING.fullmatch(text) or self.resolve(yaml.ScalarNode, text, (True, False)) not in _STRINGS:  # type: ignore[no-untyped-call]
            style = '"'
        return self.represent_scalar(_STRING, text, style=style)


_Dumper.add_representer(str, _Dumper.string)


def respond(content: Object, request: Request, representation: Representation, code: int = 200) -> Response:
    """Return an object in a negotiated representation."""
    body = encode(content, representation.media_type, indent=request.wants_indent)
    response = Response(body, code, media_type=representation.media_type)
    return compress(response, request) if len(body) > COMPRESSED_FROM else response


def compress(response: Response, request: Request) -> Response:
    """Return the same response, gzipped if the client accepts that."""
    accepted = request.headers.get(b"accept-encoding", b"").split(b",")
    if b"gzip" in {coding.strip() for coding in accepted}:
        response.body = gzip.compress(response.body, _COMPRESSION_LEVEL, mtime=0)
        response.headers["content-length"] = str(len(response.body))
        response.headers["content-encoding"] = "gzip"
        response.headers.append("vary", "Accept-Encoding")
    return response


def etag_of(body: bytes) -> str:
    """Return the entity tag of a representation, with its quotes."""
    return f'"{hashlib.sha512(body).hexdigest().upper()}"'


def unless_known(etag: str, request: Request, response: Response) -> Response:
    """Return `response` with its ETag, or 304 if the client has this version already."""
    known = {tag.strip().removeprefix("W/") for tag in request.header(b"if-none-match").split(",")}
    if not known.isdisjoint({etag, "*"}):
        headers = {name: value for name, value in response.headers.items() if name in {"vary", "cache-control"}}
        response = Response(status_code=304, headers=headers)
    response.headers["etag"] = etag
    return response


class ErrorResponses:
    """Middleware: decodes the path, and answers every exception with a `Status`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request: Request = scope["request"]
        try:
            scope["path"] = request.decode_path()
            await self._app(scope, receive, send)
        except StatusError as error:
            await self._answer(error, scope, receive, send)
        except Exception:
            if request.status:  # too late for another response
                raise
            _log.exception(
                "request failed", method=request.method, path=request.path, audit_id=request.audit_id.decode()
            )
            unexpected = StatusError("InternalError", "internal error: see the beanscale server log")
            await self._answer(unexpected, scope, receive, send)

    async def _answer(self, error: StatusError, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the error as a `Status`; in JSON if nothing acceptable is available."""
        request: Request = scope["request"]
        request.error = without_traceback(error)
        try:
            representation = negotiate(request.header(b"accept"))
        except StatusError:
            representation = Representation()
        response = respond(error.content, request, representation, error.code)
        response.headers["x-content-type-options"] = "nosniff"
        if retry_after_s := (error.details or {}).get("retryAfterSeconds"):
            response.headers["retry-after"] = str(retry_after_s)
        await response(scope, receive, send)


def without_traceback(error: StatusError) -> StatusError:
    """Drop the frames, which hold the request and the error: such a circle would stay in memory for minutes."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
