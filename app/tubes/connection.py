"""One connection to one beanstalkd: questions out in windows, answers back in order, a deadline on all of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import cast

from app.settings import Server
from app.tubes.protocol import NOT_FOUND, ProtocolError, Replies

WINDOW = 64
"""Questions under way at once: more gains nothing, and beanstalkd stops reading from one who doesn't read."""
CONNECT_TIMEOUT_S = 3.0
REPLY_TIMEOUT_S = 5.0

# Threads of their own: while DNS is down each look-up takes most of a minute, and whoever asks kube-apiserver or awaits
# a long answer uses the loop's few.
_LOOK_UPS = ThreadPoolExecutor(32, thread_name_prefix="look-up")


class Connection(asyncio.Protocol):
    """A conversation that any anomaly ends: whoever meets an error must let the connection go.

    A protocol and not a stream: beanstalkd sends each answer in a packet of its own, and this way only the last one of
    a window wakes a task.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._replies = Replies()
        self._bodies: list[bytes | None] = []
        self._awaited = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._done.set_result(None)
        self._lost = False

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
        if self._lost:
            raise ProtocolError("closed the connection")
        self._bodies, self._awaited = [], len(commands)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(b"".join(commands))
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            await self._done
        return self._bodies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, received: bytes) -> None:
        """Called by the event loop."""
        self._replies.feed(received)
        try:
            while (reply := self._replies.next()) is not None:
                self._bodies.append(reply[0])
        except ProtocolError as error:
            self._end(error)
        if len(self._bodies) > self._awaited:
            self._end(ProtocolError("answered more than it was asked"))
        elif len(self._bodies) == self._awaited and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self._end(error or ProtocolError("closed the connection instead of answering"))

    def _end(self, error: Exception) -> None:
        self._lost = True
        self._transport.abort()
        if not self._done.done():
            self._done.set_exception(error)

    def close(self) -> None:
        """Nothing is owed: every answer was read, or the connection isn't trusted any more."""
        self._done.cancel()
        self._transport.abort()


@asynccontextmanager
async def connect(server: Server) -> AsyncIterator[Connection]:
    """Resolve the name anew, connect, and close in the end. Raises OSError, TimeoutError."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        connection = await _connect_to_any(await _look_up(server))
    try:
        yield connection
    finally:
        connection.close()


async def _look_up(server: Server) -> list[tuple[str, int]]:
    # not left to create_connection: when time is up, it lets the look-up go on and logs a traceback of what came of it
    look_up = partial(socket.getaddrinfo, server.host, server.port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, look_up)
    return [(str(address[0]), int(address[1])) for *_, address in found]


async def _connect_to_any(addresses: Sequence[tuple[str, int]]) -> Connection:
    """Raises the last address's OSError: one for all of them has no reason of its own."""
    *others, last = addresses
    for host, port in others:
        with suppress(OSError):
            return await _connect_to(host, port)
    return await _connect_to(*last)


async def _connect_to(host: str, port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection
