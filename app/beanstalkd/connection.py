"""One connection to one beanstalkd: questions out in windows, answers back in order, a deadline on all of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from math import inf
from typing import cast

from app.beanstalkd.protocol import MAX_BODY, MAX_STATS, NOT_FOUND, ProtocolError, Replies

WINDOW = 256
"""Questions under way at once: so many that beanstalkd has the next one even if we get no processor for a while. It
takes other clients' commands between any two of them, and 256 answers are a quarter of a megabyte."""
GATHER_S = 0.005
"""For so long answers pile up unread. beanstalkd sends each in a packet of its own, and waking us for each one costs it
as much time as finding the answer. With 10,000 tubes it answers about 50 meanwhile."""
CONNECT_TIMEOUT_S = 3.0
REPLY_TIMEOUT_S = 5.0


class Connection(asyncio.Protocol):
    """A conversation that any anomaly ends: whoever meets an error must let the connection go."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._replies = Replies()
        self._owed = 0
        self._bodies: list[bytes | None] = []
        self._came = asyncio.Event()
        self._error: Exception | None = None

    async def ask(self, command: bytes) -> bytes:
        """One question, one answer's body. Raises ProtocolError, TimeoutError, OSError."""
        self._send([command], MAX_BODY)
        (body,) = await self._answers()
        if body is NOT_FOUND:
            raise ProtocolError(f"answered NOT_FOUND to {command.decode('ascii').strip()}")
        return body

    async def ask_all(self, commands: Iterator[bytes], within_s: float = inf) -> AsyncIterator[Sequence[bytes | None]]:
        """Their bodies in the same order, NOT_FOUND where a tube is gone, in such portions as they come.

        After `within_s` no more are taken from `commands`; all that were taken are answered. Take all bodies: what is
        left unread would be the answer to the next question. Raises ProtocolError, TimeoutError, OSError.
        """
        time = asyncio.get_running_loop().time
        end, owed = time() + within_s, 0
        while True:
            window = list(islice(commands, WINDOW - owed)) if time() < end else []
            owed += len(window)
            if not owed:
                return
            self._send(window, MAX_STATS)
            await self._gather()
            bodies = await self._answers()
            owed -= len(bodies)
            yield bodies

    def _send(self, commands: Sequence[bytes], most_body: int) -> None:
        self._check()
        self._replies.most_body = most_body  # of all that is owed: a list of tubes is never asked for beside others
        self._owed += len(commands)
        self._transport.write(b"".join(commands))

    async def _gather(self) -> None:
        self._transport.pause_reading()
        await asyncio.sleep(GATHER_S)
        self._check()
        self._transport.resume_reading()

    async def _answers(self) -> Sequence[bytes | None]:
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            await self._came.wait()
        self._check()
        self._came.clear()
        bodies, self._bodies = self._bodies, []
        return bodies

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, received: bytes) -> None:
        """Called by the event loop."""
        self._replies.feed(received)
        try:
            while (reply := self._replies.next()) is not None:
                self._take(reply[0])
        except ProtocolError as error:
            self._end(error)

    def _take(self, body: bytes | None) -> None:
        if self._owed == 0:
            raise ProtocolError("answered more than it was asked")
        self._owed -= 1
        self._bodies.append(body)
        self._came.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        told = "closed the connection instead of answering" if self._owed else "closed the connection"
        self._end(error or ProtocolError(told))

    def _end(self, error: Exception) -> None:
        self._error = self._error or error
        self._transport.abort()
        self._came.set()

    def close(self) -> None:
        """Nothing is owed: every answer was read, or the connection isn't trusted any more."""
        self._transport.abort()


@asynccontextmanager
async def connect(host: str, port: int) -> AsyncIterator[Connection]:
    """Connect to an IP address, and close in the end. Raises OSError, TimeoutError."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    try:
        yield connection
    finally:
        connection.close()
