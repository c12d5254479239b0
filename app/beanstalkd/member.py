"""One address of a configured server: connected and read, and connected anew after every failure."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from app.beanstalkd.connection import Connection, connect
from app.beanstalkd.demand import Demand
from app.beanstalkd.lingering import Known, Lingering
from app.beanstalkd.next_job import Ages
from app.beanstalkd.protocol import ProtocolError
from app.beanstalkd.reading import Reading, ServerState
from app.beanstalkd.recorder import Readings
from app.beanstalkd.retry import because, retry_delays
from app.beanstalkd.session import PERIOD_S, Polling, Presence, server_of
from app.clock import Instant
from app.settings import Server

_log = structlog.get_logger()


class Keeper(Protocol):
    """Who knows which addresses the server's name has, and decides which of them are followed."""

    def tell(self) -> None:
        """A member's `state` has changed."""

    async def ended(self, member: "Member") -> None:
        """Its connection has ended, or couldn't be made. Where it isn't to be followed any more, this cancels it."""

    async def why_not(self, member: "Member") -> str | None:
        """Why it may not be connected now, or None."""


@dataclass(eq=False)
class Member:
    """Keeps `state` current while `follow` runs."""

    server: Server
    """As configured."""
    host: str
    """An IP address. Another one may be put here while it isn't `busy`."""
    demand: Demand
    presence: Presence
    clock: Callable[[], Instant]
    keeper: Keeper
    busy: bool = field(default=False, init=False)
    """Whether it is connected, or about to be."""
    twin_in: str | None = field(default=None, init=False)
    """The id of the beanstalkd to which another address of the server leads too, and is read instead."""
    lives: tuple[str, ...] = field(default=(), init=False)
    """The ids of the beanstalkd that it leads to and of the one before."""

    def __post_init__(self) -> None:
        self.state = ServerState(self.server)
        self.complaint = ""
        """What went wrong last."""
        self.lingering: Lingering | None = None
        """Where DNS lists it no more, and its connection has ended."""
        self.turned_at = self.clock()
        self._listed_since = self._read_at = self.turned_at
        self._readings = Readings()
        self._got_on = False

    @property
    def known(self) -> Known:
        """What it tells about others."""
        state = self.state
        is_read = self.twin_in is None and state.reading is not None and state.failure is None
        return Known(self._listed_since, state.reading, self._read_at, is_read, self.lives)

    async def follow(self) -> None:
        """Until cancelled."""
        delays = retry_delays()
        while True:
            self._got_on = False
            complaint: str | None = await self._converse()
            if self._got_on:
                delays = retry_delays()
            await self.keeper.ended(self)
            while complaint is not None:
                self._fail(complaint)
                await asyncio.sleep(next(delays))
                self._turn()
                complaint = await self.keeper.why_not(self)

    def linger(self, lingering: Lingering | None) -> None:
        """From now on, or (None) no more."""
        self.lingering = lingering
        if self.state.failure is not None:
            self._take_down(self.complaint)

    async def _converse(self) -> str:
        """Read it until something goes wrong: what."""
        self.busy = True
        try:
            async with connect(self.host, self.server.port) as connection:
                server_id = await server_of(connection)
                with self._present(server_id):
                    await self._wait_to_lead(connection, server_id)
                    await self._polling(connection, server_id).forever()
        except OSError as error:
            return because(error)
        except ProtocolError as error:
            return str(error)
        finally:
            self.busy = False

    @contextmanager
    def _present(self, server_id: str) -> Iterator[None]:
        if server_id not in self.lives[:1]:
            self.lives = (server_id, *self.lives[:1])
        self.presence.enter(server_id, self.server, self)
        try:
            yield
        finally:
            self.presence.leave(server_id, self.server, self)

    async def _wait_to_lead(self, connection: Connection, server_id: str) -> None:
        while not self.presence.leads(server_id, self.server, self):
            if self.twin_in != server_id:
                _log.info("another address is the same beanstalkd", server=self.server.name, address=self.address)
                self.twin_in, self._got_on = server_id, True
                self.state = ServerState(self.server, attempted=True)
                self.keeper.tell()
            await asyncio.sleep(PERIOD_S)
            self._turn()
            if await server_of(connection) != server_id:
                raise ProtocolError("has become another beanstalkd in the middle of a connection")
        if self.twin_in not in {None, server_id}:  # if it's the same, the other's last reading stands for it
            self.twin_in = None
            self.keeper.tell()

    def _polling(self, connection: Connection, server_id: str) -> Polling:
        return Polling(
            connection,
            server_id,
            self._readings,
            self.demand,
            Ages(self.server, self.host, self.demand, self._turn),
            self.presence,
            self._turn,
            self._publish,
        )

    def _turn(self) -> Instant:
        self.turned_at = now = self.clock()
        return now

    def _publish(self, reading: Reading, sweep_s: float | None) -> None:
        before = self.state
        self.state = ServerState(
            before.server, reading, attempted=True, sweep_s=before.sweep_s if sweep_s is None else sweep_s
        )
        self.twin_in, self._got_on, self._read_at = None, True, self._turn()
        self.keeper.tell()
        if before.reading is None or before.failure is not None:
            _log.info("reading beanstalkd", server=self.server.name, address=self.address, tubes=len(reading.tubes))
        elif before.reading.server_id != reading.server_id:
            _log.warning("beanstalkd was restarted", server=self.server.name, address=self.address)

    def _fail(self, complaint: str) -> None:
        self._turn()
        self._take_down(complaint)
        self.keeper.tell()

    def _take_down(self, complaint: str) -> None:
        before, self.complaint = self.state.failure, complaint
        if self.lingering is None:
            self.state = self.state.failed(complaint, self.turned_at)
        else:
            told = self.lingering.told(complaint)
            self.state = self.state.failed(told, self.turned_at, self.lingering.jobs)
        now = self.state.failure
        if now is not None and (before is None or before.message != now.message):
            _log.warning("can't read beanstalkd", server=self.server.name, address=self.address, reason=now.whole)

    @property
    def address(self) -> str:
        """As the log names it."""
        return replace(self.server, host=self.host).address
