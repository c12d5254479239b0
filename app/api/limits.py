"""How many requests may be under way, how long one may take, and how much of the answers may wait for their readers.

Source: k8s.io/apiserver/pkg/server/filters/maxinflight.go and timeout.go; the answers are in their words.
"""

import asyncio
from time import perf_counter
from types import TracebackType
from typing import Any, NoReturn

from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Send

from app.api.status import StatusError

MOST_REQUESTS = 400
"""As many reading ones as kube-apiserver takes by default."""
DEADLINE_S = 15.0
"""For an answer to be there: longer than Kubernetes is asked about one request."""
MOST_UNSENT = 1 << 26
"""Bytes of large answers that may wait for their readers, of all together."""
_LARGE = 1 << 16
"""Bytes: a smaller answer goes out at once."""


class TooManyRequestsError(Exception):
    """429: ask again in a second."""


class Requests:
    """Those under way. One counts from its head until its answer has been taken, asking Kubernetes included."""

    def __init__(self, most: int = MOST_REQUESTS) -> None:
        self.under_way = 0
        self.rejected = 0
        self._most = most
        self._unsent = 0

    def __enter__(self) -> None:
        self.under_way += 1

    def __exit__(self, *_reason: object) -> None:
        self.under_way -= 1

    @property
    def are_too_many(self) -> bool:
        """Whether the present one is one too many."""
        return self.under_way > self._most

    def too_many(self) -> Response:
        """Kubernetes' answer, which isn't a Status."""
        self.rejected += 1
        headers = {"retry-after": "1", "x-content-type-options": "nosniff"}
        return PlainTextResponse("Too many requests, please try again later.\n", 429, headers=headers)

    def fitting(self, response: Response) -> Response:
        """The answer itself, or 429 where too much of large ones waits for their readers."""
        fits = len(response.body) <= _LARGE or self._unsent + len(response.body) <= MOST_UNSENT
        return response if fits else self.too_many()

    async def send(self, response: Response, send: Send) -> None:
        """Give the answer, a large one piece by piece."""
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        if len(response.body) <= _LARGE:
            await send(start)
            await send({"type": "http.response.body", "body": response.body, "more_body": False})
        else:
            await self._send_slowly(start, memoryview(response.body), send)

    async def _send_slowly(self, start: Message, body: memoryview, send: Send) -> None:
        """Not faster than it is read: `send` waits for its reader between two pieces."""
        self._unsent += len(body)
        try:
            await send(start)
            for position in range(0, len(body), _LARGE):
                piece = bytes(body[position : position + _LARGE])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._unsent -= len(body)


class Deadline:
    """Ends what takes too long with 504. One look a second for all requests: a timer for each would cost more."""

    def __init__(self, seconds: float = DEADLINE_S) -> None:
        self._seconds = seconds
        self._began: dict[asyncio.Task[Any], float] = {}

    async def keep(self) -> NoReturn:
        """For ever."""
        while True:
            self._expire()
            await asyncio.sleep(1)

    def _expire(self) -> None:
        latest = perf_counter() - self._seconds
        for task in [task for task, began in self._began.items() if began < latest]:
            self._began[task] = float("inf")
            task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a coroutine asks
        self._began[task] = perf_counter()

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Raises StatusError 504 where it was this that cancelled."""
        task = asyncio.current_task()
        assert task  # noqa: S101
        if self._began.pop(task) == float("inf"):
            task.uncancel()
            if isinstance(error, asyncio.CancelledError):
                raise StatusError(
                    "Timeout", "Timeout: request did not complete within the allotted timeout", {}
                ) from error
