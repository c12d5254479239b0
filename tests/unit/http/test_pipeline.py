"""Requests that come at once are answered one after another, in their order."""

from collections.abc import Awaitable, Callable

import pytest

from tests.unit.http.loopback import GET, Client, Loopback, settled

pytestmark = pytest.mark.anyio

MAX_READ = 1 << 18
"""Bytes that asyncio reads at once."""


async def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    client.writer.write(GET * 10)
    for _ in range(10):
        assert (await client.ask(b"")).endswith("<x-next>")


async def test_of_thousands_of_pipelined_requests_most_stay_with_the_client(loopback: Loopback, client: Client) -> None:
    client.writer.write(GET.replace(b"/ ", b"/held ") + GET * 50_000)
    await settled()
    (connection,) = loopback.server.connections
    assert len(connection._buffer) < MAX_READ  # noqa: SLF001 - what it keeps is the point
    loopback.hold.set()
    for _ in range(100):
        assert "connection: close" not in await client.ask(b"")


async def test_a_pipelining_client_delays_no_other(connect: Callable[[], Awaitable[Client]]) -> None:
    greedy, other = await connect(), await connect()
    greedy.writer.write(GET * 5000)
    await other.ask(GET)
    assert (await greedy.reader.read(1 << 20)).count(b"<x-next>") < 2500


async def test_malformed_data_after_a_request_gets_its_own_response(client: Client) -> None:
    response = await client.ask(GET + b"nonsense\r\n\r\n")
    assert response.startswith("HTTP/1.1 200 OK")
    assert response.endswith("<x-next>")
    assert (await client.rest()).startswith(b"HTTP/1.1 400 Bad Request")


async def test_a_rejected_head_ends_the_connection(client: Client) -> None:
    client.writer.write(b"GET / HTTP/1.1\r\n\r\n" + GET)
    answer = await client.rest()
    assert answer.endswith(b"\r\n\r\na request needs exactly one Host header")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_client_that_disconnects_ends_its_pipelined_requests(loopback: Loopback, client: Client) -> None:
    client.writer.write(GET.replace(b"/ ", b"/held ") * 3)
    await settled()
    (connection,) = loopback.server.connections
    connection.abort()
    await settled()
    assert not loopback.server.connections
    loopback.hold.set()
    await settled()
    assert loopback.limits.requests == 0
