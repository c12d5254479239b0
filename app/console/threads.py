"""A few threads for what blocks, so that the event loop never does; and no queue before them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class BusyError(Exception):
    """All are at work; `str()` is a sentence."""


class Threads:
    """So many, and no more calls at once."""

    def __init__(self, number: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)
        self._number = number
        self._busy = 0

    async def call[T](self, function: Callable[[], T]) -> T:
        """What it returns or raises; it goes on to its end though nobody waits any more. Raises BusyError."""
        if self._busy >= self._number:
            raise BusyError(f"the console waits for beanstalkd {self._number} times over: try again in a moment")
        self._busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, function)
        future.add_done_callback(self._free)
        return await asyncio.shield(future)

    def _free[T](self, future: asyncio.Future[T]) -> None:
        self._busy -= 1
        if not future.cancelled():
            future.exception()  # whoever waited may be gone: then it is heard by nobody
