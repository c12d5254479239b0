"""ASGI's two directions for one request: uvicorn's, but that an answer which is whole goes out in one piece."""

from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Headers = Sequence[tuple[bytes, bytes]]


class Exchange(RequestResponseCycle):
    """Each write makes a TLS record, which costs as much as all else about a small answer: head and body share one."""

    _start: Any = None
    """The answer's head, which waits for the first of its body."""
    weight = 0
    """Bytes that the question's head takes, about."""

    def forget_question(self, facts: Any) -> None:
        """Hold nothing of it any more: in place of its scope what all scopes of the connection have in common."""
        self.scope, self.body = facts, bytearray()

    async def send(self, message: Any) -> None:
        """Take a part of the answer, as uvicorn does: what isn't the usual is left to it."""
        if self.response_started or self.flow.write_paused or self.disconnected:
            await super().send(message)
        elif self._start is None:
            self._start = message
        elif message.get("more_body", False) or not self._send_whole(self._start, message["body"]):
            await super().send(self._start)
            await super().send(message)

    def _send_whole(self, start: Any, body: bytes) -> bool:
        """Whether it could be done."""
        headers: Headers = [*self.default_headers, *start["headers"]]
        if (b"content-length", b"%d" % len(body)) not in headers:
            return False
        head = b"\r\n".join([b"%b: %b" % header for header in headers])
        if not _is_plain(head, len(headers)):
            return False
        end = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
        shown = b"" if self.scope["method"] == "HEAD" else body
        self.transport.write(b"".join((STATUS_LINE[start["status"]], head, end, shown)))
        self.response_started = self.response_complete = True
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def _is_plain(head: bytes, lines: int) -> bool:
    """Whether no header has a line break, or says what becomes of the connection."""
    return head.count(b"\n") == head.count(b"\r") == lines - 1 and b"\r\nconnection: " not in head
