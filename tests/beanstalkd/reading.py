"""What tests of the poller share: a poller that runs, beanstalkds at several addresses, clients."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import greenstalk

from app import clock
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.beanstalkd.reading import Reading, ServerState
from app.beanstalkd.server import LookUp, look_up
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd


@asynccontextmanager
async def polling(*servers: Server, demand: Demand | None = None, look_up: LookUp = look_up) -> AsyncIterator[Poller]:
    poller = Poller(servers, clock.now, demand, look_up)
    task = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)  # what was aborted last is closed by the loop, which may end with the test


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


def address(beanstalkd: Beanstalkd, name: str = "eu") -> Server:
    return Server(name, beanstalkd.host, beanstalkd.port)


def client(beanstalkd: Beanstalkd, tube: str) -> greenstalk.Client[bytes]:
    return greenstalk.Client((beanstalkd.host, beanstalkd.port), use=tube, watch=tube, encoding=None)


def first(poller: Poller, number: int = 0) -> ServerState:
    return poller.snapshot.servers[number]


def reading(poller: Poller) -> Reading:
    """Of the first server, which was read."""
    given = first(poller).reading
    assert given is not None
    return given


def fill(beanstalkd: Beanstalkd, tubes: int) -> None:
    """One delayed job in each of so many tubes."""
    with client(beanstalkd, "default") as jobs:
        for number in range(tubes):
            jobs.use(f"tube-{number:05}")
            jobs.put(b"x", delay=3600)


@contextmanager
def beanstalkds(*hosts: str) -> Iterator[Sequence[Beanstalkd]]:
    """One at each of these loopback addresses, all on one port, as a headless Service has them."""
    binary = shutil.which("beanstalkd")
    assert binary, "beanstalkd isn't installed: apt-get install beanstalkd"
    servers = [Beanstalkd(binary) for _ in hosts]
    try:
        for server, host in zip(servers, hosts, strict=True):
            server.host, server.port = host, servers[0].port
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


@asynccontextmanager
async def pretender(
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Server]:
    """A server that only pretends to be one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await converse(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, host, port)
    try:
        yield Server("eu", host, server.sockets[0].getsockname()[1])
    finally:
        server.close()
