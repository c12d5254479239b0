"""One connection to one beanstalkd: questions out in windows, answers back in order, a deadline on all of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.settings import Server
from app.tubes.protocol import NOT_FOUND, ProtocolError, Replies

WINDOW = 64
"""Questions under way at once: more gains nothing, and beanstalkd stops reading from one who doesn't read."""
CONNECT_TIMEOUT_S = 3.0
REPLY_TIMEOUT_S = 5.0
_CHUNK = 1 << 16


class Connection:
    """A conversation that any anomaly ends: whoever meets an error must let the connection go."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._replies = Replies()

    async def ask(self, command: bytes) -> bytes:
        """One question, one answer's body. Raises ProtocolError, TimeoutError, OSError."""
        (body,) = await self.ask_all([command])
        if body is NOT_FOUND:
            raise ProtocolError(f"answered NOT_FOUND to {command.decode('ascii').strip()}")
        return body

    async def ask_all(self, commands: Sequence[bytes]) -> list[bytes | None]:
        """At most WINDOW questions at once; their bodies in the same order, NOT_FOUND where a tube is gone.

        Raises ProtocolError, TimeoutError, OSError.
        """
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            self._writer.write(b"".join(commands))
            await self._writer.drain()
            bodies = [await self._next_reply() for _ in commands]
        if self._replies:
            raise ProtocolError("answered more than it was asked")
        return bodies

    async def _next_reply(self) -> bytes | None:
        while (reply := self._replies.next()) is None:
            received = await self._reader.read(_CHUNK)
            if not received:
                raise ProtocolError("closed the connection instead of answering")
            self._replies.feed(received)
        return reply[0]


@asynccontextmanager
async def connect(server: Server) -> AsyncIterator[Connection]:
    """Resolve the name anew, connect, and close in the end. Raises OSError, TimeoutError."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()  # nothing is owed: every answer was read, or the connection isn't trusted any more
