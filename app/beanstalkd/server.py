"""One configured server: look up its name, connect, read, and retry after a failure.

One name is one beanstalkd. Several addresses are fine if they lead to the same server, as with dual-stack. If they lead
to different servers, as with a headless Service of several pods, a reading of one would miss the jobs of the others.
That is an error, and the last reading isn't used either. DNS is checked again while the connection lasts. A failed
lookup then changes nothing, and an address that left DNS is read until another one answers in its place.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from ipaddress import ip_address

import structlog

from app.beanstalkd.connection import connect, describe_error
from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import ProtocolError
from app.beanstalkd.reading import Failure, Reading, ServerState
from app.beanstalkd.recorder import Recorder
from app.beanstalkd.session import OwnConnections, Session, read_server_id
from app.clock import Instant
from app.ratelimit import backoff
from app.settings import Server, is_ip

LOOKUP_TIMEOUT_S = 3.0
LOOKUP_PERIOD_S = 5.0
"""Seconds between two lookups while connected."""
MAX_ADDRESSES = 32
"""Addresses of one name that are compared."""
_SOLUTION = "configure one entry for each server, in the chart with beanstalkd.external[].statefulSet"

type LookUp = Callable[[str, int], Sequence[str]]
"""Return the IP addresses of a host and port, the preferred one first. Blocking. Raises OSError."""
type Identity = str | OSError | ProtocolError
"""The id of the beanstalkd at an address, or why it isn't known."""

# Own threads: while DNS is down, a lookup takes up to a minute and would occupy the event loop's default threads.
_LOOKUP_THREADS = ThreadPoolExecutor(32, thread_name_prefix="lookup")

_log = structlog.get_logger()


class SeveralServersError(Exception):
    """The addresses of a name don't lead to one beanstalkd; `str()` is a clause that ends with the solution."""


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system's resolver finds. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def choose_address(identities: Mapping[str, Identity]) -> str:
    """Return the first address that answers. Pure; at least one address is given.

    Raises SeveralServersError if the addresses that answer lead to different servers, or if another address of the same
    family doesn't answer, because it could be another server. Raises the first address's error if none answers.
    """
    reached = {address: identity for address, identity in identities.items() if isinstance(identity, str)}
    failed = {address: error for address, error in identities.items() if not isinstance(error, str)}
    if not reached:
        raise next(iter(failed.values()))
    if len(set(reached.values())) > 1:
        raise SeveralServersError(f"its name leads to different servers ({', '.join(reached)}); {_SOLUTION}")
    chosen = next(iter(reached))
    for address, error in failed.items():
        if ip_address(address).version == ip_address(chosen).version:
            raise SeveralServersError(
                f"its name leads to {', '.join(identities)}, and {address} may be another server"
                f" ({describe_error(error)}); {_SOLUTION}"
            )
    return chosen


class ServerPoller:
    """Reads one configured server."""

    def __init__(
        self,
        server: Server,
        demand: Demand,
        own_connections: OwnConnections,
        clock: Callable[[], Instant],
        look_up: LookUp,
    ) -> None:
        self.server = server
        self._demand = demand
        self._own_connections = own_connections
        self._clock = clock
        self._look_up = look_up
        self._recorder = Recorder()
        self._session: Session | None = None
        self._active_at = clock()

    @property
    def active_at(self) -> Instant:
        """The last progress of the poll loop: an old one means that it hangs."""
        return self._session.active_at if self._session else self._active_at

    async def states(self) -> AsyncGenerator[ServerState]:
        """Yield each new reading and each failed attempt, forever."""
        state = ServerState(self.server)
        delays = backoff()
        while True:
            error = None
            try:
                async with aclosing(self._readings()) as readings:
                    async for reading in readings:
                        self._log_reading(state, reading)
                        state = ServerState(self.server, reading, attempted=True)
                        delays = backoff()
                        yield state
            except (OSError, ProtocolError, SeveralServersError) as failed:
                error = failed
            self._active_at = self._clock()
            if error is not None:
                state = self._failed(state, error)
                yield state
            await asyncio.sleep(next(delays))

    async def _readings(self) -> AsyncGenerator[Reading]:
        """Read on one connection until it fails, or until DNS lists another server instead.

        Raises ProtocolError, SeveralServersError, OSError.
        """
        addresses = await self._addresses()
        identities = await self._identities(addresses) if len(addresses) > 1 else {}
        address = choose_address(identities) if identities else addresses[0]
        async with connect(address, self.server.port) as connection:
            server_id = await read_server_id(connection)
            self._session = session = Session(
                connection, server_id, self._recorder, self._demand, self._own_connections, self._clock
            )
            checking = asyncio.create_task(self._check_addresses({**identities, address: server_id}, server_id))
            try:
                with self._own_connections.counted(server_id):
                    async with aclosing(session.readings()) as readings:
                        async for reading in readings:
                            if checking.done():
                                checking.result()
                                return
                            yield reading
            finally:
                self._session, self._active_at = None, self._clock()
                checking.cancel()

    async def _check_addresses(self, identities: Mapping[str, Identity], server_id: str) -> None:
        """Return once DNS lists another server instead of the connected one. Raises SeveralServersError.

        `identities` is what each address answered before. Addresses of the connected server aren't asked again: each
        question is a connection, which beanstalkd counts as a client.
        """
        same = {address: identity for address, identity in identities.items() if identity == server_id}
        while True:
            await asyncio.sleep(LOOKUP_PERIOD_S)
            try:
                addresses = await self._addresses()
                new = await self._identities(each for each in addresses if each not in same)
                chosen = choose_address({each: same.get(each) or new[each] for each in addresses})
            except (OSError, ProtocolError):  # DNS or its addresses don't answer: what is connected still does
                continue
            if chosen in new and new[chosen] != server_id:
                return
            same |= {each: identity for each, identity in new.items() if identity == server_id}

    async def _addresses(self) -> Sequence[str]:
        """Return at least one. Raises SeveralServersError if there are too many, and OSError."""
        if is_ip(self.server.host):
            return [self.server.host]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                addresses = await loop.run_in_executor(
                    _LOOKUP_THREADS, self._look_up, self.server.host, self.server.port
                )
        except OSError as error:
            text = error.strerror if isinstance(error, socket.gaierror) else describe_error(error)
            raise socket.gaierror(error.errno, text) from error
        if not addresses:
            raise socket.gaierror(socket.EAI_NODATA, "no address")
        if len(addresses) > MAX_ADDRESSES:
            raise SeveralServersError(
                f"its name resolves to {len(addresses)} addresses, the limit is {MAX_ADDRESSES}; {_SOLUTION}"
            )
        return addresses

    async def _identities(self, addresses: Iterable[str]) -> Mapping[str, Identity]:
        """Ask each address for its server id, all at once."""
        asked = list(addresses)
        return dict(zip(asked, await asyncio.gather(*map(self._identity, asked)), strict=True))

    async def _identity(self, address: str) -> Identity:
        try:
            async with connect(address, self.server.port) as connection:
                return await read_server_id(connection)
        except (OSError, ProtocolError) as error:
            return error

    def _failed(self, state: ServerState, error: OSError | ProtocolError | SeveralServersError) -> ServerState:
        message = describe_error(error)
        if state.failure is None or state.failure.message != message:
            _log.warning(
                "beanstalkd can't be read", server=self.server.name, address=self.server.address, error=message
            )
        failure = Failure(
            message,
            since=state.failure.since if state.failure else self._clock(),
            names_tube=isinstance(error, ProtocolError) and error.names_tube,
        )
        reading = None if isinstance(error, SeveralServersError) else state.reading
        return replace(state, reading=reading, failure=failure, attempted=True)

    def _log_reading(self, before: ServerState, reading: Reading) -> None:
        where = {"server": self.server.name, "address": self.server.address}
        if before.reading is not None and before.reading.server_id != reading.server_id:
            _log.warning("beanstalkd restarted", **where)
        elif before.reading is None or before.failure is not None:
            _log.info("reading beanstalkd", **where, tubes=len(reading.tubes))
