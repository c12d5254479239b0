"""Who is signed in: in memory, so a restart signs everybody out. Pure: time is an argument, monotonic seconds.

How often anybody may guess the password. Pure: time is an argument, monotonic seconds.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.console.errors import RequestError

A_SOURCE = (10, 6.0)
"""So many wrong guesses at once, and another one each so many seconds."""
ALL = (100, 0.6)
"""The same for all sources together: whoever has many addresses."""
MOST_SOURCES = 10_000


@dataclass
class _Bucket:
    most: int
    every_s: float
    left: float
    at_s: float

    def wait_s(self, now_s: float) -> float:
        """Seconds until there is one left; 0: there is."""
        self.left = min(self.most, self.left + (now_s - self.at_s) / self.every_s)
        self.at_s = now_s
        return max(0.0, (1 - self.left) * self.every_s)


class CrowdedError(RequestError):
    """Too many requests at once."""


class Attempts:
    """Wrong guesses, by source and in all."""

    def __init__(self, now_s: float) -> None:
        self._all = _full(ALL, now_s)
        self._by_source: OrderedDict[str, _Bucket] = OrderedDict()

    def begin(self, source: str, now_s: float) -> float:
        """Take one, before the guess is looked at: 0 where it may be, else how many seconds to wait."""
        bucket = self._of(source, now_s)
        wait_s = max(bucket.wait_s(now_s), self._all.wait_s(now_s))
        if wait_s == 0:
            bucket.left -= 1
            self._all.left -= 1
        return wait_s

    def was_right(self, source: str, now_s: float) -> None:
        """Give it back: right guesses aren't counted."""
        for bucket in (self._of(source, now_s), self._all):
            bucket.left = min(bucket.most, bucket.left + 1)

    def _of(self, source: str, now_s: float) -> _Bucket:
        key = network_of(source)
        bucket = self._by_source.pop(key, None) or _full(A_SOURCE, now_s)
        self._by_source[key] = bucket
        if len(self._by_source) > MOST_SOURCES:
            self._by_source.popitem(last=False)
        return bucket


class Crowd:
    """Those whose request isn't whole yet: of strangers so many that others still get in."""

    def __init__(self, most_of_a_source: int = 10, most: int = 100, who: str = "sign-ins") -> None:
        self._limits = most_of_a_source, most
        self._who = who
        self._there: Counter[str] = Counter()

    @contextmanager
    def one_more(self, source: str) -> Iterator[None]:
        """While it is awaited. Raises CrowdedError."""
        key, (most_of_a_source, most) = network_of(source), self._limits
        if self._there[key] >= most_of_a_source or self._there.total() >= most:
            raise CrowdedError(f"too many {self._who} at once: retry in a moment", 503)
        self._there[key] += 1
        try:
            yield
        finally:
            self._there[key] -= 1
            self._there += Counter()  # keeps those that are above 0


def _full(limit: tuple[int, float], now_s: float) -> _Bucket:
    most, every_s = limit
    return _Bucket(most, every_s, most, now_s)


def network_of(source: str) -> str:
    """What one guesser may have: an IPv4 address, or a /64 of IPv6."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return source
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


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
