"""The only one that reads beanstalkd: one task and one connection a server, one snapshot for everybody.

It asks `stats`, `list-tubes` and `stats-tube`, none of which changes anything there.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import NoReturn

import structlog

from app.clock import Instant
from app.settings import Server
from app.tubes.connection import Connection, connect
from app.tubes.outage import because, retry_delays
from app.tubes.protocol import (
    LIST_TUBES,
    STATS,
    ProtocolError,
    TubeStats,
    parse_server_id,
    parse_tube,
    parse_tube_names,
    stats_tube,
)
from app.tubes.snapshot import Failure, Reading, ServerState, Snapshot

PERIOD_S = 1.0
"""From the start of one sweep to the start of the next."""
BUSY_SHARE = 0.2
"""The largest part of beanstalkd's time that sweeps may take: it has one thread, and a sweep costs it O(tubes²)."""
OVERDUE_S = 60.0
"""Seconds without a turn after which a poll loop counts as stuck: far above every deadline that it keeps."""

_log = structlog.get_logger()


class Poller:
    """Keeps `snapshot` current while `run` runs."""

    def __init__(self, servers: Iterable[Server], clock: Callable[[], Instant]) -> None:
        self._clock = clock
        self.snapshot = Snapshot(tuple(map(ServerState, servers)))
        self.sweep_s: dict[str, float] = {}
        """How long each server's last good sweep took, by server name, in seconds."""
        self._turned_at = [clock() for _ in self.snapshot.servers]

    async def run(self) -> None:
        """Poll every server until cancelled; one that hangs delays no other."""
        async with asyncio.TaskGroup() as polls:
            for position in range(len(self.snapshot.servers)):
                polls.create_task(self._follow(position))

    def stuck(self, now: Instant) -> str | None:
        """The name of a server whose poll loop doesn't turn any more, which would be our own fault."""
        for state, turned_at in zip(self.snapshot.servers, self._turned_at, strict=True):
            if turned_at.age_s(now) > OVERDUE_S + self.sweep_s.get(state.server.name, 0.0) / BUSY_SHARE:
                return state.server.name
        return None

    async def _follow(self, position: int) -> None:
        delays = retry_delays()
        while True:
            before = self.snapshot.servers[position]
            try:
                async with connect(before.server) as connection:
                    await self._sweep_forever(position, connection)
            except (OSError, ProtocolError) as error:  # OSError: a TimeoutError and a failed look-up are ones
                self._fail(position, _because(error))
            if self.snapshot.servers[position].reading is not before.reading:
                delays = retry_delays()
            await asyncio.sleep(next(delays))

    async def _sweep_forever(self, position: int, connection: Connection) -> NoReturn:
        name = self.snapshot.servers[position].server.name
        turn = partial(self._turn, position)
        while True:
            started = turn()
            self._publish(position, await read_server(connection, turn))
            self.sweep_s[name] = started.age_s(self._clock())
            await asyncio.sleep(pause_s(self.sweep_s[name]))

    def _turn(self, position: int) -> Instant:
        self._turned_at[position] = now = self._clock()
        return now

    def _publish(self, position: int, reading: Reading) -> None:
        before = self.snapshot.servers[position]
        self.snapshot = self.snapshot.replace(position, ServerState(before.server, reading, attempted=True))
        if before.reading is None or before.failure is not None:
            _log.info(
                "reading beanstalkd", server=before.server.name, address=before.server.address, tubes=len(reading.tubes)
            )
        elif before.reading.server_id != reading.server_id:
            _log.warning("beanstalkd was restarted", server=before.server.name, address=before.server.address)

    def _fail(self, position: int, message: str) -> None:
        now = self._turn(position)
        before = self.snapshot.servers[position]
        failure = Failure(message, before.failure.since if before.failure else now)
        self.snapshot = self.snapshot.replace(
            position, ServerState(before.server, before.reading, failure, attempted=True)
        )
        if before.failure is None or before.failure.message != message:
            _log.warning(
                "can't read beanstalkd", server=before.server.name, address=before.server.address, reason=message
            )


async def read_server(connection: Connection, clock: Callable[[], Instant]) -> Reading:
    """One sweep over all tubes of one server. Raises ProtocolError, TimeoutError, OSError."""
    server_id = parse_server_id(await connection.ask(STATS))
    names = parse_tube_names(await connection.ask(LIST_TUBES))
    listed_at = clock()
    tubes: list[TubeStats] = []
    unanswered = iter(names)
    async for bodies in connection.ask_all([stats_tube(name) for name in names]):
        answered_at = clock()
        tubes += (
            parse_tube(body, name, answered_at)
            for body, name in zip(bodies, unanswered, strict=False)  # in this order: a name is used up with its body
            if body is not None
        )
    return Reading.of(server_id, listed_at, map(_without_us, tubes))


def _without_us(tube: TubeStats) -> TubeStats:
    # every connection uses and watches `default` from its first moment: ours isn't a worker's
    if tube.name != "default":
        return tube
    return tube._replace(
        current_using=max(0, tube.current_using - 1), current_watching=max(0, tube.current_watching - 1)
    )


def pause_s(sweep_s: float) -> float:
    """Seconds to wait after a sweep of `sweep_s`: one sweep a period, and never more than BUSY_SHARE of the time."""
    return max(PERIOD_S - sweep_s, sweep_s * (1 / BUSY_SHARE - 1))


def _because(error: OSError | ProtocolError) -> str:
    return because(error) if isinstance(error, OSError) else str(error)
