"""A few threads for blocking calls, without a queue: a client is told to retry instead of waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from app.console.errors import RequestError


class BusyError(RequestError):
    """All threads are busy."""


class Threads:
    """Runs at most `number` calls at once."""

    def __init__(self, number: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)
        self._number = number
        self._busy = 0

    async def call[T](self, function: Callable[[], T]) -> T:
        """Return or raise what `function` does. It completes even if its caller is cancelled. Raises BusyError."""
        if self._busy >= self._number:
            raise BusyError(f"{self._number} requests are waiting for beanstalkd, the limit: retry in a moment", 503)
        self._busy += 1

        def free(future: asyncio.Future[T]) -> None:
            self._busy -= 1
            if not future.cancelled():
                future.exception()  # retrieved here in case the caller has left

        future = asyncio.get_running_loop().run_in_executor(self._pool, function)
        future.add_done_callback(free)
        return await asyncio.shield(future)
