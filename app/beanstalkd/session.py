"""One session with a beanstalkd: sweeps over all its tubes, and rounds over the requested ones between them.

It sends `stats`, `list-tubes` and `stats-tube`, none of which changes anything; see next_job.py for the exception.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import tee
from math import inf

from app.beanstalkd.connection import Connection
from app.beanstalkd.demand import Demand
from app.beanstalkd.next_job import NextJobReader
from app.beanstalkd.protocol import LIST_TUBES, STATS, ProtocolError, parse_server_id, parse_tube_names, stats_tube
from app.beanstalkd.reading import Reading
from app.beanstalkd.recorder import Recorder, TubeReplies
from app.clock import Instant

PERIOD_S = 1.0
"""Seconds between two readings of a requested tube, and between the starts of two sweeps while they are short."""
BUSY_SHARE = 0.2
"""Maximum share of beanstalkd's time that reading takes: it has one thread, and a sweep costs it O(tubes²)."""
ROUNDS_SHARE = BUSY_SHARE / 2
"""Maximum share of its time for rounds, so that sweeps also end."""


class OwnConnections:
    """Number of this process's connections to each beanstalkd, which are not workers."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    @contextmanager
    def counted(self, server_id: str) -> Iterator[None]:
        """Count a connection to the server with this id; enter after its first reply, when beanstalkd counts it too."""
        self._numbers[server_id] += 1
        try:
            yield
        finally:
            self._numbers[server_id] -= 1
            if not self._numbers[server_id]:
                del self._numbers[server_id]

    def number(self, server_id: str) -> int:
        """Return the current number of connections to the server with this id."""
        return self._numbers[server_id]


async def read_server_id(connection: Connection) -> str:
    """Return the id of the beanstalkd at the other end. Raises ProtocolError, TimeoutError, OSError."""
    return parse_server_id(await connection.ask(STATS))


def pause_s(busy_s: float) -> float:
    """Return seconds to wait after a sweep of `busy_s`: one sweep per period, and at most BUSY_SHARE of the time."""
    return max(PERIOD_S - busy_s, busy_s * (1 / BUSY_SHARE - 1))


@dataclass(eq=False)
class Session:
    """Reads one beanstalkd over one connection."""

    connection: Connection
    server_id: str
    recorder: Recorder
    demand: Demand
    own_connections: OwnConnections
    clock: Callable[[], Instant]

    def __post_init__(self) -> None:
        self.active_at = self.clock()
        """The last progress."""
        self._next_jobs = NextJobReader(
            self.connection.host, self.connection.port, self.server_id, self.demand, self.clock
        )
        self._round_at = self.active_at
        self._list_reply: tuple[bytes, tuple[str, ...]] = (b"", ())

    async def readings(self) -> AsyncGenerator[Reading]:
        """Yield a reading after each sweep and each round, forever. Raises ProtocolError, TimeoutError, OSError."""
        self.recorder.resume(self._now())
        sweep_s = 0.0
        while True:
            await self._read_server()
            stopwatch = self._stopwatch()
            async for reading in self._sweep(long=pause_s(sweep_s) > PERIOD_S):
                yield reading
                sweep_s = reading.sweep_s or 0.0
            async for reading in self._pause(stopwatch()):
                yield reading

    async def _sweep(self, *, long: bool) -> AsyncGenerator[Reading]:
        """Read all tubes, with rounds in between if it takes long; yield the rounds and, last, the sweep."""
        self._round_at = self._now()
        stopwatch = self._stopwatch()
        body = await self.connection.ask(LIST_TUBES)
        if body != self._list_reply[0]:
            self._list_reply = body, parse_tube_names(body)
        names = self._list_reply[1]
        listed_at = self._now()
        replies = self._replies()
        if long:  # requested tubes were last read in a round, and can't wait until the sweep comes to them
            async for reading in self._round(replies):
                yield reading
        asked, expected = tee(names)
        left = len(names)
        while left := left - await self._read_tubes(asked, expected, replies, within_s=PERIOD_S):
            async for reading in self._round(replies):
                yield reading
        yield self.recorder.record_sweep(self.server_id, listed_at, replies, self._now(), stopwatch())
        async for reading in self._read_next_jobs():
            yield reading

    async def _round(self, sweep: TubeReplies | None = None) -> AsyncGenerator[Reading]:
        """Read the requested tubes, but not before the first sweep, which a round builds on. Add replies to `sweep`."""
        self._round_at = now = self._now()
        tubes = self.demand.tubes(now)
        latest = self.recorder.latest
        if not tubes or latest is None or latest.server_id != self.server_id:
            return
        await self._read_server()
        replies = self._replies()
        await self._read_tubes(iter(tubes), iter(tubes), replies)
        if sweep is not None:
            sweep.update(replies)
        yield self.recorder.record_round(replies, self._now())
        async for reading in self._read_next_jobs():
            yield reading

    async def _read_tubes(
        self, asked: Iterator[str], expected: Iterator[str], replies: TubeReplies, within_s: float = inf
    ) -> int:
        """Return how many tubes were answered; both iterators yield the same tubes. Start none after `within_s`."""
        answered = 0
        async for bodies in self.connection.ask_all(map(stats_tube, asked), within_s):
            own = self.own_connections.number(self.server_id)
            replies.take(zip(bodies, expected, strict=False), self._now(), own)
            answered += len(bodies)
        return answered

    def _replies(self) -> TubeReplies:
        latest = self.recorder.latest
        return TubeReplies(latest.tubes) if latest else TubeReplies()

    async def _read_next_jobs(self) -> AsyncGenerator[Reading]:
        next_jobs = await self._next_jobs.read(self.recorder.latest)
        self._now()
        if next_jobs is not None:
            yield self.recorder.record_next_jobs(next_jobs)

    async def _read_server(self) -> None:
        stats = await self.connection.ask(STATS)
        if parse_server_id(stats) != self.server_id:
            raise ProtocolError("became another beanstalkd in the middle of a connection")
        self.recorder.record_stats(self.server_id, stats, self._now())

    async def _pause(self, busy_s: float) -> AsyncGenerator[Reading]:
        """Wait until the next sweep is due, with rounds of the requested tubes."""
        sweep_at_s = self._now().monotonic_s + pause_s(busy_s)
        rest_s = 0.0
        while True:
            now = self._now()
            round_in_s = max(PERIOD_S - self._round_at.age_s(now), rest_s)
            sweep_in_s = sweep_at_s - now.monotonic_s
            await self.connection.idle(min(round_in_s, sweep_in_s))
            if sweep_in_s <= round_in_s:
                return
            stopwatch = self._stopwatch()
            async for reading in self._round():
                yield reading
            sweep_at_s += stopwatch() / BUSY_SHARE
            rest_s = stopwatch() * (1 / ROUNDS_SHARE - 1)

    def _now(self) -> Instant:
        self.active_at = now = self.clock()
        return now

    def _stopwatch(self) -> Callable[[], float]:
        """Return a function that returns the seconds since now, without those lost to failed reads of next jobs."""
        began, lost_s = self.clock(), self._next_jobs.lost_s
        return lambda: began.age_s(self.clock()) - (self._next_jobs.lost_s - lost_s)
