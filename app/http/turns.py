"""What is asked on one connection is answered in turn, and weighed with all that is under way until then."""

import asyncio
from collections import deque
from typing import Any

from app.http.connections import Connections
from app.http.exchange import Exchange
from app.http.refusals import BAD_REQUEST, HeadError

MOST_PIPELINED = 16
"""Requests that wait for the answer to the one before. No client of Kubernetes sends even two at once."""


class Turns:
    """Of one connection."""

    def __init__(self, app: Any, connections: Connections, tasks: set[asyncio.Task[None]]) -> None:
        self.last: Exchange = None  # type: ignore[assignment]  # there is one wherever it is looked at
        """The latest that was asked for, answered or not."""
        self._app = app
        self._connections = connections
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self.waiting: deque[Exchange] = deque()
        """Those that nobody answers yet, in order."""

    @property
    def have_begun(self) -> bool:
        """Whether anything was ever asked."""
        return self.last is not None

    @property
    def are_owed(self) -> bool:
        """Whether an answer isn't whole yet."""
        return self.last is not None and not self.last.response_complete

    def add(self, exchange: Exchange) -> None:
        """One more. Raises HeadError when too many wait."""
        self.last = exchange
        self._connections.under_way += exchange.weight
        self.waiting.append(exchange)
        if len(self.waiting) > MOST_PIPELINED:
            raise HeadError(BAD_REQUEST, f"more than {MOST_PIPELINED} requests at once")

    def take_next(self) -> None:
        """Begin to answer the one that has waited for longest."""
        exchange = self.waiting.popleft()
        # Begun at once: most answers need nobody else's word, and are there before the event loop comes to a new task.
        task = asyncio.Task(exchange.run_asgi(self._app), loop=self._loop, eager_start=True)
        if task.done():
            self._let_go(exchange)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Not when the client leaves: what was asked is still held by whoever looks for the answer.
            task.add_done_callback(lambda _: self._let_go(exchange))

    def _let_go(self, exchange: Exchange) -> None:
        self._connections.under_way -= exchange.weight

    def end(self) -> bool:
        """Let the last answer that is owed end the connection, or return False if none is."""
        if not self.are_owed:
            return False
        self.last.keep_alive = False
        return True

    def lose_client(self) -> None:
        """Those that wait are answered by nobody any more, and the one under way for nobody."""
        for exchange in self.waiting:
            self._let_go(exchange)
        self.waiting.clear()
        if self.are_owed:
            self.last.disconnected = True
        if self.last is not None:
            self.last.message_event.set()
