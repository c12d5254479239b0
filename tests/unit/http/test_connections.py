"""All connections together have bounds: those who do nothing go first, and nobody goes who is at something."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.http.connections import MOST_HEADS
from tests.unit.http.place import GET, LARGE, Client, Place, settled

pytestmark = pytest.mark.anyio


async def test_when_there_are_too_many_the_idlest_goes(place: Place, connect: Callable[[], Awaitable[Client]]) -> None:
    clients = []
    for _ in range(4):
        clients.append(await connect())
        await settled()
        place.pass_s(1)
    clients[0].writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await clients[1].ask(GET)
    assert place.connections.make_room()
    await clients[2].rest()
    place.hold.set()
    assert (await clients[0].ask(b"")).endswith("<>")


async def test_when_all_are_at_something_nobody_goes(place: Place, connect: Callable[[], Awaitable[Client]]) -> None:
    clients = [await connect() for _ in range(4)]
    for client in clients:
        client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    assert not place.connections.make_room()
    place.hold.set()
    for client in clients:
        assert (await client.ask(b"")).endswith("<>")


async def test_large_heads_under_way_have_a_bound_and_small_ones_are_answered_meanwhile(
    place: Place, connect: Callable
) -> None:
    crowd: list[Client] = []
    weight = 0
    while place.connections.under_way + weight <= MOST_HEADS:
        crowd.append(await connect())
        before = place.connections.under_way
        crowd[-1].writer.write(b"GET /held HTTP/1.1\r\n" + LARGE)
        async with asyncio.timeout(60):
            while (weight := place.connections.under_way - before) == 0:
                await settled()
    crowd[0].writer.transport.abort()  # whoever looks for its answer holds its head all the same
    await settled()
    one_more = await connect()
    assert "431 Request Header Fields Too Large" in await one_more.ask(b"GET / HTTP/1.1\r\n" + LARGE, b"Large")
    small = await connect()
    assert (await small.ask(GET)).endswith("<x-next>")
    place.hold.set()
    for each in crowd[1:]:
        await each.ask(b"")
    await settled()
    assert place.connections.under_way == 0
    assert (await small.ask(b"GET / HTTP/1.1\r\n" + LARGE)).endswith("x-119>")


async def test_who_leaves_says_so_with_each_answer_and_closes(place: Place, client: Client) -> None:
    assert "connection: close" not in await client.ask(GET)
    place.connections.leaving = True
    assert "connection: close" in await client.ask(GET)
    assert await client.rest() == b""


async def test_what_is_under_way_when_we_leave_is_answered(place: Place, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    closing = asyncio.create_task(place.connections.close(within_s=5))
    await settled()
    place.hold.set()
    assert "connection: close" in await client.ask(b"")
    assert await client.rest() == b""
    await closing
