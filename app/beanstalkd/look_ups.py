"""When a name is looked up: every few seconds, soon after a failure, and as soon as somebody asks."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from app.beanstalkd.retry import FIRST_RETRY_S, retry_delays
from app.clock import Instant

RESOLVE_S = 5.0
"""Seconds between two look-ups while nothing asks for one."""


class LookUps:
    """Of one name: its loop calls `begin`, looks up, and calls `end`; anybody may `ask`."""

    def __init__(self, clock: Callable[[], Instant]) -> None:
        self.turned_at = clock()
        self._clock = clock
        self._delays = retry_delays()
        self._asked = asyncio.Event()
        self._answer = self._next_answer = asyncio.Event()
        self._trouble: str | None = None

    def begin(self) -> None:
        """A look-up starts: who asks from now on waits for the one after it."""
        self._asked.clear()
        self._answer, self._next_answer = self._next_answer, asyncio.Event()
        self.turned_at = self._clock()

    async def end(self, trouble: str | None, *, in_vain: bool) -> None:
        """It has ended, with `trouble` or well: tell those who asked, and wait until the next is due. `in_vain`: there
        is nothing to read meanwhile."""
        self._trouble = trouble
        self._answer.set()
        if trouble is None:
            self._delays = retry_delays()
        await asyncio.sleep(FIRST_RETRY_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(next(self._delays) if in_vain else RESOLVE_S):
                await self._asked.wait()

    async def ask(self) -> str | None:
        """The trouble with the name now, or None."""
        self._asked.set()
        await self._next_answer.wait()
        return self._trouble
