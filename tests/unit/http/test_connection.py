"""What an unauthenticated client can send: it gives no permissions, and takes little time and memory."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from app.http.connection import LIMITS_WITHOUT_CERTIFICATE, Phase, without_mapping
from tests.unit.http.loopback import GET, LARGE, Client, Loopback, settled

pytestmark = pytest.mark.anyio


async def test_a_header_after_the_body_is_ignored(client: Client) -> None:
    """kube-apiserver's users choose what follows a body; X-Remote-Group there would make any user a master."""
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx-remote-user: me\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await client.ask(head + b"1\r\na\r\n0\r\nx-remote-group: system:masters\r\nx-last: 1\r\n\r\n")
    assert answer.endswith("<x-remote-user,transfer-encoding>")
    assert (await client.ask(GET)).endswith("<x-next>")


async def test_an_idle_connection_keeps_nothing_of_its_requests(connect: Callable) -> None:
    clients = [await connect() for _ in range(4)]
    question = b"GET / HTTP/1.1\r\n" + LARGE
    tracemalloc.start()
    try:
        for client in clients:
            await client.ask(question)
        await settled()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < len(question) / 2


async def test_a_short_unread_body_is_skipped(client: Client) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % LIMITS_WITHOUT_CERTIFICATE.unread_body
    assert (await client.ask(head + bytes(LIMITS_WITHOUT_CERTIFICATE.unread_body))).endswith("<content-length>")
    assert (await client.ask(GET)).endswith("<x-next>")


async def test_a_long_unread_body_ends_the_connection_after_the_response(client: Client) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (100 * LIMITS_WITHOUT_CERTIFICATE.unread_body)
    assert (await client.ask(head)).endswith("<content-length>")
    client.writer.write(bytes(2 * LIMITS_WITHOUT_CERTIFICATE.unread_body))
    await client.rest()


async def test_a_client_that_expects_100_continue_gets_only_the_response(client: Client) -> None:
    """It would be unknown whether the next bytes are the body or another user's request."""
    answer = await client.ask(b"GET / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 40\r\n\r\n")
    assert "connection: close" in answer
    assert await client.rest() == b""


async def test_an_upgrade_is_ignored_and_ends_the_connection(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    answer = await client.ask(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" + GET)
    assert answer.endswith("<connection,upgrade>")
    assert await client.rest() == b""
    assert not caplog.records


async def test_malformed_data_is_a_bad_request(client: Client) -> None:
    client.writer.write(b"nonsense\r\n\r\n")
    assert await client.rest() == (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 45\r\n"
        b"connection: close\r\n\r\nmalformed request: Invalid method encountered"
    )


async def test_a_head_that_starts_after_a_body_is_parsed_like_any_other(loopback: Loopback, client: Client) -> None:
    """It came together with the end of the body, when the answer was given already."""
    await client.ask(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nab")
    client.writer.write(b"cGET / HTTP/1.1\r\nhost: x\r\nx-a: Mozilla ")
    await settled()
    (connection,) = loopback.server.connections
    assert connection.phase is Phase.HEAD
    assert (await client.ask(b"like Gecko\r\n\r\n")).endswith("<x-a>")


@pytest.mark.parametrize(
    ("address", "named"),
    [
        (("::ffff:10.0.0.7", 80, 0, 0), ("10.0.0.7", 80)),
        (("10.0.0.7", 80), ("10.0.0.7", 80)),
        (("fd00::7", 80, 0, 0), ("fd00::7", 80)),
    ],
)
def test_an_ipv4_client_of_a_dual_stack_socket_has_its_ipv4_address(
    address: tuple[str, int], named: tuple[str, int]
) -> None:
    """Which trusted proxies, the limit of wrong passwords and the log compare."""
    assert without_mapping(address) == named
