"""What most tests of connections begin with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.http.connection import HttpConnection
from tests.unit.http.place import Client, Place, settled


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
async def connect(place: Place) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    config = uvicorn.Config(
        place.answer, interface="asgi3", proxy_headers=False, ws="none", lifespan="off", log_config=None
    )
    config.load()
    state = ServerState()
    clients: list[Client] = []

    def connection() -> HttpConnection:
        made = HttpConnection(place.connections, config, state)
        place.connections.remember(made)
        return made

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_connection(*server.sockets[0].getsockname())))
        return clients[-1]

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1")
    async with server:
        yield connect
        for client in clients:
            client.writer.transport.abort()
        for left in place.connections:
            left.abort()
        await settled()


@pytest.fixture
async def client(connect: Callable[[], Awaitable[Client]]) -> Client:
    return await connect()
