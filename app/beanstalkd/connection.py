"""One connection to one beanstalkd: pipelined commands, replies in order, a deadline for each wait."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from math import inf
from typing import cast

from app.beanstalkd.protocol import MAX_BODY, MAX_STATS, ProtocolError, Reply, ReplyParser, body_of

WINDOW = 256
"""Maximum commands in flight: enough that beanstalkd has work while this process gets no CPU time. It serves other
clients between any two of them, and 256 replies are a quarter of a megabyte."""
GATHER_S = 0.005
"""Seconds for which replies pile up unread: beanstalkd sends each in its own packet, and waking up for each costs as
much time as beanstalkd takes to produce it. With 10,000 tubes it answers about 50 meanwhile."""
CONNECT_TIMEOUT_S = 3.0
REPLY_TIMEOUT_S = 5.0


def describe_error(error: Exception) -> str:
    """Return a clause that follows the server's name: "connection refused"; of another exception its own text."""
    if not isinstance(error, OSError):
        return str(error)
    if isinstance(error, socket.gaierror):
        return f"DNS lookup failed ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "timed out"
    if error.errno:
        return os.strerror(error.errno).lower()  # asyncio's strerror hides the reason: "Connect call failed"
    return "it closed the connection"  # greenstalk raises an OSError without errno


class Connection(asyncio.Protocol):
    """A conversation that ends with the first anomaly: after an error, close the connection."""

    _transport: asyncio.Transport

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        """An IP address."""
        self.port = port
        self._parser = ReplyParser()
        self._owed = 0
        self._replies: deque[Reply] = deque()
        self._changed = asyncio.Event()
        self._error: Exception | None = None

    def send(self, commands: Sequence[bytes], max_body: int) -> None:
        """Send commands; each reply is then owed, with a body of at most `max_body` bytes. Raises like `reply`."""
        self._check()
        self._parser.max_body = max_body
        self._owed += len(commands)
        self._transport.write(b"".join(commands))

    async def reply(self) -> Reply:
        """Wait for the next reply. Raises ProtocolError, TimeoutError, OSError, but only after all earlier replies."""
        if not self._replies:
            await self._wait()
        return self._replies.popleft()

    async def ask(self, command: bytes) -> bytes:
        """Send one command and return the body of its OK reply. Raises ProtocolError, TimeoutError, OSError."""
        self.send([command], MAX_BODY)
        body = body_of(await self.reply())
        if body is None:
            raise ProtocolError(f"answered NOT_FOUND to {command.decode('ascii').strip()}")
        return body

    async def ask_all(self, commands: Iterator[bytes], within_s: float = inf) -> AsyncIterator[Sequence[bytes | None]]:
        """Send stats commands pipelined, and yield the bodies in order, in batches; None for NOT_FOUND.

        Take no more commands after `within_s` seconds. Consume all batches: an unread reply would be taken for the
        reply to a later command. Raises ProtocolError, TimeoutError, OSError.
        """
        time = asyncio.get_running_loop().time
        end, owed = time() + within_s, 0
        while True:
            window = list(islice(commands, WINDOW - owed)) if time() < end else []
            owed += len(window)
            if not owed:
                return
            self.send(window, MAX_STATS)
            self._transport.pause_reading()
            await asyncio.sleep(GATHER_S)
            self._check()
            self._transport.resume_reading()
            await self._wait()
            bodies = [body_of(reply) for reply in self._replies]
            self._replies.clear()
            owed -= len(bodies)
            yield bodies

    async def idle(self, seconds: float) -> None:
        """Wait while no reply is owed. Raises like `reply` as soon as the connection ends."""
        self._changed.clear()
        self._check()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._check()

    async def closed_by_quit(self) -> None:
        """Send `quit` and wait until beanstalkd closes: from then on no tube counts this connection. Raises OSError."""
        self._transport.write(b"quit\r\n")
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            while self._error is None:
                self._changed.clear()
                await self._changed.wait()

    async def _wait(self) -> None:
        """Wait until there is a reply."""
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            while not self._replies:
                self._check()
                self._changed.clear()
                await self._changed.wait()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._parser.feed(data)
        try:
            while (reply := self._parser.next()) is not None and self._owed:
                self._owed -= 1
                self._replies.append(reply)
        except ProtocolError as error:
            self._end(error)
        else:
            if reply is not None:
                self._end(ProtocolError("sent more replies than there were commands"))
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self._end(error or ProtocolError("it closed the connection" + " instead of answering" * bool(self._owed)))

    def _end(self, error: Exception) -> None:
        self._error = self._error or error
        self._transport.abort()
        self._changed.set()

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()


@asynccontextmanager
async def connect(host: str, port: int) -> AsyncIterator[Connection]:
    """Connect to an IP address, and close at the end. Raises OSError, TimeoutError."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(host, port), host, port)
    try:
        yield connection
    finally:
        connection.close()
