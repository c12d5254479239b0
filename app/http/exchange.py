"""One request and its response: the ASGI cycle.

The head of a response waits for the first part of its body: each write is a TLS record, which costs as much as
everything else about a small response.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Message, Scope

if TYPE_CHECKING:
    from app.http.connection import HttpConnection

STATUS_LINES: Mapping[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

_log = structlog.get_logger()


def plain_response(status: int, text: str) -> bytes:
    """Return a complete text response that ends its connection."""
    body = text.encode()
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINES[status] + head + body


class Exchange:
    """A request in progress. The application calls `receive` and `send`, the connection everything else."""

    __slots__ = (
        "_bodiless",
        "_body_read",
        "_changed",
        "_chunked",
        "_complete",
        "_connection",
        "_disconnected",
        "_remaining",
        "_start",
        "keep_alive",
        "scope",
        "started",
    )

    def __init__(self, connection: "HttpConnection", scope: Scope, *, keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        """False if this response is the connection's last: `close_after_response` and the application set it."""
        self.started = False
        """True once a part of the response has been written."""
        self._connection = connection
        self._start: Message | None = None
        self._remaining: int | None = None  # bytes of the body that content-length still promises
        self._chunked = self._bodiless = False
        self._complete = self._disconnected = self._body_read = False
        self._changed: asyncio.Event | None = None  # made only for applications that wait in `receive`

    async def run(self, app: ASGIApp) -> None:
        """Call the application. If it fails, log why and send status 500, or end a response that has begun."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self._complete and not self._disconnected:
                raise RuntimeError("the application returned before its response was complete")  # noqa: TRY301
        except Exception:  # noqa: BLE001 - the application's edge
            _log.exception("request failed", method=self.scope["method"], path=self.scope["path"])
            if not self._complete and not self._disconnected:
                if not self.started:
                    self._connection.transport.write(plain_response(500, "Internal Server Error"))
                self._finish(keep_alive=False)

    def close_after_response(self) -> None:
        """Let this response be the connection's last."""
        self.keep_alive = False

    def wake(self) -> None:
        """Let `receive` check again: a part of the body came."""
        if self._changed is not None:
            self._changed.set()

    def disconnect(self) -> None:
        """End `receive` with http.disconnect, and ignore what is sent from now on."""
        self._disconnected = True
        self.wake()

    async def receive(self) -> Message:
        """Return the next part of the body once it came, then http.disconnect once the client or the response ended."""
        while not self._disconnected and not self._complete:
            self._changed = self._changed or asyncio.Event()
            self._changed.clear()  # before reading: what is read may be malformed and end the request
            if not self._body_read and (part := self._connection.read_body()) is not None:
                self._body_read = not part["more_body"]
                return part
            await self._changed.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:  # noqa: C901 - each kind of body
        """Write a part of the response, when the client has read enough of the parts before.

        Raises RuntimeError for a message out of order, a header with a line break, or a body that contradicts its
        content-length.
        """
        while self._connection.writable is not None and not self._disconnected:
            await self._connection.writable.wait()
        if self._disconnected:
            return
        if self._complete or (message["type"] == "http.response.start") != (self._start is None):
            raise RuntimeError(f"unexpected {message['type']}")
        if self._start is None:
            self._start = message
            return
        body, more_body = message.get("body", b""), message.get("more_body", False)
        head = b"" if self.started else self._head(self._start, len(body), more_body=more_body)
        if self._bodiless:
            body = b""
        elif self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more_body:
                body += b"0\r\n\r\n"
        elif self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more_body):
                raise RuntimeError("the response's body is longer or shorter than its content-length")
        self._connection.transport.write(head + body)
        self.started = True
        if not more_body:
            self._finish(keep_alive=self.keep_alive)

    def _finish(self, *, keep_alive: bool) -> None:
        self._complete = True
        self.wake()
        self._connection.finish_response(keep_alive=keep_alive)

    def _head(self, start: Message, first: int, *, more_body: bool) -> bytes:
        """Return the response's head, and decide how its body ends; `first` is the length of the body's first part."""
        status, headers = start["status"], start.get("headers", ())
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        if not head.count(b"\n") == head.count(b"\r") == len(headers):
            raise RuntimeError("a response header contains a line break")
        named = dict(headers)  # ASGI: names are in lower case
        if b"connection" in named:
            self.keep_alive = False
        elif not self.keep_alive:
            head += b"connection: close\r\n"
        self._bodiless = self.scope["method"] == "HEAD" or status in {204, 304}
        if b"content-length" in named:
            self._remaining = int(named[b"content-length"])
        elif self._bodiless:
            pass
        elif not more_body:
            head += b"content-length: %d\r\n" % first
        elif self.scope["http_version"] == "1.1":
            self._chunked = True
            head += b"transfer-encoding: chunked\r\n"
        # A forwarded error may have any status.
        line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"%b%b%b\r\n" % (line, self._connection.server.date_header, head)
