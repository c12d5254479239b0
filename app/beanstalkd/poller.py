"""The only reader of beanstalkd for metrics: one task and one connection per server, one snapshot for all requests.

How often it reads: session.py.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing

from app.beanstalkd.demand import Demand
from app.beanstalkd.reading import ServerState, Snapshot
from app.beanstalkd.server import LookUp, ServerPoller, look_up
from app.beanstalkd.session import OwnConnections
from app.clock import Instant
from app.settings import Server

STUCK_AFTER_S = 60.0
"""Seconds without progress after which a poll loop counts as stuck: far above the sum of its deadlines."""


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
        """Register requested tubes here."""
        own_connections = OwnConnections()
        self._pollers = [ServerPoller(each, self.demand, own_connections, clock, look_up) for each in servers]
        self.snapshot = Snapshot(tuple(ServerState(poller.server) for poller in self._pollers))
        """Immutable; replaced as a whole."""
        self._replaced = asyncio.Event()

    async def run(self) -> None:
        """Poll every server until cancelled; one that hangs delays no other."""
        async with asyncio.TaskGroup() as tasks:
            for index in range(len(self._pollers)):
                tasks.create_task(self._follow(index))

    async def _follow(self, index: int) -> None:
        async with aclosing(self._pollers[index].states()) as states:
            async for state in states:
                servers = self.snapshot.servers
                self.snapshot = Snapshot((*servers[:index], state, *servers[index + 1 :]))
                replaced, self._replaced = self._replaced, asyncio.Event()
                replaced.set()

    async def newer_than(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot as soon as it is another one."""
        while self.snapshot is snapshot:
            await self._replaced.wait()
        return self.snapshot

    def stuck(self, now: Instant) -> str | None:
        """Return the name of a server whose poll loop makes no progress, which is a bug, or None."""
        return next((each.server.name for each in self._pollers if each.active_at.age_s(now) > STUCK_AFTER_S), None)

    def awaited(self) -> list[str]:
        """Return the names of the servers whose first attempt hasn't ended yet."""
        return [state.server.name for state in self.snapshot.servers if not state.attempted]
