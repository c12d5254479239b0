"""The transport under a connection: TCP, with TLS if the server has a context, processed in turns.

The handshake, TLS records and requests of clients without a certificate take turns: per iteration of the event loop a
few milliseconds, one client's address after another. So however many send at once, kube-apiserver, whose requests are
processed as they come, doesn't wait for them, and the kubelet not for long. TLS of asyncio and uvloop would process
all that all clients have sent before anything else.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.http.connection import HttpConnection

TURN = 1 << 12
"""Bytes of TLS in one turn: the smallest records, or updates of keys, take a millisecond or two."""
_READ = 1 << 16
"""Bytes; no TLS record has more."""


class PacedTransport(asyncio.Protocol):
    """The protocol of a TCP transport, and the transport of an HttpConnection."""

    def __init__(self, connection: "HttpConnection", context: ssl.SSLContext | None) -> None:
        self._connection = connection
        self._context = context
        self._tcp: Any = None  # until it is connected
        self._tls: ssl.SSLObject | None = None  # or nothing has come yet, so that it takes no memory
        self._received = b""  # and not processed yet
        self._has_turn = False  # whether a turn is to come
        self._is_open = self._is_closing = False
        self._wants_data = True  # of the connection
        self._is_read = True  # what was written
        self._is_paused = False  # whether TCP reads nothing

    # from TCP

    def connection_made(self, transport: Any) -> None:
        """Start; a connection without TLS is open at once."""
        self._tcp = transport
        if self._is_closing:  # it was aborted before
            transport.abort()
            return
        if self._context is None:
            self._open()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client, to be processed in a turn."""
        if self._is_closing:
            return
        is_next = self._connection.showed_certificate and self._wants_data and self._is_read and not self._received
        self._received += data
        if is_next and not self._has_turn:  # the usual case, of each request of kube-apiserver: without waiting
            self._process()
            if not self._received:
                return
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Let go of everything."""
        self._is_closing, self._received = True, b""
        self._tls = None  # now, not when garbage is collected: it takes much memory
        self._connection.connection_lost(error)

    def pause_writing(self) -> None:
        """Process nothing until the client has read more: TLS too may write in response."""
        self._is_read = False
        if self._is_open:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_read = True
        self._connection.resume_writing()
        self._go_on()

    # turns

    def _go_on(self) -> None:
        """Process what was received, in a turn if the client showed no certificate, and read on when that is done."""
        if self.is_closing():
            return
        if self._may_process() and not self._has_turn:
            self._has_turn = True
            if self._connection.showed_certificate:
                self._take_turn()
            else:
                self._connection.in_turn(self._take_turn)
        is_paused = bool(self._received) or not self._wants_data
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            if is_paused:
                self._tcp.pause_reading()
            else:
                self._tcp.resume_reading()

    def _may_process(self) -> bool:
        return bool(self._received) and self._wants_data and self._is_read and not self.is_closing()

    def _take_turn(self) -> None:
        while self._may_process():
            self._process()
            if not self._connection.showed_certificate:
                break
        self._has_turn = False
        self._go_on()

    def _process(self) -> None:  # noqa: C901 - what comes before, with and after data
        """Process a part of what was received."""
        self._connection.note_activity()
        if self._context is None:
            data, self._received = self._received, b""
            self._connection.data_received(data)
            return
        if self._tls is None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        part, self._received = self._received, b""
        if len(part) > TURN:
            part, self._received = part[:TURN], part[TURN:]
        self._incoming.write(part)
        pieces, has_ended = [], False
        try:
            if not self._is_open:
                self._tls.do_handshake()
                self._open()
            while piece := self._tls.read(_READ):
                pieces.append(piece)
                if not self._incoming.pending and not self._tls.pending():
                    break  # what follows would only raise SSLWantReadError
            else:
                has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self._connection.reject_tls(error)
            self._is_closing = True
            self._tcp.close()
            return
        self._flush()
        if pieces:
            self._connection.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if has_ended:
            self.close()

    def _open(self) -> None:
        self._is_open = True
        self._connection.connection_made(self)

    def _flush(self) -> None:
        if self._outgoing.pending and not self._tcp.is_closing():
            self._tcp.write(self._outgoing.read())

    # from the connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the SSLObject as `ssl_object`, or what the TCP transport knows."""
        return self._tls if name == "ssl_object" else self._tcp.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Let `pause_writing` be called from `high` bytes on."""
        self._tcp.set_write_buffer_limits(high, low)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, unless it was closed."""
        if self.is_closing():
            return
        if self._tls is not None:
            written = self._tls.write(data)
            while written < len(data):  # one record at a time
                written += self._tls.write(memoryview(data)[written:])
            data = self._outgoing.read()
        self._tcp.write(data)

    def pause_reading(self) -> None:
        """Stop processing what the client sends."""
        self._wants_data = False
        self._go_on()

    def resume_reading(self) -> None:
        """Process on."""
        self._wants_data = True
        self._go_on()

    def is_closing(self) -> bool:
        """Return whether either end has closed or aborted it."""
        return self._is_closing or self._tcp.is_closing()

    def close(self) -> None:
        """Send what was written. TLS then waits for the client to close too: else it may not get the last response."""
        if self._is_closing:
            return
        self._is_closing, self._received = True, b""
        if self._tls is None:
            self._tcp.close()
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # the client hasn't closed TLS yet
            self._flush()
            if self._is_paused:
                self._tcp.resume_reading()  # to notice when the client closes; nothing is kept of it
        else:
            self._flush()
            self._tcp.close()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        if self._tcp is not None:
            self._tcp.abort()
