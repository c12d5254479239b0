"""One thread for long calls, in which clients take turns: many calls of one client delay another's by only one."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

from app.ratelimit import FairQueue


class FairThread:
    """For one event loop. How many calls may wait is limited elsewhere, by the requests in flight."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting = FairQueue[asyncio.Future[None]]()
        self._busy = False

    async def run[Result](self, client: Hashable, call: Callable[[], Result]) -> Result:
        """Run a blocking call in the thread and return its result."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.put(client, turn)
        self._start_next()
        try:
            await turn
            return await loop.run_in_executor(self._thread, call)
        finally:
            if not turn.cancelled():  # else it was cancelled before its turn
                self._busy = False
                self._start_next()

    def _start_next(self) -> None:
        while self._waiting and not self._busy:
            turn = self._waiting.take()
            if not turn.done():
                self._busy = True
                turn.set_result(None)
