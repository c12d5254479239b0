"""Who is signed in: in memory, so a restart signs everybody out. Pure: time is an argument, monotonic seconds."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

LIFE_S = 12 * 3600.0
MOST_SESSIONS = 1000
"""Then the one that signed in first has to do it again."""
_BYTES = 32


@dataclass(eq=False)
class Session:
    """One browser that knew the password."""

    began_s: float
    source: str
    """The address that it signed in from."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(_BYTES), repr=False)
    """What a page must send with each action; other sites can't know it."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """For the log: says nothing about the cookie."""
    over: bool = False
    """Signed out, or the password has changed."""

    def holds(self, now_s: float) -> bool:
        """Whether it is still signed in."""
        return not self.over and now_s - self.began_s < LIFE_S

    def vouches(self, token: str) -> bool:
        """Whether this is the token, in constant time."""
        return hmac.compare_digest(token.encode(errors="replace"), self.token.encode())


class Sessions:
    """All of them, by what their cookies hold; only digests are kept, so that nobody finds a cookie in our memory."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._by_digest: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, source: str, now_s: float) -> tuple[str, Session]:
        """A new one, and its cookie's value: always ours, never one that a browser brought along."""
        cookie, session = secrets.token_urlsafe(_BYTES), Session(now_s, source)
        self._by_digest[_digest(cookie)] = session
        if len(self._by_digest) > self._most:
            self._by_digest.popitem(last=False)[1].over = True
        return cookie, session

    def find(self, cookie: str | None, now_s: float) -> Session | None:
        """The session that this cookie stands for."""
        if not cookie:
            return None
        session = self._by_digest.get(_digest(cookie))
        if session is not None and not session.holds(now_s):
            self.end(cookie)
            return None
        return session

    def end(self, cookie: str | None) -> None:
        """Sign out."""
        session = self._by_digest.pop(_digest(cookie or ""), None)
        if session is not None:
            session.over = True

    def end_all(self) -> None:
        """Sign everybody out."""
        for session in self._by_digest.values():
            session.over = True
        self._by_digest.clear()


def _digest(cookie: str) -> bytes:
    # The look-up's time tells of the digest alone, which nobody can steer.
    return hashlib.sha256(cookie.encode(errors="replace")).digest()
