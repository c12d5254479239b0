"""Limits on requests: how many at once, how long each, and how many bytes of responses wait for their readers.

Source: k8s.io/apiserver/pkg/server/filters/maxinflight.go and timeout.go.
"""

import asyncio
import math
from time import perf_counter
from typing import Any, NoReturn

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.authorization import ALWAYS_ALLOWED, PRIVILEGED
from app.api.request import Request
from app.api.status import StatusError
from app.ratelimit import Slots

MAX_FORWARDED = 400
"""Requests in flight that kube-apiserver forwards: its own default for reads."""
MAX_DIRECT = 200
"""Requests in flight of all other clients: they can't take up what is needed for what kube-apiserver forwards."""
_EACH = 2
"""A user takes at most one in so many of these."""
DEADLINE_S = 15.0
"""For a response to start: Kubernetes' own clients wait no longer for one request."""
MAX_UNSENT = 1 << 26
"""Bytes of all large responses together that may wait for their readers."""
_LARGE = 1 << 16
"""Bytes: a smaller response is sent at once."""


class Limits:
    """Two middlewares, for one event loop.

    `of_responses`, before authentication, raises StatusError 504 at the deadline and answers 429 if too many bytes
    wait. `of_users`, after it, answers 429 if too many requests are in flight.
    """

    def __init__(
        self, max_forwarded: int = MAX_FORWARDED, max_direct: int = MAX_DIRECT, deadline_s: float = DEADLINE_S
    ) -> None:
        self.requests = 0
        """In flight, from their head until their response has been taken, reviews included."""
        self.rejected = 0
        """Responses with 429."""
        self._forwarded, self._direct = (Slots(most, max(1, most // _EACH)) for most in (max_forwarded, max_direct))
        self._deadline_s = deadline_s
        self._unsent = 0
        self._started: dict[asyncio.Task[Any], float] = {}
        """The tasks whose response hasn't started, and when they began; infinity: cancelled by `run`."""

    async def run(self) -> NoReturn:
        """Cancel what takes too long. One check a second for all requests: a timer for each would cost more."""
        while True:
            latest = perf_counter() - self._deadline_s
            for task in [task for task, started in self._started.items() if started < latest]:
                self._started[task] = math.inf
                task.cancel()
            await asyncio.sleep(1)

    def of_users(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with limits on requests in flight."""

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            request: Request = scope["request"]
            caller = request.caller
            assert caller  # noqa: S101 - set by Authentication
            # nor is system:masters limited: the aggregator checks as such whether the server works
            if scope["path"] in ALWAYS_ALLOWED or PRIVILEGED in caller.user.groups:
                await app(scope, receive, send)
                return
            slots = self._forwarded if caller.by == "front-proxy" else self._direct
            if not slots.take(caller.user.name):
                await self._reject(scope, receive, send)
                return
            try:
                await app(scope, receive, send)
            finally:
                slots.release(caller.user.name)

        return limited

    def of_responses(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with a deadline, and a limit on what waits for its reader."""

        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            started, task = self._started, asyncio.current_task()
            assert task  # noqa: S101 - a coroutine runs in one
            start: Message | None = None

            async def send_limited(message: Message) -> None:
                """Send, once it is known how large the response is."""
                nonlocal start
                if message["type"] == "http.response.start":
                    started.pop(task, None)
                    start = message
                elif start is None or len(message["body"]) <= _LARGE:
                    if start is not None:
                        await send(start)
                        start = None
                    await send(message)
                else:
                    await self._send_large(scope, receive, send, start, memoryview(message["body"]))

            started[task] = perf_counter()
            self.requests += 1
            try:
                await app(scope, receive, send_limited)
            except asyncio.CancelledError:
                if started.get(task) != math.inf:
                    raise
                message = "Timeout: request did not complete within the allotted timeout"
                raise StatusError("Timeout", message, {}) from None
            finally:
                self.requests -= 1
                if started.pop(task, None) == math.inf:
                    task.uncancel()

        return limited

    async def _reject(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.rejected += 1
        headers = {"retry-after": "1", "x-content-type-options": "nosniff"}
        text = "Too many requests, please try again later.\n"  # not a Status, as in Kubernetes
        await PlainTextResponse(text, 429, headers)(scope, receive, send)

    async def _send_large(self, scope: Scope, receive: Receive, send: Send, start: Message, body: memoryview) -> None:
        """Send piece by piece, not faster than it is read: `send` waits for the reader."""
        if self._unsent + len(body) > MAX_UNSENT:
            await self._reject(scope, receive, send)
            return
        self._unsent += len(body)
        try:
            await send(start)
            for position in range(0, len(body), _LARGE):
                piece = bytes(body[position : position + _LARGE])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._unsent -= len(body)
