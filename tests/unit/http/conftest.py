"""What most tests of connections begin with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.http.server import listen
from tests.unit.http.loopback import Client, Loopback, settled


@pytest.fixture
def loopback() -> Loopback:
    return Loopback()


@pytest.fixture
async def connect(loopback: Loopback) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    clients: list[Client] = []
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        serving = asyncio.create_task(loopback.server.serve(loopback.answer, listener, drain_s=0))

        async def connect(source: str = "127.0.0.1") -> Client:
            clients.append(Client(*await asyncio.open_connection(*address, local_addr=(source, 0))))
            await settled()
            return clients[-1]

        yield connect
        for client in clients:
            client.writer.transport.abort()
        for left in tuple(loopback.server.connections):
            left.abort()
        loopback.server.shut_down()
        await serving
        loopback.hold.set()
        await settled()


@pytest.fixture
async def client(connect: Callable[..., Awaitable[Client]]) -> Client:
    return await connect()
