"""Who is signed in: sessions, their cookies, the limits on guessing, and the routes of signing in and out.

passwords.py compares the password. Sessions are in memory, so a restart signs everyone out. Times are arguments, in
monotonic seconds.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.clock import Instant
from app.console.errors import RequestError
from app.console.passwords import Password
from app.console.rendering import Rendering
from app.ratelimit import TokenBucket

LIFETIME_S = 12 * 3600.0
"""Seconds that a session lasts."""
MAX_SESSIONS = 1000
"""One session more ends the oldest."""
BROWSER_LIFETIME_S = 90 * 86400
"""Seconds for which a browser that signed in has its own limit of guesses."""
GUESSES = (10, 6.0)
"""Wrong passwords at once, and the seconds until one more: of one address, or of one browser that signed in before."""
ALL_GUESSES = (100, 0.6)
"""Wrong passwords at once, and the seconds until one more, of all addresses: an attacker may have many."""
MAX_SOURCES = 10_000
WRONG_PASSWORD_S = 1.0
"""Delay of the response to a wrong password."""
_TOKEN_BYTES = 32
_PORT = re.compile(r":([0-9]{1,5})$")
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x7e]{0,1999}")
"""A browser reads `//` and `/\\` as the start of another host's address."""


@dataclass(eq=False)
class Session:
    """One browser that knows the password."""

    started_s: float
    source: str
    """The address that signed in."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES), repr=False)
    """The CSRF token: sent with each action; other sites can't know it."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """For the log; unrelated to the cookie."""
    ended: bool = False
    """Signed out, or the password has changed."""

    def is_valid(self, now_s: float) -> bool:
        """Return whether the browser is still signed in."""
        return not self.ended and now_s - self.started_s < LIFETIME_S

    def accepts(self, token: str) -> bool:
        """Return whether `token` is the CSRF token, in constant time."""
        return hmac.compare_digest(token.encode(errors="replace"), self.token.encode())


class Sessions:
    """All sessions, by their cookie's digest: memory contains no usable cookie, and lookup time reveals none."""

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._by_digest: OrderedDict[bytes, Session] = OrderedDict()

    def start(self, source: str, now_s: float) -> tuple[str, Session]:
        """Return a new cookie value and its session. The value is never one that a browser sent."""
        cookie, session = secrets.token_urlsafe(_TOKEN_BYTES), Session(now_s, source)
        self._by_digest[_digest(cookie)] = session
        if len(self._by_digest) > self._limit:
            self._by_digest.popitem(last=False)[1].ended = True
        return cookie, session

    def find(self, cookie: str, now_s: float) -> Session | None:
        """Return the valid session of a cookie value."""
        session = self._by_digest.get(_digest(cookie))
        if session is not None and not session.is_valid(now_s):
            self.end(cookie)
            return None
        return session

    def end(self, cookie: str) -> None:
        """Sign out."""
        session = self._by_digest.pop(_digest(cookie), None)
        if session is not None:
            session.ended = True

    def end_all(self) -> None:
        """Sign everyone out."""
        for session in self._by_digest.values():
            session.ended = True
        self._by_digest.clear()


class LoginLimiter:
    """Limits wrong passwords. A browser that signed in before has its own limit, which no other client can use up."""

    def __init__(self, now_s: float) -> None:
        self._all = TokenBucket(*ALL_GUESSES, now_s)
        self._sources: OrderedDict[str, TokenBucket] = OrderedDict()
        self._browsers: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def take(self, source: str, browser: str, now_s: float) -> float:
        """Take a guess, before the password is checked. Return 0, or the seconds to wait where none is left.

        `browser` is a value that `remember` returned, or any other text.
        """
        buckets = self._buckets(source, browser, now_s)
        wait_s = max(bucket.wait_s(now_s) for bucket in buckets)
        if wait_s == 0:
            for bucket in buckets:
                bucket.take(now_s)
        return wait_s

    def put_back(self, source: str, browser: str, now_s: float) -> None:
        """Return a guess that was right."""
        for bucket in self._buckets(source, browser, now_s):
            bucket.put_back()

    def remember(self, browser: str, now_s: float) -> str:
        """Return the cookie value of a browser that signed in: its own if it is known, else a new one."""
        if _digest(browser) in self._browsers:
            return browser
        browser = secrets.token_urlsafe(_TOKEN_BYTES)
        self._browsers[_digest(browser)] = TokenBucket(*GUESSES, now_s)
        if len(self._browsers) > MAX_SESSIONS:
            self._browsers.popitem(last=False)
        return browser

    def _buckets(self, source: str, browser: str, now_s: float) -> list[TokenBucket]:
        if known := self._browsers.get(_digest(browser)):
            return [known]
        key = network_of(source)
        bucket = self._sources.setdefault(key, TokenBucket(*GUESSES, now_s))
        self._sources.move_to_end(key)
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
        return [bucket, self._all]


class FormLimiter:
    """Limits forms of clients that aren't signed in and whose body is still arriving, per address and in total.

    Beyond a limit the one that has waited longest is ended. Browsers send the body just after the head, so clients that
    don't can't keep others from signing in, whose address may be the same.
    """

    def __init__(self, per_source: int = 10, total: int = 100) -> None:
        self._limits = per_source, total
        self._arriving: OrderedDict[asyncio.Timeout, str] = OrderedDict()
        """The deadline of each and its source, the oldest first."""

    @asynccontextmanager
    async def arriving(self, source: str, within_s: float) -> AsyncIterator[None]:
        """Limit the time in the context. Raises TimeoutError, and RequestError (503) beyond a limit."""
        key, (per_source, total) = network_of(source), self._limits
        of_source = [each for each, other in self._arriving.items() if other == key]
        if len(of_source) >= per_source:
            self._end(of_source[0])
        elif len(self._arriving) >= total:
            self._end(next(iter(self._arriving)))
        deadline = asyncio.timeout(within_s)
        try:
            async with deadline:
                self._arriving[deadline] = key
                yield
        except TimeoutError:
            if deadline not in self._arriving:
                raise RequestError("too many sign-ins at once: retry in a moment", 503) from None
            raise
        finally:
            self._arriving.pop(deadline, None)

    def _end(self, deadline: asyncio.Timeout) -> None:
        del self._arriving[deadline]
        if not deadline.expired():
            deadline.reschedule(0)


def network_of(source: str) -> str:
    """Return what one client is assumed to own: its IPv4 address, or its /64 of IPv6."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return source
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def session_cookie(headers: Headers) -> str:
    """Return the value of the request's session cookie, or an empty text."""
    return _cookie(headers, "beanscale")


def _cookie(headers: Headers, name: str) -> str:
    name = _with_port(headers, name)
    for pair in headers.get("cookie", "").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


def _with_port(headers: Headers, name: str) -> str:
    # Browsers share cookies among all ports of a host: the port-forwards of two clusters must not share a session.
    port = _PORT.search(headers.get("host", ""))
    return f"{name}-{port[1]}" if port else name


@dataclass(frozen=True, slots=True)
class LoginRoutes:
    """The routes /login and /logout."""

    password: Password | None
    """None: no sign-in is needed."""
    sessions: Sessions
    limiter: LoginLimiter
    rendering: Rendering
    prefix: str
    clock: Callable[[], Instant]

    async def page(self, request: Request) -> Response:
        """GET /login."""
        if self.password is None:
            return self._redirect("/")
        return self._page(request.query_params.get("next", ""), 200, self._problem())

    async def sign_in(self, request: Request) -> Response:
        """POST /login."""
        if self.password is None:
            return self._redirect("/")
        state = request.scope["state"]
        form, audit, source = state["form"], state["audit"], state["source"]
        target, browser = form.get("next", ""), _cookie(request.headers, "beanscale-browser")
        wait_s = self.limiter.take(source, browser, self.clock().monotonic_s)
        if wait_s > 0:
            audit["error"] = "too many wrong passwords"
            seconds = int(wait_s) + 1
            response = self._page(target, 429, f"Too many wrong passwords: retry in {seconds} s.")
            response.headers["retry-after"] = str(seconds)
            return response
        if not self.password.is_right(form.get("password", "").encode(errors="replace")):
            audit["error"] = "wrong password"
            await asyncio.sleep(WRONG_PASSWORD_S)
            return self._page(target, 401, self._problem() or "Wrong password.")
        now_s = self.clock().monotonic_s
        self.limiter.put_back(source, browser, now_s)
        self.sessions.end(session_cookie(request.headers))  # a browser has one session
        cookie, session = self.sessions.start(source, now_s)
        audit["started"] = session.name
        response = self._redirect(local_path(target))
        self._set_cookie(request, response, "beanscale", cookie, int(LIFETIME_S))
        browser = self.limiter.remember(browser, now_s)
        self._set_cookie(request, response, "beanscale-browser", browser, BROWSER_LIFETIME_S)
        return response

    async def sign_out(self, request: Request) -> Response:
        """POST /logout."""
        self.sessions.end(session_cookie(request.headers))
        response = self._redirect("/login")
        self._set_cookie(request, response, "beanscale", "", 0)
        return response

    def _problem(self) -> str:
        unknown = self.password is not None and self.password.error
        return "Nobody can sign in yet, see the console log." if unknown else ""

    def _page(self, target: str, status: int, message: str) -> Response:
        return self.rendering.page("login", status, message=message, next=local_path(target))

    def _redirect(self, path: str) -> Response:
        return RedirectResponse(f"{self.prefix}{path}", status_code=303)

    def _set_cookie(self, request: Request, response: Response, name: str, value: str, seconds: int) -> None:
        headers = request.headers
        scheme = headers.get("x-forwarded-proto", "").split(",")[0].strip()  # of a proxy; a browser's form sends Origin
        encrypted = "https" in {request.scope["scheme"], scheme} or headers.get("origin", "").startswith("https://")
        response.set_cookie(
            _with_port(headers, name),
            value,
            max_age=seconds,
            path=self.prefix or "/",
            secure=encrypted,
            httponly=True,
            samesite="strict",
        )


def local_path(text: str) -> str:
    """Return `text` if it is a path of this host, else `/`: a link to the sign-in page leads nowhere else."""
    return text if _LOCAL_PATH.fullmatch(text) else "/"


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode(errors="replace")).digest()
