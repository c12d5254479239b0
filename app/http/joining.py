"""A transport that sends an answer's head and the first of its body as one."""

import asyncio


class JoiningTransport(asyncio.Transport):
    """Each write makes a TLS record, which costs as much as the rest of a small answer: one does for both."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._is_next_head = True
        # All else is the transport's own, without a call in between.
        for name in ("abort", "is_closing", "get_extra_info", "pause_reading", "resume_reading"):
            setattr(self, name, getattr(transport, name))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it; of an answer's writes the first, its head, only with the second."""
        if self._is_next_head:
            self._head, self._is_next_head = bytes(data), False
        elif self._head:
            self._transport.write(self._head + data)
            self._head = b""
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """The answer is whole, with a body or without: the next write is another's head."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._is_next_head = True

    def close(self) -> None:
        """Send what is left, and close."""
        self.flush()
        self._transport.close()
