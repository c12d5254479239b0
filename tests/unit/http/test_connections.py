"""All connections together have bounds: those who do nothing go first, and nobody goes who is at something."""

from collections.abc import Awaitable, Callable

import pytest

from tests.unit.http.place import GET, Client, Place, settled

pytestmark = pytest.mark.anyio


async def test_when_there_are_too_many_the_idlest_goes(place: Place, connect: Callable[[], Awaitable[Client]]) -> None:
    clients = []
    for _ in range(4):
        clients.append(await connect())
        await settled()
        place.pass_s(1)
    clients[0].writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await clients[1].ask(GET)
    assert place.server.make_room()
    await clients[2].rest()
    place.hold.set()
    assert (await clients[0].ask(b"")).endswith("<>")


async def test_when_all_are_at_something_nobody_goes(place: Place, connect: Callable[[], Awaitable[Client]]) -> None:
    clients = [await connect() for _ in range(4)]
    for client in clients:
        client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    assert not place.server.make_room()
    place.hold.set()
    for client in clients:
        assert (await client.ask(b"")).endswith("<>")


async def test_who_leaves_says_so_with_each_answer_and_closes(place: Place, client: Client) -> None:
    assert "connection: close" not in await client.ask(GET)
    place.server.shutting_down = True
    assert "connection: close" in await client.ask(GET)
    assert await client.rest() == b""


async def test_what_is_under_way_when_we_leave_is_answered(place: Place, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    place.server.shut_down(delay_s=5)
    await settled()
    place.hold.set()
    assert "connection: close" in await client.ask(b"")
    assert await client.rest() == b""
