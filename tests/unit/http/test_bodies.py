"""Bodies reach the application piece by piece, and never more than it reads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.http.connection import LIMITS_WITHOUT_CERTIFICATE, HttpConnection
from app.http.server import HttpServer, listen

pytestmark = pytest.mark.anyio

CHUNKED = b"POST /all HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass
class Loopback:
    """Answers how many bytes came: of all below /all, of none elsewhere, and below /held once it is let."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, size = Request(scope, receive), 0
        if scope["path"] == "/held":
            await self.go_on.wait()
        try:
            if scope["path"] != "/none":
                size = len(await request.body())
        except ClientDisconnect:
            self.ended.append("disconnected")
            return
        await PlainTextResponse(f"<{size}>")(scope, receive, send)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> str:
        async with asyncio.timeout(60):
            return (await self.reader.readuntil(b">")).decode().rpartition("<")[2]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def loopback() -> Loopback:
    return Loopback()


@pytest.fixture
async def connect(loopback: Loopback) -> AsyncIterator[Callable]:
    server, clients = HttpServer(), list[Client]()
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        serving = asyncio.create_task(server.serve(loopback.answer, listener, drain_s=0))

        async def connect_one() -> tuple[Client, HttpConnection]:
            clients.append(Client(*await asyncio.open_connection(*address)))
            await until(lambda: len(server.connections) > 0)
            return clients[-1], next(iter(server.connections))

        yield connect_one
        for client in clients:
            client.writer.close()
        server.shut_down()
        await serving


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, (1 << 16) + 1, 3 << 20])
async def test_a_body_of_any_length_is_complete(connect: Callable, size: int) -> None:
    client, _ = await connect()
    client.writer.write(post("/all", b"x" * size))
    assert await client.answer() == f"{size}>"


async def test_a_chunked_body_is_complete(connect: Callable) -> None:
    client, _ = await connect()
    client.writer.write(CHUNKED)
    for _ in range(3):
        client.writer.write(b"5\r\nhello\r\n")
        await asyncio.sleep(0.01)
    client.writer.write(b"0\r\n\r\n")
    assert await client.answer() == "15>"


async def test_an_unread_body_stays_with_its_sender(connect: Callable, loopback: Loopback) -> None:
    client, connection = await connect()
    client.writer.write(post("/held", b"x" * (8 << 20)))
    await asyncio.sleep(0.2)
    assert len(connection._buffer) < 1 << 19  # noqa: SLF001 - what it keeps is the point
    loopback.go_on.set()
    assert await client.answer() == f"{8 << 20}>"


async def test_requests_follow_one_another_on_a_connection(connect: Callable) -> None:
    client, _ = await connect()
    client.writer.write(post("/all", b"one") + post("/all", b"two!") + GET)
    assert [await client.answer() for _ in range(3)] == ["3>", "4>", "0>"]


async def test_a_body_after_its_response_is_discarded_and_an_endless_one_ends_the_connection(connect: Callable) -> None:
    client, _ = await connect()
    client.writer.write(post("/none", b"x" * 1000) + GET)
    assert [await client.answer() for _ in range(2)] == ["0>", "0>"]
    client.writer.write(CHUNKED.replace(b"/all", b"/none"))
    assert await client.answer() == "0>"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(LIMITS_WITHOUT_CERTIFICATE.unread_body // 0x10000 + 1):
        client.writer.write(chunk)
    async with asyncio.timeout(60):
        with suppress(ConnectionError):
            assert await client.reader.read() == b""


async def test_a_client_that_disconnects_within_its_body_is_noticed(connect: Callable, loopback: Loopback) -> None:
    client, _ = await connect()
    client.writer.write(post("/all", b"x" * 100)[:-50])
    await asyncio.sleep(0.05)
    client.writer.close()
    await until(lambda: loopback.ended == ["disconnected"])


@pytest.mark.parametrize("path", ["/all", "/held"])
async def test_a_malformed_body_ends_its_request(connect: Callable, loopback: Loopback, path: str) -> None:
    client, _ = await connect()
    client.writer.write(CHUNKED.replace(b"/all", path.encode()) + b"no size\r\n\r\n")
    await asyncio.sleep(0.05)
    loopback.go_on.set()
    async with asyncio.timeout(60):
        assert b" 400 " in await client.reader.read()
    await until(lambda: loopback.ended == ["disconnected"])
