"""Signing in and out."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.clock import Instant
from app.console.middleware import cookie_name, cookie_of, is_https
from app.console.passwords import Password
from app.console.rendering import Rendering
from app.console.sessions import LIFE_S, Attempts, Sessions

WRONG_S = 1.0
"""What a wrong guess waits for its answer."""
_HERE = re.compile(r"/(?![/\\])[\x21-\x7e]*")
"""A path of ours: a browser takes `//` and `/\\` for another host's."""
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class SigningIn:
    """The sign-in page and what it asks."""

    password: Password | None
    """None: nobody needs one."""
    sessions: Sessions
    attempts: Attempts
    rendering: Rendering
    prefix: str
    clock: Callable[[], Instant]

    async def page(self, request: Request) -> Response:
        """GET /login."""
        if self.password is None:
            return self._go("/")
        return self._page(request.query_params.get("next", ""), 200, self._trouble())

    async def sign_in(self, request: Request) -> Response:
        """POST /login."""
        if self.password is None:
            return self._go("/")
        form, audit = request.scope["state"]["form"], request.scope["state"]["audit"]
        there, source = form.get("next", ""), _source(request)
        wait_s = self.attempts.begin(source, self.clock().monotonic_s)
        if wait_s > 0:
            audit["error"] = "too many wrong guesses"
            seconds = int(wait_s) + 1
            message = f"Too many wrong guesses: try again in {seconds} s."
            return self._page(there, 429, message, {"retry-after": str(seconds)})
        if not self.password.is_right(form.get("password", "").encode(errors="replace")):
            audit["error"] = "wrong password"
            await asyncio.sleep(WRONG_S)
            return self._page(there, 401, self._trouble() or "That isn't the password.")
        self.attempts.was_right(source, self.clock().monotonic_s)
        return self._signed_in(request, there, source)

    async def sign_out(self, request: Request) -> Response:
        """POST /logout."""
        self.sessions.end(cookie_of(request.headers))
        answer = self._go("/login")
        answer.headers.append("set-cookie", self._cookie(request, "", 0))
        return answer

    def _signed_in(self, request: Request, there: str, source: str) -> Response:
        self.sessions.end(cookie_of(request.headers))  # a browser has one session, and never one that it brought along
        cookie, session = self.sessions.begin(source, self.clock().monotonic_s)
        request.scope["state"]["audit"]["began"] = session.name
        answer = self._go(safe_path(there))
        answer.headers.append("set-cookie", self._cookie(request, cookie, int(LIFE_S)))
        return answer

    def _trouble(self) -> str:
        missing = self.password is not None and self.password.trouble
        return "Nobody can sign in yet: the console's log says why." if missing else ""

    def _page(self, there: str, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
        return self.rendering.page(
            "login", status, headers, csrf="", signed_in=False, initial=None, message=message, next=safe_path(there)
        )

    def _go(self, path: str) -> Response:
        return RedirectResponse(f"{self.prefix}{path}", status_code=303)

    def _cookie(self, request: Request, value: str, seconds: int) -> str:
        secure = "; Secure" if is_https(request.scope, request.headers) else ""
        name = cookie_name(request.headers)
        return f"{name}={value}; Path={self.prefix or '/'}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def safe_path(text: str) -> str:
    """`text` where it is a path of ours, else `/`: nobody is sent elsewhere by a link to the sign-in page."""
    return text if _HERE.fullmatch(text) and len(text) <= _LONGEST else "/"


def _source(request: Request) -> str:
    return request.client.host if request.client else ""
