"""GET /events: server-sent events, one stream per open page, with an event every second.

Nothing is queued: an event is made when the client's socket takes it, so a page that sleeps costs only its socket, and
after a minute not even that (the deadlines of http/connection.py).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.clock import Instant
from app.console.errors import RequestError, sentence
from app.console.login import Session
from app.console.page_data import Page

PERIOD_S = 1.0
REPEAT_S = 5.0
"""An unchanged page is sent again after this time, because the ages in it grow."""
MAX_FEEDS = 200
ALIVE = b"event: alive\ndata: {}\n\n"
"""Sent every second without news: a page that hears nothing knows that its numbers may be old."""
BYE = b"event: bye\ndata: {}\n\n"
_MEDIA_TYPE = "text/event-stream"


class Pages(Protocol):
    """Where a stream's data is from: page_data.PageData."""

    async def get(self, name: str, query: Mapping[str, str]) -> Page:
        """Raise RequestError if there is none."""


class Feeds:
    """All streams of this process, as an ASGI application."""

    def __init__(self, pages: Pages, clock: Callable[[], Instant], limit: int = MAX_FEEDS) -> None:
        self._pages = pages
        self._clock = clock
        self._limit = limit
        self._open = 0
        self._shutting_down = False
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return self._open

    def wake(self) -> None:
        """Let all streams show news now, not at their next event."""
        self._woken.set()
        self._woken = asyncio.Event()

    def shut_down(self) -> None:
        """End all streams; their pages reconnect."""
        self._shutting_down = True
        self.wake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream. Raises RequestError before it starts: 503 beyond the limit."""
        if scope["method"] == "HEAD":
            await Response(media_type=_MEDIA_TYPE)(scope, receive, send)
            return
        query = dict(QueryParams(scope["query_string"]))
        name = query.pop("page_name", "")  # not `page`, which is one of the overview's own
        if self._open >= self._limit:
            raise RequestError(f"{self._open} pages are open, the limit for live pages: close some", 503)
        self._open += 1  # before the first await, or more could pass the check
        try:
            await self._pages.get(name, query)  # an invalid query is an error response, not a stream
            events = self.events(name, query, scope["state"]["session"])
            headers = {"x-accel-buffering": "no"}  # nginx would hold events back until a buffer is full
            await StreamingResponse(events, media_type=_MEDIA_TYPE, headers=headers)(scope, receive, send)
        finally:
            self._open -= 1

    async def events(self, name: str, query: Mapping[str, str], session: Session) -> AsyncIterator[bytes]:
        """Yield the events of one stream until its session ends or the process shuts down."""
        sent, sent_s = b"", 0.0
        while session.is_valid(self._clock().monotonic_s) and not self._shutting_down:
            woken = self._woken  # before the page is computed: a wake during that counts too
            try:
                page = await self._pages.get(name, query)
                event, essence = b"event: update\ndata: %b\n\n" % page.json, page.essence
            except RequestError as error:  # such as an autoscaler that was deleted after the page was opened
                event = (
                    b"event: problem\ndata: %b\n\n"
                    % json.dumps({"error": sentence(str(error))}, separators=(",", ":")).encode()
                )
                essence = event
            now_s = self._clock().monotonic_s
            if essence != sent or now_s - sent_s >= REPEAT_S:
                sent, sent_s = essence, now_s
                yield event
            else:
                yield ALIVE
            with suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await woken.wait()
        if not self._shutting_down:
            yield BYE
