"""The only one that reads beanstalkd: one task and one connection an address, one snapshot for everybody."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain

from app.beanstalkd.addresses import LookUp, look_up
from app.beanstalkd.demand import Demand
from app.beanstalkd.reading import ServerState, Snapshot
from app.beanstalkd.server import Source
from app.beanstalkd.session import Presence
from app.clock import Instant
from app.settings import Server

OVERDUE_S = 60.0
"""Seconds without a turn after which a loop counts as stuck: far above every deadline that it keeps."""


class Poller:
    """Keeps `snapshot` current while `run` runs."""

    def __init__(
        self,
        servers: Iterable[Server],
        clock: Callable[[], Instant],
        demand: Demand | None = None,
        look_up: LookUp = look_up,
    ) -> None:
        self.demand = demand or Demand()
        """To be told of what is asked for."""
        presence = Presence()
        self._sources = [Source(each, self.demand, presence, clock, look_up, self._see) for each in servers]
        self.snapshot = Snapshot(tuple(ServerState(source.server) for source in self._sources))

    async def run(self) -> None:
        """Poll every server until cancelled; one that hangs delays no other."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources:
                tasks.create_task(source.run())

    def stuck(self, now: Instant) -> str | None:
        """The name of a server of which a loop doesn't turn any more, which would be our own fault."""
        return next((source.server.name for source in self._sources if source.stuck(now, OVERDUE_S)), None)

    def awaited(self) -> list[str]:
        """The names of servers that no first attempt to read has ended for yet; what comes later changes nothing."""
        return [source.server.name for source in self._sources if not source.attempted]

    def _see(self) -> None:
        self.snapshot = Snapshot(tuple(chain.from_iterable(source.states() for source in self._sources)))
