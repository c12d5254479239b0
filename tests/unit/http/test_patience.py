"""Who stops in the middle is let go in time, and who only has to wait for us is not."""

import pytest

from app.http.connection import GOODBYE_S, PATIENCE_S, Patience, Phase
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
    place.pass_s(PATIENCE_S[phase] - 1)
    await settled()
    assert client.is_open
    place.pass_s(2)
    await client.rest()
    assert place.connections.ended == {phase.value: 1}


async def test_a_byte_now_and_then_wins_no_time(place: Place, client: Client) -> None:
    for byte in b"GET / HTTP/1.1":
        client.writer.write(bytes([byte]))
        await settled()
        place.pass_s(1)
    await client.rest()
    assert place.connections.ended == {"head": 1}


async def is_waited_for_and_then_let_go(place: Place) -> None:
    """Who doesn't read on."""
    await settled()
    place.pass_s(PATIENCE_S[Phase.ANSWER] - 1)
    await settled()
    assert place.connections.answering == 1
    place.pass_s(2)
    await settled()
    assert place.connections.ended == {"answer": 1}


async def test_who_doesnt_read_the_answer_is_let_go(place: Place, client: Client) -> None:
    client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    await is_waited_for_and_then_let_go(place)
    assert len(place.connections) == 0


async def test_a_stream_of_long_ago_has_a_slow_reader_now_and_then(place: Place, client: Client) -> None:
    await client.ask(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    place.pass_s(10 * PATIENCE_S[Phase.ANSWER])
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    place.hold.set()
    await is_waited_for_and_then_let_go(place)


async def test_a_slow_answer_is_waited_for(place: Place, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    place.pass_s(10 * PATIENCE_S[Phase.IDLE])
    place.hold.set()
    assert (await client.ask(b"")).endswith("<>")


def test_a_closed_connection_has_a_little_longer_to_go() -> None:
    patience = Patience(now=0)
    patience.begin(Phase.HEAD, now=100)
    assert not patience.is_over(now=110)
    assert patience.is_over(now=111)
    assert not patience.is_over_after_goodbye(now=110 + GOODBYE_S)
    assert patience.is_over_after_goodbye(now=111 + GOODBYE_S)


def test_our_own_time_for_an_answer_is_nobodys_delay() -> None:
    patience = Patience(now=0)
    patience.begin(Phase.ANSWER, now=0)
    assert not patience.is_over(now=1e6)
    patience.untaken_since = 1e6
    assert not patience.is_over(now=1e6 + PATIENCE_S[Phase.ANSWER])
    assert patience.is_over(now=1e6 + PATIENCE_S[Phase.ANSWER] + 1)
