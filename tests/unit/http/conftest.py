"""What most tests of connections begin with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.http.server import listen
from tests.unit.http.place import Client, Place, settled


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
async def connect(place: Place) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    clients: list[Client] = []
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        serving = asyncio.create_task(place.server.serve(place.answer, listener, drain_s=0))

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_connection(*address)))
            await settled()
            return clients[-1]

        yield connect
        for client in clients:
            client.writer.transport.abort()
        for left in tuple(place.server.connections):
            left.abort()
        place.server.shut_down()
        await serving
        place.hold.set()
        await settled()


@pytest.fixture
async def client(connect: Callable[[], Awaitable[Client]]) -> Client:
    return await connect()
