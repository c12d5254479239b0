"""A request, parsed once: what the middleware, the authorizer and the endpoints know about it.

The path is decoded once, and routes match the result; nothing interprets it again. The query string is parsed only
after authentication.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qs, unquote_to_bytes

from app.api.status import StatusError
from app.kube.reviews import PathAttributes, ResourceAttributes, User
from app.metrics.selector import EVERYTHING, Selector, SelectorError, parse_selector

MAX_CACHED_QUERY = 256
"""Bytes of a query whose options are cached."""
_MAX_CACHED_COMMAS = 16
"""In such a query: each condition, and each value, takes a hundred times its size."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""How the User-Agents begin that get indented JSON."""

AuthenticatedBy = Literal["front-proxy", "client-certificate", "token", "anonymous"]
Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, and how that was proved."""

    user: User
    by: AuthenticatedBy


class Request:
    """A request's head, and what the middleware has found out about it so far.

    Made by Audit, which sets `audit_id` and `status`; Authentication sets `caller`, Authorization `attributes` and
    `allowed_by`, ErrorResponses `error`.
    """

    __slots__ = (
        "_options",
        "_parameters",
        "allowed_by",
        "attributes",
        "audit_id",
        "caller",
        "error",
        "headers",
        "method",
        "path",
        "query",
        "raw_headers",
        "status",
    )

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        """Percent-encoded until `decode_path`."""
        self.query: bytes = scope["query_string"]
        self.raw_headers: Headers = scope["headers"]
        self.headers: Mapping[bytes, bytes] = dict(reversed(scope["headers"]))
        """The first value of each name."""
        self.audit_id = b""
        self.caller: Caller | None = None
        self.attributes: ResourceAttributes | PathAttributes | None = None
        """What was authorized."""
        self.allowed_by: str | None = None
        """Why it was authorized; may be empty."""
        self.error: StatusError | None = None
        self.status = 0
        """The HTTP status code once the response has started."""
        self._parameters: Mapping[str, list[str]] | None = None
        self._options: ListOptions | None = None

    def decode_path(self) -> str:
        """Decode the path once and return it. Raises StatusError 400.

        Of the API's paths trailing slashes are dropped, as Kubernetes does; all other paths count to the letter.
        """
        if "%" in self.path:
            path = percent_decoded(self.path.encode("latin-1"))
            if path is None:
                raise StatusError("BadRequest", "the path has an invalid percent-encoding")
            self.path = path
        if self.path.endswith("/") and self.path.startswith(("/apis/", "/version/")):
            self.path = self.path.rstrip("/")
        return self.path

    def header(self, name: bytes) -> str:
        """Return a header's value, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None if it is absent."""
        if not self.query.count(name.encode()):
            return None
        return self.parameters.get(name, [None])[0]

    @property
    def parameters(self) -> Mapping[str, list[str]]:
        """The values of each query parameter, parsed once."""
        if self._parameters is None:
            self._parameters = parse_query(self.query)
        return self._parameters

    @property
    def options(self) -> "ListOptions":
        """The options of a list, parsed once."""
        if self._options is None:
            query = self.query
            commas = query.count(b",") + query.lower().count(b"%2c")
            is_light = len(query) <= MAX_CACHED_QUERY and commas <= _MAX_CACHED_COMMAS
            self._options = _cached_options(query) if is_light else _parse_options(self.parameters)
        return self._options

    @property
    def is_authenticated(self) -> bool:
        """True if a credential proved who the caller is; False before Authentication too."""
        return self.caller is not None and self.caller.by != "anonymous"

    @property
    def wants_indent(self) -> bool:
        """True if JSON is to be indented for people: by `pretty` of an authenticated client, else by the User-Agent."""
        if self.is_authenticated and (pretty := self.parameter("pretty")):
            return pretty in {"1", "t", "T", "true", "TRUE", "True"}
        return self.headers.get(b"user-agent", b"").startswith(_PEOPLE)


def percent_decoded(raw: bytes) -> str | None:
    """Return the text with escapes decoded once, or None if one is invalid; bytes other than UTF-8 as surrogates."""
    return None if _BAD_ESCAPE.search(raw) else unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Return the values of each parameter, in their order; bytes other than UTF-8 as surrogates."""
    return parse_qs(query.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The parameters of a list that change its values or its authorization (`ListOptions` in Kubernetes)."""

    selector: Selector = EVERYTHING
    watch: bool = False
    error: str = ""
    """Why the list can't be had; the selector is then everything if it couldn't be parsed."""


def _parse_options(several: Mapping[str, list[str]]) -> ListOptions:
    parameters = {name: values[0] for name, values in several.items()}
    errors = [
        f"{name} must be an integer"
        for name in ("limit", "timeoutSeconds")
        if parameters.get(name) and not _INTEGER.fullmatch(parameters[name])
    ]
    selector = EVERYTHING
    try:
        selector = parse_selector(parameters.get("labelSelector", ""))
    except SelectorError as error:
        errors.append(str(error))
    if parameters.get("fieldSelector"):
        # Values have no fields. To ignore it would return more than was authorized, by name, in kube-apiserver.
        errors.append("field selectors are not supported here: use a label selector")
    watch = parameters.get("watch", "false").lower() not in {"0", "false"}
    return ListOptions(selector, watch, "; ".join(errors))


@lru_cache(maxsize=1024)  # an HPA repeats the same query forever
def _cached_options(query: bytes) -> ListOptions:
    return _parse_options(parse_query(query))
