"""Who stops in the middle is let go in time, and who only has to wait for us is not."""

import pytest

from app.http.connection import PHASES, Phase
from tests.unit.http.loopback import GET, Client, Loopback, settled, until_unread

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
async def test_a_client_that_stops_within_a_request_is_disconnected(
    loopback: Loopback, client: Client, sent: bytes, phase: Phase
) -> None:
    if b"\r\n\r\n" in sent:
        await client.ask(sent)
    else:
        client.writer.write(sent)
    await settled()
    loopback.pass_s(PHASES[phase].timeout_s - 1)
    await settled()
    assert client.is_open
    loopback.pass_s(2)
    await client.rest()
    assert loopback.server.ended == {phase.value: 1}


async def test_a_slowly_sent_request_gets_no_more_time(loopback: Loopback, client: Client) -> None:
    for byte in b"GET / HTTP/1.1":
        client.writer.write(bytes([byte]))
        await settled()
        loopback.pass_s(1)
    await client.rest()
    assert loopback.server.ended == {"head": 1}


async def is_waited_for_and_then_let_go(loopback: Loopback) -> None:
    """Who doesn't read on."""
    await until_unread(loopback.server)
    loopback.pass_s(PHASES[Phase.RESPONSE].timeout_s - 1)
    await settled()
    assert [connection.phase for connection in loopback.server.connections] == [Phase.RESPONSE]
    loopback.pass_s(2)
    await settled()
    assert loopback.server.ended == {"answer": 1}


async def test_a_client_that_doesnt_read_is_disconnected(loopback: Loopback, client: Client) -> None:
    client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    await is_waited_for_and_then_let_go(loopback)
    assert len(loopback.server.connections) == 0


async def test_an_old_stream_tolerates_a_slow_reader(loopback: Loopback, client: Client) -> None:
    await client.ask(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    loopback.pass_s(10 * PHASES[Phase.RESPONSE].timeout_s)
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    loopback.hold.set()
    await is_waited_for_and_then_let_go(loopback)


async def test_a_slow_application_causes_no_timeout(loopback: Loopback, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    loopback.pass_s(10 * PHASES[Phase.IDLE].timeout_s)
    loopback.hold.set()
    assert (await client.ask(b"")).endswith("<>")


async def test_a_client_that_doesnt_close_is_closed(loopback: Loopback, client: Client) -> None:
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    await until_unread(loopback.server)
    loopback.pass_s(PHASES[Phase.RESPONSE].timeout_s - 1)
    assert len(loopback.server.connections) == 1
    loopback.pass_s(2)
    await settled()
    assert not loopback.server.connections
