"""Who stops in the middle is let go in time, and who only has to wait for us is not."""

import pytest

from app.http.connection import PHASES, Phase
from tests.unit.http.place import GET, Client, Place, settled

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("sent", "phase"),
    [
        (b"", Phase.IDLE),
        (b"GET / HT", Phase.HEAD),
        (b"\r\n", Phase.HEAD),
        (GET, Phase.IDLE),
        (GET + b"G", Phase.HEAD),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n123", Phase.BODY),
        (b"GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y", Phase.BODY),
    ],
)
async def test_who_stops_in_the_middle_is_let_go_in_time(
    place: Place, client: Client, sent: bytes, phase: Phase
) -> None:
    if b"\r\n\r\n" in sent:
        await client.ask(sent)
    else:
        client.writer.write(sent)
    await settled()
    place.pass_s(PHASES[phase].timeout_s - 1)
    await settled()
    assert client.is_open
    place.pass_s(2)
    await client.rest()
    assert place.server.ended == {phase.value: 1}


async def test_a_byte_now_and_then_wins_no_time(place: Place, client: Client) -> None:
    for byte in b"GET / HTTP/1.1":
        client.writer.write(bytes([byte]))
        await settled()
        place.pass_s(1)
    await client.rest()
    assert place.server.ended == {"head": 1}


async def is_waited_for_and_then_let_go(place: Place) -> None:
    """Who doesn't read on."""
    await settled()
    place.pass_s(PHASES[Phase.RESPONSE].timeout_s - 1)
    await settled()
    assert [connection.phase for connection in place.server.connections] == [Phase.RESPONSE]
    place.pass_s(2)
    await settled()
    assert place.server.ended == {"answer": 1}


async def test_who_doesnt_read_the_answer_is_let_go(place: Place, client: Client) -> None:
    client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    await is_waited_for_and_then_let_go(place)
    assert len(place.server.connections) == 0


async def test_a_stream_of_long_ago_has_a_slow_reader_now_and_then(place: Place, client: Client) -> None:
    await client.ask(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    place.pass_s(10 * PHASES[Phase.RESPONSE].timeout_s)
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    place.hold.set()
    await is_waited_for_and_then_let_go(place)


async def test_a_slow_answer_is_waited_for(place: Place, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    place.pass_s(10 * PHASES[Phase.IDLE].timeout_s)
    place.hold.set()
    assert (await client.ask(b"")).endswith("<>")


async def test_a_client_that_doesnt_close_is_closed(place: Place, client: Client) -> None:
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    await settled()
    place.pass_s(PHASES[Phase.RESPONSE].timeout_s - 1)
    assert len(place.server.connections) == 1
    place.pass_s(2)
    await settled()
    assert not place.server.connections
