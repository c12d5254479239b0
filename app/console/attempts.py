"""How often anybody may guess the password. Pure: time is an argument, monotonic seconds."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


class CrowdedError(Exception):
    """`str()` is a sentence."""


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

    def __init__(self, most_of_a_source: int = 10, most: int = 100, who: str = "sign in") -> None:
        self._limits = most_of_a_source, most
        self._who = who
        self._there: Counter[str] = Counter()

    @contextmanager
    def one_more(self, source: str) -> Iterator[None]:
        """While it is awaited. Raises CrowdedError."""
        key, (most_of_a_source, most) = network_of(source), self._limits
        if self._there[key] >= most_of_a_source or self._there.total() >= most:
            raise CrowdedError(f"too many {self._who} at once: try again in a moment")
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
