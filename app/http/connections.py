"""All connections of one server: how many they may be, what they may hold, and who goes when they are too many."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from app.ratelimit import RateLimitedWarning

if TYPE_CHECKING:
    from app.http.connection import Head, Patience

MOST_CONNECTIONS: Final = 1000
"""Each takes about 60 kB over TLS. kube-apiserver keeps at most 25 idle ones."""
MOST_HEADS: Final = 1 << 25
"""Bytes of all heads together that aren't whole or answered yet, beyond a little for each."""


class Connection(Protocol):
    """What has to be known of each, and what each can be told."""

    head: "Head"
    patience: "Patience"
    proven: bool
    """Whether its client has shown a certificate: if somebody has to go, others go first."""

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way."""

    @property
    def is_fresh(self) -> bool:
        """Whether its client came just now, or is just asking."""

    def expire(self) -> None:
        """End what has taken too long."""

    def shutdown(self) -> None:
        """Close, but not before the answer, nor in the midst of a question."""

    def abort(self) -> None:
        """Let go at once, whatever is under way."""


class Connections:
    """Those of one server, from the moment they are accepted."""

    def __init__(self, most: int = MOST_CONNECTIONS, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.now = clock()
        """The clock for all deadlines, in seconds; it goes on with each `expire`."""
        self.leaving = False
        """Whether each answer says that it is its connection's last."""
        self.ended: Counter[str] = Counter()
        """How many we ended, by reason."""
        self.under_way = 0
        """Bytes of the heads whose requests are, about."""
        self._most = most
        self._warnings: defaultdict[str, RateLimitedWarning] = defaultdict(RateLimitedWarning)
        self._all: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._all))

    def remember(self, connection: Connection) -> None:
        """A new one."""
        self._all.add(connection)

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self._all.discard(connection)

    @property
    def answering(self) -> int:
        """How many wait for an answer."""
        return sum(connection.is_answering for connection in self._all)

    @property
    def are_busy(self) -> bool:
        """Whether any of them does, or just came to ask."""
        return any(connection.is_answering or connection.is_fresh for connection in self._all)

    @property
    def too_heavy(self) -> bool:
        """Whether heads take more memory than they may."""
        return self.under_way + sum(connection.head.weight for connection in self._all) > MOST_HEADS

    def take_leave(self) -> None:
        """From now on every answer is its connection's last, also where the question is under way already."""
        self.leaving = True
        for connection in self:
            if connection.is_answering:
                connection.shutdown()

    def make_room(self) -> bool:
        """For one more: the one goes that did nothing for longest, strangers first. False: all are at something."""
        if len(self._all) < self._most:
            return True
        free = [one for one in self._all if not one.is_answering]
        if not free:
            self.count("full")
            return False
        last = min(free, key=lambda one: (one.proven, one.patience.since))
        self.forget(last)
        self.count("room")
        last.abort()
        return True

    def expire(self) -> None:
        """Look at all deadlines; to be called about once a second."""
        self.now = self._clock()
        for connection in self:
            connection.expire()

    def count(self, reason: str) -> None:
        """One more that we ended."""
        self.ended[reason] += 1

    def refused(self, reason: str, peer: str | None, why: str) -> None:
        """Count it, and tell of it now and then: who scans ports must not fill the disk."""
        self.count(reason)
        self._warnings[reason].warning("refused a client", reason=reason, peer=peer, why=why)

    async def close(self, within_s: float) -> None:
        """Say goodbye to all, and wait until they are gone; those that don't go in time are let go."""
        for connection in self:
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._gone()
        for connection in self:
            connection.abort()

    async def _gone(self) -> None:
        while self._all:  # noqa: ASYNC110 - an event for it would cost each connection that ends
            await asyncio.sleep(0.01)
