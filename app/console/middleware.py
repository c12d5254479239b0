"""The checks before every page and action, in one place: path prefix, session, origin, CSRF token, read-only, headers.

Sources: the Fetch standard (Origin) and Fetch Metadata (Sec-Fetch-Site), which no page can forge.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clock import Instant
from app.console.errors import FOR_SCRIPTS, RequestError, error_response, sentence
from app.console.login import FormLimiter, Session, Sessions, session_cookie
from app.ratelimit import RateLimitedWarning, Slots
from app.settings import Network

MAX_BODY = 4 << 20
"""Bytes of an action: a job of 1 MiB, as hex or in JSON's escapes."""
MAX_FORM = 1 << 14
"""Bytes of a form of a client that isn't signed in."""
BODY_S = 30.0
"""Deadline for the body of an action."""
FORM_S = 5.0
"""Deadline for a form of a client that isn't signed in."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with the console's forms too
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every response, unless it sets them itself."""
_MAX_UPLOADS = 16
"""Bodies in flight: each may take MAX_BODY of memory."""
_MAX_FIELDS = 10
_MAX_PROXIES = 10
"""Entries of X-Forwarded-For that are read: thousands fit into a header, and each takes 20 µs."""
_MAX_LOGGED_PATH = 200
_OPEN_PATHS = ("/login", "/healthz")
JOBS = "jobs"
"""Key in the audit values of a request that shows bodies of jobs: their IDs. It is logged, as every POST is."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SecurityMiddleware:
    """Checks each request in the order of `__call__` before the application gets it.

    The application finds in `scope["state"]`: `session` (None only on paths that need no sign-in), `source` (the
    client's address), `form` (the fields of a POST), and `audit`, a dict of what the audit log shows of this request.
    """

    app: ASGIApp
    sessions: Sessions
    shared_session: Session | None
    """Everyone's session with --auth none."""
    only_loopback: bool
    """Reject requests for a host name other than localhost: without sign-in, another site's page could send them."""
    read_only: bool
    prefix: str
    clock: Callable[[], Instant]
    trusted_proxies: Sequence[Network] = ()
    _forms: FormLimiter = field(default_factory=FormLimiter, init=False)
    _uploads: Slots = field(default_factory=lambda: Slots(_MAX_UPLOADS, _MAX_UPLOADS), init=False)
    _rejections: RateLimitedWarning = field(default_factory=RateLimitedWarning, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path: str = scope["path"]
        send = _with_headers(send)
        if self.prefix and path != "/healthz":
            if path == self.prefix:
                await RedirectResponse(f"{self.prefix}/", status_code=308)(scope, receive, send)
                return
            if not path.startswith(f"{self.prefix}/"):
                await PlainTextResponse("Not found.\n", status_code=404)(scope, receive, send)
                return
            path = path.removeprefix(self.prefix)
        headers = Headers(scope=scope)
        session = self.shared_session or self.sessions.find(session_cookie(headers), self.clock().monotonic_s)
        source = client_address(scope, headers, self.trusted_proxies)
        state: dict[str, Any] = {"session": session, "source": source, "form": {}, "audit": {}}
        scope = {**scope, "path": path, "root_path": "", "state": state}
        if session is None and path not in _OPEN_PATHS and not path.startswith("/static/"):
            await self._to_sign_in(scope)(scope, receive, send)
            return
        try:
            receive = await self._check(scope, receive, headers)
        except RequestError as error:
            state["audit"]["error"] = str(error)
            self._log(scope, error.status)
            await _rejection(path, str(error), error.status)(scope, receive, send)
            return

        async def audited(message: Message) -> None:
            changes_or_shows = scope["method"] == "POST" or JOBS in state["audit"]
            if message["type"] == "http.response.start" and changes_or_shows:
                self._log(scope, message["status"])
            await send(message)

        await self.app(scope, receive, audited)

    def _to_sign_in(self, scope: Scope) -> Response:
        path = scope["path"]
        if path.startswith(FOR_SCRIPTS):
            return _rejection(path, "you aren't signed in, or the session ended: sign in", 401)
        query = scope["query_string"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        back = f"?next={quote(target, safe='')}" if target != "/" and scope["method"] != "POST" else ""
        return RedirectResponse(f"{self.prefix}/login{back}", status_code=303)

    async def _check(self, scope: Scope, receive: Receive, headers: Headers) -> Receive:
        """Return `receive` for the application. Raises RequestError if the request must not reach it."""
        path, state = scope["path"], scope["state"]
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            raise RequestError("the console accepts only GET, HEAD and POST", 405)
        if self.only_loopback and path != "/healthz" and not is_loopback_host(headers.get("host", "")):
            raise RequestError(
                "without a password the console accepts only localhost; set a password, or --force-open", 403
            )
        if scope["method"] != "POST":
            return receive
        if reason := cross_site_reason(headers):
            raise RequestError(f"the request was rejected: {reason}", 403)
        is_action = path.startswith("/actions/")
        if is_action and self.read_only:
            raise RequestError("the console is read-only (--read-only): nothing was changed", 403)
        session: Session | None = state["session"]
        body = await self._body(state, receive, headers, MAX_BODY if session and is_action else MAX_FORM)
        state["form"] = _parse_form(headers, body)
        token = headers.get("x-csrf-token") or state["form"].get("csrf") or ""
        if path != "/login" and not (session and session.accepts(token)):
            raise RequestError("the CSRF token is missing or expired: reload the page and retry", 403)
        message: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return message.pop() if message else await receive()

        return replayed

    async def _body(self, state: Mapping[str, Any], receive: Receive, headers: Headers, limit: int) -> bytes:
        """Return the request's body. Raises RequestError."""
        within_s = BODY_S if state["session"] else FORM_S
        try:
            if state["session"] is None:
                async with self._forms.arriving(state["source"], within_s):
                    return await _read_body(receive, headers, limit)
            if not self._uploads.take(""):
                raise RequestError("too many requests at once: retry in a moment", 503)
            try:
                async with asyncio.timeout(within_s):
                    return await _read_body(receive, headers, limit)
            finally:
                self._uploads.release("")
        except TimeoutError:
            raise RequestError(f"the request body didn't arrive within {within_s:.0f} s", 408) from None

    def _log(self, scope: Scope, status: int) -> None:
        state = scope["state"]
        session: Session | None = state["session"]
        values: dict[str, Any] = {
            "method": scope["method"],
            "path": scope["path"][:_MAX_LOGGED_PATH],
            "status": status,
            "source": state["source"],
            "session": session.name if session else None,
            **state["audit"],
        }
        if session is None and status >= 400 and status != 401:
            # any client can cause these, as many as it likes; wrong passwords (401) are limited
            self._rejections.warning("audit", **values)
        else:
            _log.info("audit", **values)


def client_address(scope: Scope, headers: Headers, trusted: Sequence[Network]) -> str:
    """Return the peer's address; if it is a trusted proxy's, the last one in X-Forwarded-For that isn't.

    Each proxy appends the address of its client, so the entries are true from the right, up to and including the first
    that isn't a trusted proxy's. The entries before it are whatever that client sent. Behind more than _MAX_PROXIES
    proxies, return the address of one.
    """
    address = str(scope["client"][0]) if scope.get("client") else ""
    entries = [entry for header in headers.getlist("x-forwarded-for") for entry in header.split(",")]
    for entry in entries[: -_MAX_PROXIES - 1 : -1]:
        peer = _parse_address(address)
        if peer is None or not any(peer in network for network in trusted):
            break
        client = _parse_address(entry)
        if client is None:
            break
        address = str(client)
    return address


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address, which may have a port, as some proxies write: `10.0.0.1:80`, `[fd00::1]:80`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def cross_site_reason(headers: Headers) -> str | None:
    """Return why a POST isn't from the console's own page, or None if it may be. Every browser sends Origin."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in {None, "same-origin"}:
        return f"it comes from another site (Sec-Fetch-Site: {site[:20] if site else ''})"
    if origin is None:
        return None
    scheme, _, authority = origin.lower().partition("://")
    port, host = {"http": ":80", "https": ":443"}.get(scheme), headers.get("host", "").lower()
    # browsers omit the scheme's default port in both, but a proxy may add it to Host; a sandboxed page sends `null`
    if not port or not host or authority.removesuffix(port) != host.removesuffix(port):
        return "its Origin isn't the console's; a proxy in front of the console must pass on the Host header"
    return None


def is_loopback_host(host: str) -> bool:
    """Return whether a Host header names this machine; a page of another site whose name resolves to it doesn't."""
    try:
        name = urlsplit(f"//{host}").hostname if "//" not in host else None
    except ValueError:  # such as half an IPv6 address
        return False
    return name is not None and (name == "localhost" or name.endswith(".localhost") or is_loopback_address(name))


def is_loopback_address(address: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def media_type(headers: Headers) -> str:
    """Return the body's media type without parameters; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse_form(headers: Headers, body: bytes) -> Mapping[str, str]:
    """Return an HTML form's fields, none if the body isn't one. Raises RequestError."""
    if media_type(headers) != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise RequestError(f"the form isn't UTF-8, or has more than {_MAX_FIELDS} fields") from None


async def _read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """Return the whole body. Raises RequestError: 413 beyond `limit` bytes, 408 if the connection ends before."""
    too_large = RequestError(f"the request body exceeds {limit:,} bytes", 413)
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > limit:
        raise too_large
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("the connection ended in the middle of the request", 408)
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large
        more = message.get("more_body", False)
    return bytes(body)


def _rejection(path: str, message: str, status: int) -> Response:
    if path.startswith(FOR_SCRIPTS):
        return error_response(message, status)
    return PlainTextResponse(f"{sentence(message)}\n", status_code=status)


_ENCODED_HEADERS = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            missing = [pair for pair in _ENCODED_HEADERS if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", ()), *missing]}
        await send(message)

    return sending
