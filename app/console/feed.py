"""Server-sent events: one stream a page, which says something new at most once a second.

Nothing is queued: what is sent is made when the page's socket takes it, so a page that sleeps costs nothing but its
socket, and after a minute not even that (http/patience.py).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from app.clock import Instant
from app.console.errors import RequestError, sentence
from app.console.login import Session

PERIOD_S = 1.0
ANYWAY_EVERY_S = 5.0
"""Numbers grow old, so a page hears the same again after this long."""
MOST_FEEDS = 200
BYE = b"event: bye\ndata: {}\n\n"

type Page = Callable[[], Awaitable[Mapping[str, Any]]]


class Feeds:
    """All streams of this process."""

    def __init__(self, clock: Callable[[], Instant], most: int = MOST_FEEDS) -> None:
        self._clock = clock
        self._most = most
        self._open = 0
        self._leaving = asyncio.Event()

    @property
    def are_full(self) -> bool:
        """Whether no more pages can be served live."""
        return self._open >= self._most

    def __len__(self) -> int:
        return self._open

    def leave(self) -> None:
        """End all of them, without a goodbye: their pages will ask again."""
        self._leaving.set()

    async def stream(self, page: Page, session: Session) -> AsyncIterator[bytes]:
        """The bytes of one stream, until its session or this process ends."""
        self._open += 1
        try:
            said, said_s = b"", 0.0
            while session.is_valid(self._clock().monotonic_s) and not self._leaving.is_set():
                kind, answer = await _ask(page)
                what, now_s = _essence(answer), self._clock().monotonic_s
                if what != said or now_s - said_s >= ANYWAY_EVERY_S:
                    said, said_s = what, now_s
                    yield _written(kind, answer)
                await self._pause()
            if not self._leaving.is_set():
                yield BYE
        finally:
            self._open -= 1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PERIOD_S):
                await self._leaving.wait()
        except TimeoutError:
            pass


async def _ask(page: Page) -> tuple[bytes, Mapping[str, Any]]:
    try:
        return b"update", await page()
    except RequestError as error:  # such as an autoscaler that was deleted after the page was opened
        return b"problem", {"error": sentence(str(error))}


def _written(kind: bytes, answer: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind, json.dumps(answer, separators=(",", ":")).encode())


def _essence(answer: Any) -> bytes:
    """What is new when it differs: all but the time that passes."""
    return json.dumps(_without_time(answer), separators=(",", ":")).encode()


def _without_time(answer: Any) -> Any:
    if isinstance(answer, Mapping):
        return {key: _without_time(value) for key, value in answer.items() if key not in {"now", "ageSeconds"}}
    if isinstance(answer, list | tuple):
        return [_without_time(each) for each in answer] if answer and isinstance(answer[0], Mapping) else answer
    return answer
