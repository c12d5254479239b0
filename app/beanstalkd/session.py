"""One conversation with one beanstalkd: sweeps over all its tubes, and rounds of those that are wanted between them.

It asks `stats`, `list-tubes` and `stats-tube`, none of which changes anything there; what next_job asks is said there.

Our own connections, by the beanstalkd that they lead to: what it counts of them isn't a worker's.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import tee
from math import inf
from typing import NoReturn

from app.beanstalkd.connection import Connection
from app.beanstalkd.demand import Demand
from app.beanstalkd.next_job import Ages
from app.beanstalkd.protocol import LIST_TUBES, STATS, ProtocolError, parse_server_id, parse_tube_names, stats_tube
from app.beanstalkd.reading import Reading
from app.beanstalkd.recorder import Answers, Readings
from app.clock import Instant
from app.settings import Server


class Presence:
    """Of one process; told of a connection once its first answer has come: from then on beanstalkd counts it."""

    def __init__(self) -> None:
        self._there: dict[str, list[tuple[str, object]]] = {}

    def enter(self, server_id: str, server: Server, who: object) -> None:
        """A connection for the configured `server` leads to the beanstalkd of this id."""
        self._there.setdefault(server_id, []).append((server.name, who))

    def leave(self, server_id: str, server: Server, who: object) -> None:
        """It has ended."""
        self._there[server_id].remove((server.name, who))
        if not self._there[server_id]:
            del self._there[server_id]

    def number(self, server_id: str) -> int:
        """How many are there."""
        return len(self._there.get(server_id, ()))

    def leads(self, server_id: str, server: Server, who: object) -> bool:
        """Whether it is the first there of the same configured server: two addresses of one beanstalkd count once."""
        return next(there for there in self._there[server_id] if there[0] == server.name)[1] is who


PERIOD_S = 1.0
"""From one reading of a wanted tube to its next; and from one sweep's start to the next one's, while it's short."""
BUSY_SHARE = 0.2
"""The largest part of beanstalkd's time that we take: it has one thread, and a sweep costs it O(tubes²)."""
ROUNDS_SHARE = BUSY_SHARE / 2
"""The largest part that rounds of wanted tubes take of it, so that sweeps come to an end too."""


@dataclass(eq=False)
class Polling:
    """Asks on one connection, and takes what it hears into `readings`."""

    connection: Connection
    server_id: str
    """Of the beanstalkd that the connection leads to."""
    readings: Readings
    demand: Demand
    ages: Ages
    presence: Presence
    clock: Callable[[], Instant]
    publish: Callable[[Reading, float | None], None]
    """Called with each new reading; with the seconds that it took where it is a sweep's."""

    def __post_init__(self) -> None:
        self._rounded_at = self.clock()
        self._swept_s = 0.0
        self._listed: tuple[bytes, tuple[str, ...]] = (b"", ())

    async def forever(self) -> NoReturn:
        """Raises ProtocolError, TimeoutError, OSError."""
        self.readings.resume(self.clock())
        while True:
            await self._check_server()
            busy_s = self._stopwatch()
            await self.sweep()
            await self._ask_ages()
            await self._pause(busy_s())

    async def sweep(self) -> None:
        """Read all tubes, and where it takes long those that are wanted every second. Raises like `forever`."""
        self._rounded_at = self.clock()
        busy_s = self._stopwatch()
        names = await self._list()
        listed_at = self.clock()
        answers = Answers()
        if pause_s(self._swept_s) > PERIOD_S:  # then the wanted ones were read in a round last, and can't wait
            await self._round(answers)
        asked, expected = tee(names)
        left = len(names)
        while left := left - await self._ask(asked, expected, answers, PERIOD_S):
            await self._round(answers)
        reading = self.readings.sweep(self.server_id, listed_at, answers, self.clock())
        self._swept_s = busy_s()
        self.publish(reading, self._swept_s)

    async def _list(self) -> tuple[str, ...]:
        body, names = self._listed
        answer = await self.connection.ask(LIST_TUBES)
        if answer != body:
            names = parse_tube_names(answer)
            self._listed = answer, names
        return names

    async def _ask(self, asked: Iterator[str], expected: Iterator[str], answers: Answers, within_s: float = inf) -> int:
        """How many were answered; both iterators give the same tubes."""
        answered = 0
        async for bodies in self.connection.ask_all(map(stats_tube, asked), within_s):
            answers.take(zip(bodies, expected, strict=False), self.clock(), self.presence.number(self.server_id))
            answered += len(bodies)
        return answered

    async def _round(self, sweep: Answers | None = None) -> None:
        """Read the wanted tubes, in the middle of a sweep too: but not before the first, on which it builds."""
        self._rounded_at = now = self.clock()
        wanted = self.demand.tubes(now)
        latest = self.readings.latest
        if not wanted or latest is None or latest.server_id != self.server_id:
            return
        await self._check_server()
        answers = Answers()
        await self._ask(iter(wanted), iter(wanted), answers)
        if sweep is not None:
            sweep.update(answers)
        self.publish(self.readings.renew(answers, self.clock()), None)
        await self._ask_ages()

    async def _ask_ages(self) -> None:
        next_jobs = await self.ages.ask(self.readings.latest)
        if next_jobs is not None:
            self.publish(self.readings.learn(next_jobs), None)

    async def _check_server(self) -> None:
        stats = await self.connection.ask(STATS)
        if parse_server_id(stats) != self.server_id:
            raise ProtocolError("has become another beanstalkd in the middle of a connection")
        self.readings.hear(self.server_id, stats, self.clock())

    async def _pause(self, swept_s: float) -> None:
        """Until the next sweep is due, with rounds of the wanted tubes."""
        sweep_at_s = self.clock().monotonic_s + pause_s(swept_s)
        rest_s = 0.0
        while True:
            now = self.clock()
            round_in_s = max(PERIOD_S - self._rounded_at.age_s(now), rest_s)
            sweep_in_s = sweep_at_s - now.monotonic_s
            await asyncio.sleep(min(round_in_s, sweep_in_s))
            if sweep_in_s <= round_in_s:
                return
            busy_s = self._stopwatch()
            await self._round()
            sweep_at_s += busy_s() / BUSY_SHARE
            rest_s = busy_s() * (1 / ROUNDS_SHARE - 1)

    def _stopwatch(self) -> Callable[[], float]:
        """Tells how many seconds beanstalkd has had to do for us since now, at most."""
        began, lost_s = self.clock(), self.ages.lost_s
        return lambda: began.age_s(self.clock()) - (self.ages.lost_s - lost_s)


def pause_s(busy_s: float) -> float:
    """Seconds to wait after a sweep of `busy_s`: one sweep a period, and never more than BUSY_SHARE of the time."""
    return max(PERIOD_S - busy_s, busy_s * (1 / BUSY_SHARE - 1))


async def server_of(connection: Connection) -> str:
    """The id of the beanstalkd that it leads to. Raises ProtocolError, TimeoutError, OSError."""
    return parse_server_id(await connection.ask(STATS))
