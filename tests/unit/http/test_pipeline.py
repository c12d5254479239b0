"""Requests that come at once are answered one after another, in their order."""

import pytest

from tests.unit.http.place import GET, Client, Place, settled

pytestmark = pytest.mark.anyio


async def test_requests_at_once_are_answered_in_turn(client: Client) -> None:
    client.writer.write(GET * 10)
    for _ in range(10):
        assert (await client.ask(b"")).endswith("<x-next>")


async def test_thousands_of_requests_at_once_are_not_remembered(client: Client) -> None:
    client.writer.write(GET * 5000)
    assert (await client.rest()).count(b"<x-next>") < 100


async def test_nonsense_behind_a_request_is_not_its_answer(client: Client) -> None:
    answer = await client.ask(GET + b"nonsense\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK")
    assert answer.endswith("<x-next>")
    assert await client.rest() == b""


async def test_a_head_that_cant_be_served_is_refused_and_nothing_behind_it_heard(client: Client) -> None:
    client.writer.write(b"GET / HTTP/1.1\r\n\r\n" + GET)
    answer = await client.rest()
    assert answer.endswith(b"\r\n\r\n400 Bad Request: missing required Host header")
    assert answer.count(b"HTTP/1.1") == 1


async def test_what_nobody_will_answer_any_more_weighs_nothing(place: Place, client: Client) -> None:
    client.writer.write(GET.replace(b"/ ", b"/held ") * 3)
    await settled()
    three = place.connections.under_way
    (connection,) = place.connections
    connection.abort()
    await settled()
    assert 0 < place.connections.under_way < three
    place.hold.set()
    await settled()
    assert place.connections.under_way == 0
