"""The number of connections is limited: idle ones are closed first, busy ones never."""

from collections.abc import Awaitable, Callable

import pytest

from tests.unit.http.loopback import GET, Client, Loopback, settled

pytestmark = pytest.mark.anyio


async def test_at_the_limit_the_longest_idle_connection_is_closed(
    loopback: Loopback, connect: Callable[..., Awaitable[Client]]
) -> None:
    clients = []
    for _ in range(4):
        clients.append(await connect())
        await settled()
        loopback.pass_s(1)
    clients[0].writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await clients[1].ask(GET)
    assert loopback.server.make_room()
    await clients[2].rest()
    loopback.hold.set()
    assert (await clients[0].ask(b"")).endswith("<>")


async def test_at_the_limit_the_address_with_the_most_connections_loses_one(
    loopback: Loopback, connect: Callable[..., Awaitable[Client]]
) -> None:
    alone = await connect()
    many = [await connect("127.0.0.2") for _ in range(3)]
    await many[0].ask(GET)
    assert loopback.server.make_room()
    assert await many[1].rest() == b""
    for client in (alone, many[0], many[2]):
        await client.ask(GET)


async def test_at_the_limit_no_busy_connection_is_closed(
    loopback: Loopback, connect: Callable[..., Awaitable[Client]]
) -> None:
    clients = [await connect() for _ in range(4)]
    for client in clients:
        client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    assert not loopback.server.make_room()
    loopback.hold.set()
    for client in clients:
        assert (await client.ask(b"")).endswith("<>")


async def test_a_server_that_shuts_down_sends_connection_close(loopback: Loopback, client: Client) -> None:
    assert "connection: close" not in await client.ask(GET)
    loopback.server.shutting_down = True
    assert "connection: close" in await client.ask(GET)
    assert await client.rest() == b""


async def test_requests_in_flight_at_shutdown_are_answered(loopback: Loopback, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    loopback.server.shut_down(delay_s=5)
    await settled()
    loopback.hold.set()
    assert "connection: close" in await client.ask(b"")
    assert await client.rest() == b""
