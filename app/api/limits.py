"""Limits on requests: how many at once, how long each, and how many bytes of responses wait for their readers.

Source: k8s.io/apiserver/pkg/server/filters/maxinflight.go and timeout.go.
"""

import asyncio
import math
from functools import partial
from time import perf_counter
from typing import Any, NoReturn

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.authentication import Authenticator
from app.api.authorization import ALWAYS_ALLOWED, PRIVILEGED
from app.api.status import StatusError
from app.api.tls import EXTENSION

MAX_REQUESTS = 400
"""In flight: the default of kube-apiserver for reads."""
MAX_WITHOUT_CERTIFICATE = 200
"""In flight, of clients without a certificate: they can't take up what kube-apiserver needs for what it forwards."""
DEADLINE_S = 15.0
"""For a response to start: Kubernetes' own clients wait no longer for one request."""
MAX_UNSENT = 1 << 26
"""Bytes of all large responses together that may wait for their readers."""
_LARGE = 1 << 16
"""Bytes: a smaller response is sent at once."""


class Limits:
    """Middleware: answers 429 above a limit, and raises StatusError 504 at the deadline. For one event loop."""

    def __init__(
        self,
        authenticator: Authenticator,
        max_requests: int = MAX_REQUESTS,
        max_without_certificate: int = MAX_WITHOUT_CERTIFICATE,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.requests = 0
        """In flight, from their head until their response has been taken, reviews included."""
        self.rejected = 0
        """Responses with 429."""
        self._authenticator = authenticator
        self._without_certificate = 0
        self._max_requests = max_requests
        self._max_without_certificate = max_without_certificate
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

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with these limits."""
        return partial(self._handle, app)

    async def _handle(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        lacks_certificate = scope["extensions"][EXTENSION]["client_certificate"] is None
        self.requests += 1
        self._without_certificate += lacks_certificate
        try:
            has_room = self.requests <= self._max_requests and (
                not lacks_certificate or self._without_certificate <= self._max_without_certificate
            )
            exempt = has_room or scope["path"] in ALWAYS_ALLOWED
            if not exempt:  # nor is system:masters limited: the aggregator checks as such whether the server works
                caller = self._authenticator.caller_by_certificate(scope)
                exempt = caller is not None and PRIVILEGED in caller.user.groups
            if not exempt:
                await self._reject(scope, receive, send)
            else:
                await self._respond(app, scope, receive, send)
        finally:
            self.requests -= 1
            self._without_certificate -= lacks_certificate

    async def _reject(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.rejected += 1
        headers = {"retry-after": "1", "x-content-type-options": "nosniff"}
        text = "Too many requests, please try again later.\n"  # not a Status, as in Kubernetes
        await PlainTextResponse(text, 429, headers)(scope, receive, send)

    async def _respond(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
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
        try:
            await app(scope, receive, send_limited)
        except asyncio.CancelledError:
            if started.get(task) != math.inf:
                raise
            message = "Timeout: request did not complete within the allotted timeout"
            raise StatusError("Timeout", message, {}) from None
        finally:
            if started.pop(task, None) == math.inf:
                task.uncancel()

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
