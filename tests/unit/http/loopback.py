"""A server on loopback whose clock the tests set, and its clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.limits import Limits
from app.api.request import Request
from app.http.server import HttpServer

GET = b"GET / HTTP/1.1\r\nhost: x\r\nx-next: 1\r\n\r\n"
LARGE = b"".join([b"host: x\r\n", *(b"x-%d: %b\r\n" % (each, b"y" * 600) for each in range(50)), b"\r\n"])
"""Headers of nearly as many bytes as may be."""


@dataclass
class Loopback:
    """A server on loopback whose clock we set, and a client of it."""

    now: float = 1000.0
    server: HttpServer = field(init=False)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers below /held wait for it."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.server = HttpServer(limit=4, clock=lambda: self.now)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            await StreamingResponse(self.stream())(scope, receive, send)
            return
        if scope["path"].startswith("/held"):
            await self.hold.wait()
        names = ",".join(name.decode() for name, _ in scope["headers"] if name != b"host")
        response = Response(b"x" * (1 << 24)) if scope["path"] == "/large" else PlainTextResponse(f"<{names}>")
        scope["request"] = Request(scope)
        await self.limits.of_responses(response)(scope, receive, send)

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"<>"
        await self.hold.wait()
        yield b"x" * (1 << 24)
        yield b">"

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        self.server.expire()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, end: bytes = b">") -> str:
        self.writer.write(request)
        async with asyncio.timeout(60):
            return (await self.reader.readuntil(end)).decode()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"reset"

    @property
    def is_open(self) -> bool:
        return not self.reader.at_eof()


async def settled() -> None:
    """The bytes on loopback have come, and what they cause has happened."""
    for _ in range(10):
        await asyncio.sleep(0.002)


async def until_unread(server: HttpServer) -> None:
    """Until the server waits for a client that doesn't read on, and the system keeps no more for it."""
    before: list[asyncio.Event | None] = [None]
    async with asyncio.timeout(60):
        while not any(before) or before != [each.writable for each in server.connections]:
            before = [each.writable for each in server.connections]
            await asyncio.sleep(0.1)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a busy machine may take long for."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)
