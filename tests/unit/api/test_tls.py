"""What a stranger can send before anybody knows who they are: it gives no rights, and costs no memory."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.api.tls import MOST_HEAD, TlsHttpProtocol

pytestmark = pytest.mark.anyio
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo_headers(scope: Scope, receive: Receive, send: Send) -> None:
    names = ",".join(name.decode() for name, _ in scope["headers"])
    await PlainTextResponse(f"<{names}>")(scope, receive, send)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    config = uvicorn.Config(echo_headers, ws="none", log_config=None)
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TlsHttpProtocol(config, state, {}), "127.0.0.1")
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()


async def ask(connection: Connection, request: bytes) -> str:
    reader, writer = connection
    writer.write(request)
    async with asyncio.timeout(5):
        return (await reader.readuntil(b">")).decode()


async def test_a_header_behind_the_body_is_no_header(connection: Connection) -> None:
    """kube-apiserver's users choose what comes behind a body; X-Remote-Group there would make anybody a master."""
    head = b"GET / HTTP/1.1\r\nx-remote-user: me\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await ask(connection, head + b"1\r\na\r\n0\r\nx-remote-group: system:masters\r\nx-last: 1\r\n\r\n")
    assert answer.endswith("<x-remote-user,transfer-encoding>")
    assert (await ask(connection, b"GET / HTTP/1.1\r\nx-next: 1\r\n\r\n")).endswith("<x-next>")


async def refusal(connection: Connection, endless: bytes) -> bytes:
    reader, writer = connection
    writer.write(endless + b"a" * MOST_HEAD)
    async with asyncio.timeout(5):
        return await reader.read()


@pytest.mark.parametrize("beginning", [b"GET /", b"GET / HTTP/1.1\r\nx: "])
async def test_a_head_without_end_is_refused(connection: Connection, beginning: bytes) -> None:
    assert (await refusal(connection, beginning)).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_trailers_without_end_are_refused(connection: Connection) -> None:
    await ask(connection, b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    assert (await refusal(connection, b"x: ")).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_a_body_may_be_longer_than_a_head(connection: Connection) -> None:
    head = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (3 * MOST_HEAD)
    assert (await ask(connection, head + bytes(3 * MOST_HEAD))).endswith("<content-length>")
    assert (await ask(connection, b"GET / HTTP/1.1\r\nx-next: 1\r\n\r\n")).endswith("<x-next>")


async def test_a_wish_to_upgrade_is_passed_over(connection: Connection, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert (await ask(connection, upgrade)).endswith("<connection,upgrade>")
    assert not caplog.records
