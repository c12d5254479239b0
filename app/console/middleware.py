"""What stands before every page and action, in one place: path prefix, session, origin, token, read-only, headers.

Whether a request comes from the console's own pages, by what a browser says that no page can change. Pure.

Sources: the Fetch standard (Origin) and Fetch Metadata (Sec-Fetch-Site).

A request as the guard sees it: its headers, cookies and body, read within bounds.
"""

import asyncio
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import structlog
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clock import Instant
from app.console.errors import FOR_SCRIPTS, RequestError, error_response, sentence
from app.console.sessions import Crowd, Session, Sessions
from app.ratelimit import RateLimitedWarning

_LOCAL = "localhost"


def foreign(headers: Mapping[str, str]) -> str | None:
    """Why an action isn't our own page's, as a clause; None where it may be. No browser sends a POST without Origin."""
    site = headers.get("sec-fetch-site")
    if site not in {None, "same-origin"}:
        return f"it comes from another site (Sec-Fetch-Site: {site[:20] if site else ''})"
    origin, host = headers.get("origin"), headers.get("host", "").lower()
    if origin is not None and (not host or _host_of(origin) != host):
        return (
            "its Origin isn't the console's own; a proxy before the console must hand on the Host header with its port"
        )
    return None


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine: a page of another site that has its name lead here doesn't."""
    try:
        name = urlsplit(f"//{host}").hostname if host.count("//") == 0 else None
    except ValueError:  # as of half an IPv6 address
        return False
    return name is not None and (name == _LOCAL or name.endswith(f".{_LOCAL}") or is_loopback_address(name))


def is_loopback_address(address: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host_of(origin: str) -> str:
    scheme, separator, host = origin.partition("://")
    if not separator or scheme not in {"http", "https"}:
        return ""  # as `null`, which a sandboxed page has
    return host.removesuffix(":443" if scheme == "https" else ":80").lower()


MOST_BODY = 4 << 20
"""Bytes: a job of 1 MiB, written as hex or in JSON's escapes."""
MOST_FORM = 1 << 14
"""Bytes, of who hasn't signed in yet."""
BODY_S = 30.0
"""How long a body may take to come."""
FORM_S = 5.0
"""The same, of who hasn't signed in yet."""
_COOKIE = "beanscale"
_MOST_FIELDS = 10
_PORT = re.compile(r":([0-9]{1,5})$")


def headers_of(scope: Scope) -> Mapping[str, str]:
    """By lower-case name; of several of one name the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def cookie_name(headers: Mapping[str, str]) -> str:
    """With the port that the browser sees: it shares cookies among all ports, as of two clusters' port-forwards."""
    port = _PORT.search(headers.get("host", ""))
    return f"{_COOKIE}-{port[1]}" if port else _COOKIE


def cookie_of(headers: Mapping[str, str]) -> str | None:
    """What our cookie holds."""
    wanted = cookie_name(headers)
    for pair in headers.get("cookie", "").split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name == wanted:
            return value
    return None


def is_https(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether the browser's side is encrypted, as a proxy before us says, or the browser itself with its forms."""
    told = headers.get("x-forwarded-proto", "").split(",")[0].strip()
    return "https" in {scope.get("scheme"), told} or headers.get("origin", "").startswith("https://")


async def read_body(receive: Receive, headers: Mapping[str, str], most: int, within_s: float = BODY_S) -> bytes:
    """Return all of it. Raises RequestError: 413 for more than `most` bytes, 408 after `within_s` seconds."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(within_s):
            return await _read(receive, most)
    except TimeoutError:
        raise RequestError(f"the request body didn't arrive within {within_s:.0f} s", 408) from None


async def _read(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("the connection ended in the middle of the request", 408)
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> RequestError:
    return RequestError(f"the request body exceeds {most:,} bytes", 413)


def again(body: bytes, receive: Receive) -> Receive:
    """For whoever comes next: the body once more, and then what else comes."""
    message: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return message.pop() if message else await receive()

    return receive_again


def form_of(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
    """An HTML form's fields; none where it is none, or has too many."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer a browser sends `Origin: null` with our own forms too
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer that doesn't say otherwise itself."""
_ENCODED = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())
_FOR_ALL = frozenset({"/login", "/healthz"})
_ACTIONS = "/actions/"
_FOR_THE_ASKING = frozenset(range(400, 600)) - {401}
"""What refuses a stranger, who can have as many of them as they like; of wrong guesses only so many."""
_LONGEST_PATH = 200
_MOST_BODIES = 16
"""That may be on their way at once: each may take MOST_BODY of memory."""
_METHODS = frozenset({"GET", "HEAD", "POST"})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Guard:
    """The ASGI application that lets requests through to `inner`.

    For `inner`, `scope["state"]` has `session` (None only where nobody need be signed in), `form` (of a POST) and
    `audit`, a dictionary to put facts for the audit log's line into.
    """

    inner: ASGIApp
    sessions: Sessions
    everybody: Session | None
    """Whose session everybody has, with --auth none."""
    only_loopback: bool
    """Whether whoever calls this machine by another name is turned away: nobody has to sign in."""
    read_only: bool
    prefix: str
    clock: Callable[[], Instant]
    _crowd: Crowd = field(default_factory=Crowd, init=False)
    _acting: Crowd = field(default_factory=lambda: Crowd(_MOST_BODIES, _MOST_BODIES, "requests"), init=False)
    _audit: RateLimitedWarning = field(default_factory=RateLimitedWarning, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        protected = _with_headers(send)
        path = self._below_prefix(scope["path"])
        if path is None:
            await PlainTextResponse("there is nothing here\n", status_code=404)(scope, receive, protected)
            return
        if path == "":
            await RedirectResponse(f"{self.prefix}/", status_code=308)(scope, receive, protected)
            return
        scope = {**scope, "path": path, "root_path": ""}
        answer = await self._answer(scope, receive, headers_of(scope), protected)
        if answer is not None:
            await answer(scope, receive, protected)

    def _below_prefix(self, path: str) -> str | None:
        if path == "/healthz" or not self.prefix:
            return path
        if path != self.prefix and not path.startswith(f"{self.prefix}/"):
            return None
        return path.removeprefix(self.prefix)

    async def _answer(self, scope: Scope, receive: Receive, headers: Mapping[str, str], send: Send) -> Response | None:
        """What is answered instead of `inner`, which else has answered."""
        path: str = scope["path"]
        audit: dict[str, Any] = {}
        session = self.everybody or self.sessions.find(cookie_of(headers), self.clock().monotonic_s)
        scope["state"] = {"session": session, "form": {}, "audit": audit}
        try:
            self._check(scope, headers)
            if session is None and not _is_for_all(path):
                return self._sign_in(scope)
            if scope["method"] == "POST":
                receive = await self._check_post(scope, receive, headers, session)
        except RequestError as refused:
            self._tell(scope, audit, refused.status, str(refused))
            return _refusal(path, refused.status, str(refused))
        await self.inner(scope, receive, self._told(scope, audit, send))
        return None

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        if scope["method"] not in _METHODS:
            raise RequestError("the console accepts only GET, HEAD and POST", 405)
        if self.only_loopback and scope["path"] != "/healthz" and not is_loopback(headers.get("host", "")):
            raise RequestError(
                "without a password the console accepts only localhost; set a password, or --force-open", 403
            )

    def _sign_in(self, scope: Scope) -> Response:
        if scope["path"].startswith(FOR_SCRIPTS):
            return _refusal(scope["path"], 401, "you aren't signed in, or the session ended: sign in")
        query = scope["query_string"].decode("latin-1")
        here = f"{scope['path']}?{query}" if query else scope["path"]
        worth_it = here != "/" and scope["method"] != "POST"
        there = f"?next={quote(here, safe='')}" if worth_it else ""
        return RedirectResponse(f"{self.prefix}/login{there}", status_code=303)

    async def _check_post(
        self, scope: Scope, receive: Receive, headers: Mapping[str, str], session: Session | None
    ) -> Receive:
        """The request's body, once it may be acted on. Raises RequestError."""
        if reason := foreign(headers):
            raise RequestError(f"the request was rejected: {reason}", 403)
        is_action = scope["path"].startswith(_ACTIONS)
        if is_action and self.read_only:
            raise RequestError("the console is read-only (--read-only): nothing was changed", 403)
        body = await self._body(scope, receive, headers, MOST_BODY if is_action else MOST_FORM)
        form = scope["state"]["form"] = form_of(headers, body)
        token = headers.get("x-csrf-token") or form.get("csrf") or ""
        if scope["path"] != "/login" and not (session and session.vouches(token)):
            raise RequestError("the CSRF token is missing or expired: reload the page and retry", 403)
        return again(body, receive)

    async def _body(self, scope: Scope, receive: Receive, headers: Mapping[str, str], most: int) -> bytes:
        if scope["state"]["session"] is not None:
            with self._acting.one_more(""):
                return await read_body(receive, headers, most)
        with self._crowd.one_more(_source(scope)):
            return await read_body(receive, headers, MOST_FORM, FORM_S)

    def _told(self, scope: Scope, audit: dict[str, Any], send: Send) -> Send:
        """`send`, which tells of an action once its verdict is known."""

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "POST":
                self._tell(scope, audit, message["status"])
            await send(message)

        return telling

    def _tell(self, scope: Scope, audit: dict[str, Any], status: int, error: str = "") -> None:
        session = scope["state"]["session"]
        facts = {
            "method": scope["method"],
            "path": scope["path"][:_LONGEST_PATH],
            "status": status,
            "source": _source(scope),
            "session": session.name if session else None,
            **({"error": error} if error else {}),
            **audit,
        }
        if session is None and status in _FOR_THE_ASKING:
            self._audit.warning("audit", **facts)  # as often as strangers like
        else:
            _log.info("audit", **facts)


def _source(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_for_all(path: str) -> bool:
    return path in _FOR_ALL or path.startswith("/static/")


def _refusal(path: str, status: int, message: str) -> Response:
    if path.startswith(FOR_SCRIPTS):
        return error_response(message, status)
    return PlainTextResponse(f"{sentence(message)}\n", status_code=status)


def _with_headers(send: Send) -> Send:
    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            missing = [pair for pair in _ENCODED if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", ()), *missing]}
        await send(message)

    return protected
