"""One client connection: from received bytes to requests, one request at a time.

PHASES is the state machine. Received bytes stay unparsed until their turn: a head is parsed once it is complete, and
the next one once the response before it has been sent. So responses don't depend on how TCP split the bytes, and
pipelined requests cost their bytes only.

Users aren't authenticated here, so everything that a client can make the server keep has a fixed limit: `Limits`, lower
without a client certificate, and the constants before it.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from starlette.types import Message

from app.http.exchange import Exchange, plain_response
from app.http.transport import PacedTransport

if TYPE_CHECKING:
    from app.http.server import HttpServer


class Phase(StrEnum):
    """What a connection waits for. The value is the reason by which beanscale_connections_ended counts timeouts."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    """The first byte of the next request."""
    HEAD = "head"
    """The rest of a request's head."""
    RESPONSE = "answer"
    """The application, or the client to read."""
    BODY = "body"
    """The rest of a body that the application didn't read; the response has been sent."""
    CLOSING = "closing"
    """The client to close too."""


@dataclass(frozen=True, slots=True)
class PhaseRule:
    """A row of the table."""

    timeout_s: float
    """How long the client may take."""
    then: tuple[Phase, ...]


PHASES: Mapping[Phase, PhaseRule] = {
    Phase.HANDSHAKE: PhaseRule(10, (Phase.IDLE, Phase.CLOSING)),
    # kube-apiserver closes idle connections after 90 s. Ours stay longer, so that none closes just as it is used.
    Phase.IDLE: PhaseRule(120, (Phase.HEAD, Phase.CLOSING)),
    Phase.HEAD: PhaseRule(10, (Phase.RESPONSE, Phase.CLOSING)),
    # The time for which the client reads nothing. Time that the application takes doesn't count.
    Phase.RESPONSE: PhaseRule(60, (Phase.IDLE, Phase.BODY, Phase.CLOSING)),
    Phase.BODY: PhaseRule(10, (Phase.IDLE, Phase.CLOSING)),
    Phase.CLOSING: PhaseRule(10, (Phase.CLOSING,)),
}

MAX_HEAD = 1 << 15
"""Bytes of a request's head."""
MAX_ESCAPES = 1000
"""Percent-encoded bytes of a path: a tube's name has at most 200."""
MAX_PARAMETERS = 256
"""Parameters of a query: parsing thousands takes milliseconds, and no client sends more than a few."""
FRESH_S = 1.0
"""Seconds after connecting, or after a head's first byte, in which the rest is expected: shutdown waits for it."""
_SOCKET_BUFFER = 1 << 13
"""Bytes that the system keeps in each direction of a client without a certificate; Linux doubles it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client can make the server keep."""

    target: int
    """Bytes of a request's target."""
    headers: int
    """Header fields: Python takes about 200 bytes for each, however short it is."""
    unread_body: int
    """Bytes of a body that are dropped once the response has been sent; a longer body ends the connection, as in Go."""
    unsent: int
    """Bytes of responses that wait for the client, until the application and the next request wait too."""


LIMITS = Limits(target=1 << 14, headers=1000, unread_body=1 << 18, unsent=1 << 16)
"""For clients that showed a certificate. Each group of a user is a header field of kube-apiserver."""
LIMITS_WITHOUT_CERTIFICATE = Limits(target=1 << 13, headers=100, unread_body=1 << 14, unsent=1 << 14)


class InvalidRequestError(Exception):
    """A request that isn't passed to the application; `str()` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def without_mapping(address: tuple[Any, ...]) -> tuple[str, int]:
    """Return host and port of a socket's address; that of an IPv4 client of a dual-stack socket as an IPv4 address."""
    host = str(address[0])
    return (host.removeprefix("::ffff:") if "." in host else host), address[1]


class HttpConnection(asyncio.Protocol):
    """HTTP/1.1 over TCP or TLS. Called by asyncio, the parser (`on_…`), the server, and the current exchange."""

    transport: PacedTransport

    def __init__(self, server: "HttpServer", peer: str = "") -> None:
        self.server = server
        self.peer = peer
        """The client's address."""
        self.phase = Phase.HANDSHAKE
        self.since = server.now
        """When the phase began, in the server's seconds."""
        self.showed_certificate = False
        self.writable: asyncio.Event | None = None
        """Set once the client has read enough of what was written; None if it has."""
        self._unsent_since = 0.0  # the server's seconds, while `writable` isn't None
        self._limits = LIMITS_WITHOUT_CERTIFICATE
        self._accepting: asyncio.Task[None] | None = None
        self._scope: dict[str, Any] = {}
        self._buffer = b""  # received and not parsed yet
        self._searched = 0  # bytes of the buffer in which no head ends
        self._reading_paused = False
        self._served = False  # whether there has been a request
        self._exchange: Exchange | None = None
        # The current request, as far as it is parsed:
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._begun = self._head_complete = self._complete = False
        self._version, self._keep_alive = "", False
        self._body_left: int | None = None  # bytes, or None if the body comes in chunks
        self._body: list[bytes] = []
        self._body_wanted = False  # whether the application waits for more of it
        self._dropped = 0

    def _enter(self, phase: Phase) -> None:
        if phase not in PHASES[self.phase].then:
            raise RuntimeError(f"{phase} can't follow {self.phase}")
        self.phase, self.since = phase, self.server.now

    # from the server

    def start(self, client: socket.socket) -> None:
        """Serve a client that was accepted."""
        self.transport = transport = PacedTransport(self, self.server.tls_context and self.server.tls_context())
        self._accepting = asyncio.create_task(self._accept(client, transport))

    async def _accept(self, client: socket.socket, transport: PacedTransport) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: transport, client)
        except OSError as error:
            self.server.forget(self)
            self.server.reject("handshake", self.peer, error.strerror or str(error))

    def note_activity(self) -> None:
        """Note that something which the client sent is processed."""
        if self in self.server.connections:
            self.server.connections.move_to_end(self)

    def in_turn(self, call: Callable[[], None]) -> None:
        """Call when it is this client's turn.

        Handshakes, first requests and later ones of one address take turns too, and the newest first request is served
        first: the kubelet sends each probe on a new connection.
        """
        is_first = self.phase is not Phase.HANDSHAKE and not self._served
        self.server.in_turn((self.peer, self.phase is Phase.HANDSHAKE, is_first), call, first=is_first)

    def reject_tls(self, error: ssl.SSLError) -> None:
        """Note that the client's TLS is invalid."""
        self.server.reject(
            "handshake" if self.phase is Phase.HANDSHAKE else "invalid",
            self.peer,
            (error.reason or str(error)).replace("_", " ").lower(),
        )
        self._enter(Phase.CLOSING)

    @property
    def in_progress(self) -> bool:
        """True while a response isn't complete."""
        return self.phase is Phase.RESPONSE

    @property
    def may_be_ended(self) -> bool:
        """True if nothing is lost but a connection of a client without a certificate."""
        return not self.showed_certificate and not self.in_progress

    @property
    def is_fresh(self) -> bool:
        """True if the client connected or began a request less than FRESH_S ago."""
        return (not self._served or self.phase is Phase.HEAD) and self.server.now - self.since < FRESH_S

    def shut_down(self) -> None:
        """Close after the response in progress; at once if nothing of a request came."""
        if self._exchange is not None:
            self._exchange.close_after_response()
        elif self.phase in {Phase.IDLE, Phase.BODY}:
            self._close()

    def expire(self) -> None:
        """End the connection if the client exceeded the timeout of its phase."""
        phase, since = self.phase, self.since
        if self.writable is not None:
            phase, since = Phase.RESPONSE, self._unsent_since
        elif phase is Phase.RESPONSE:
            return
        if self.server.now - since <= PHASES[phase].timeout_s:
            return
        if self.phase is not Phase.CLOSING:
            self.server.count(phase.value)
        if self.phase in {Phase.HANDSHAKE, Phase.CLOSING} or self.writable is not None:
            self.abort()
        else:
            self._close()

    def abort(self) -> None:
        """End the connection at once, whatever is in progress."""
        self._enter(Phase.CLOSING)
        self.transport.abort()

    # from asyncio

    def connection_made(self, transport: Any) -> None:
        """Start after the handshake."""
        tls = transport.get_extra_info("ssl_object")
        chain = tuple(tls.get_verified_chain()) if tls else ()
        if chain:
            self.showed_certificate, self._limits = True, LIMITS
        elif tls and tls.context.verify_mode is not ssl.CERT_NONE:
            # The system too would keep much of what such a client doesn't read, or sends before its turn.
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, buffer, _SOCKET_BUFFER)
        transport.set_write_buffer_limits(self._limits.unsent)
        self.transport = transport
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        certificate = self.server.client_certificate(chain) if chain else None
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "scheme": "https" if tls else "http",
            "server": server and without_mapping(server),
            "client": client and without_mapping(client),
            "root_path": "",
            "extensions": {"tls": {"client_certificate": certificate}},
        }
        self._enter(Phase.IDLE)

    def connection_lost(self, _error: Exception | None) -> None:
        """Let go of everything."""
        if self.phase is Phase.HANDSHAKE:
            self.server.count("handshake")  # not logged: load balancers check ports that way
        self._enter(Phase.CLOSING)
        self._buffer = b""
        self.server.forget(self)
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange = None
        self.resume_writing()
        self._parser = None  # it refers to this connection

    def pause_writing(self) -> None:
        """Let the application and the next request wait: the client doesn't read."""
        self.writable, self._unsent_since = asyncio.Event(), self.server.now

    def resume_writing(self) -> None:
        """Go on: the client has read enough."""
        if self.writable is not None:
            self.writable.set()
            self.writable = None
            self._advance_soon()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.phase is not Phase.CLOSING:
            self._buffer += data
            self._advance()

    def _advance(self) -> None:
        """Process received bytes, up to the start of at most one request."""
        try:
            if self.phase is Phase.BODY:
                self._parse_body()
            if self._buffer and self.writable is None:
                if self.phase is Phase.IDLE:
                    self._enter(Phase.HEAD)
                if self.phase is Phase.HEAD:
                    self._parse_head()
                elif self._exchange is not None:
                    self._body_wanted = False
                    self._exchange.wake()
        except InvalidRequestError as error:
            self._reject(error)
        self._pause_or_resume_reading()

    def _advance_soon(self) -> None:
        if self.showed_certificate:
            asyncio.get_running_loop().call_soon(self._advance)
        else:
            self.in_turn(self._advance)

    def _pause_or_resume_reading(self) -> None:
        """Read on unless received bytes wait for a response to be sent, or for the application to read the body."""
        pause = (
            bool(self._buffer)
            and (self.writable is not None or self.phase in {Phase.IDLE, Phase.RESPONSE})
            and not self._body_wanted
        )
        if pause != self._reading_paused and self.phase is not Phase.CLOSING:
            self._reading_paused = pause
            if pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # heads

    def _parse_head(self) -> None:
        """Start the exchange if the head is complete. Raises InvalidRequestError."""
        data = self._buffer.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request are ignored
        if data and not data[:1].isalpha():
            raise InvalidRequestError(400, "malformed request: no method")
        end = data.find(_END, self._searched) + len(_END)
        complete = end >= len(_END)
        if (end if complete else len(data)) > MAX_HEAD:
            raise InvalidRequestError(431, f"the request's head is longer than {MAX_HEAD >> 10} KiB")
        if not complete:
            self._buffer, self._searched = data, max(0, len(data) - len(_END))
            return
        head, self._buffer, self._searched = data[:end], data[end:], 0
        if head.count(b"\n") > self._limits.headers + _OTHER_LINES:  # before they are parsed
            raise InvalidRequestError(431, f"the request has more than {self._limits.headers} header fields")
        self._target, self._headers, self._body, self._dropped = b"", [], [], 0
        self._begun = self._head_complete = self._complete = False
        method, head = _readable(head)
        malformed = self._feed(head)
        if self._head_complete:
            self._check_head()  # it knows a better reason, if there is one
        if malformed is not None:
            raise malformed
        self._start_exchange(method)

    def _check_head(self) -> None:  # noqa: C901, PLR0912 - a list of checks
        """Raise InvalidRequestError if a parsed head isn't served."""
        if len(self._target) > self._limits.target:
            raise InvalidRequestError(414, f"the request's target is longer than {self._limits.target >> 10} KiB")
        if self._target.count(b"&") >= MAX_PARAMETERS:
            raise InvalidRequestError(400, f"the request's query has more than {MAX_PARAMETERS} parameters")
        if self._target.count(b"%"):  # faster than `in`, which tries an integer first
            path, _ = path_and_query(self._target)
            if path.count(b"%") > MAX_ESCAPES:
                raise InvalidRequestError(400, f"the request's path has more than {MAX_ESCAPES:,} escapes")
            if _BAD_ESCAPE.search(path):
                raise InvalidRequestError(400, "invalid percent-encoding in the request's path")
        found: dict[bytes, list[bytes]] = {b"host": [], b"transfer-encoding": [], b"expect": []}
        for name, value in self._headers:
            if name in found:
                found[name].append(value.lower())
        hosts, codings, expectations = found.values()
        if codings and codings != [b"chunked"]:
            raise InvalidRequestError(501, "unsupported Transfer-Encoding: only chunked is")
        if self._version not in {"1.0", "1.1"}:
            raise InvalidRequestError(505, "unsupported HTTP version: only 1.0 and 1.1 are")
        if len(hosts) > 1 or (not hosts and self._version == "1.1"):
            raise InvalidRequestError(400, "a request needs exactly one Host header")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise InvalidRequestError(400, "invalid Host header")
        if expectations and expectations not in ([b""], [b"100-continue"]):
            raise InvalidRequestError(417, "unsupported Expect header: only 100-continue is")
        if expectations == [b"100-continue"]:
            # No 100 Continue is sent, so the body may never arrive: close afterwards, as Go does.
            self._keep_alive = False

    def _start_exchange(self, method: bytes) -> None:
        path, query = path_and_query(self._target)
        scope = {
            **self._scope,
            "http_version": self._version,
            "method": method.decode(),
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "headers": self._headers,
        }
        self._target, self._headers = b"", []
        self._served = True
        self._enter(Phase.RESPONSE)
        self._exchange = Exchange(self, scope, keep_alive=self._keep_alive and not self.server.shutting_down)
        self.server.run(self._exchange)

    # bodies

    def read_body(self) -> Message | None:
        """Return the next part of the body as an ASGI message, or None if nothing of it has been received yet."""
        try:
            self._parse_body()
        except InvalidRequestError as error:
            self._reject(error)
            return None
        body, self._body = b"".join(self._body), []
        if not body and not self._complete:
            self._body_wanted = True
            self._pause_or_resume_reading()
            return None
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    def _parse_body(self) -> None:
        """Parse what was received of the body, and nothing behind it. Raises InvalidRequestError."""
        data, start = memoryview(self._buffer), 0
        while start < len(data) and not self._complete:
            if self._body_left is not None:
                end = min(len(data), start + self._body_left)
                self._body_left -= end - start
            else:  # chunks end with an empty line, which may come in pieces
                end = self._buffer.find(_END, start) + len(_END)
                if end < len(_END):
                    end = len(data) - len(_END) + 1
                if end <= start:
                    break
            if malformed := self._feed(data[start:end]):
                raise malformed
            start = end
        self._buffer = self._buffer[start:]
        if self.phase is Phase.BODY:
            self._body = []
            self._dropped += start
            if self._complete:
                self._enter(Phase.IDLE)
            elif self._dropped > self._limits.unread_body:
                self.server.count("body")
                self._close()

    # from the parser

    def _feed(self, data: bytes | memoryview) -> InvalidRequestError | None:
        """Return why the parser doesn't accept `data`."""
        assert self._parser  # noqa: S101 - nothing is parsed after the connection is lost
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # Ignoring Upgrade is allowed (RFC 9110, 7.8). What follows may not be HTTP and isn't parsed.
        except httptools.HttpParserError as error:
            return InvalidRequestError(400, f"malformed request: {error}")
        return None

    def on_message_begin(self) -> None:
        """Called by the parser. It gets one message at a time, so a second one contradicts what was parsed before."""
        if self._begun:
            raise InvalidRequestError(400, "a request within a request")
        self._begun = True

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the head's headers alone: kube-apiserver doesn't control trailers, so they could forge X-Remote-User."""
        if not self._head_complete:
            self._headers.append((name.lower(), value.rstrip(b"\t ")))

    def on_headers_complete(self) -> None:
        """Called by the parser. What it says of the message holds only now."""
        parser = self._parser
        assert parser  # noqa: S101 - it calls
        self._head_complete = True
        self._version = parser.get_http_version()
        self._keep_alive = self._version == "1.1" and parser.should_keep_alive() and not parser.should_upgrade()
        lengths = [value for name, value in self._headers if name == b"content-length"]
        self._body_left = int(lengths[0]) if lengths else None  # the parser has checked it

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser, after the body and its trailers."""
        self._complete = True

    # from the exchange

    def finish_response(self, *, keep_alive: bool) -> None:
        """Go on with the next request. The event loop starts pipelined ones, so that other clients have their turn."""
        self._exchange, self._body, self._body_wanted = None, [], False
        if self.phase is Phase.CLOSING:
            return
        if not keep_alive:
            self._close()
            return
        self._enter(Phase.IDLE if self._complete else Phase.BODY)
        if self._buffer or self._reading_paused:
            self._advance_soon()

    def _reject(self, error: InvalidRequestError) -> None:
        client = self._scope["client"]
        self.server.reject("head" if error.status == 431 else "invalid", client and client[0], str(error))
        if self.phase is Phase.HEAD or (self._exchange is not None and not self._exchange.started):
            self.transport.write(plain_response(error.status, str(error)))
        self._close()

    def _close(self) -> None:
        """Close, after what was written. Nothing more is parsed."""
        self._enter(Phase.CLOSING)
        self._buffer = b""
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange = None
        self.transport.close()


_OTHER_LINES = 2
"""Of a head: the request line and the empty line."""
_END = b"\r\n\r\n"
"""How each head ends, and each body in chunks."""
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"})
"""Those that the parser certainly knows."""
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110, 9.1
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[a-z0-9!$%&'()*+,.:;=\[\]_~-]*")
_BEFORE_PATH = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")


def _readable(head: bytes) -> tuple[bytes, bytes]:
    """Return the method, and the head as the parser accepts it: GET for a method that it doesn't know, and escapes for
    bytes beyond ASCII in the target, as many as may be. The application refuses the method.
    """
    method, space, rest = head.partition(b" ")
    if not rest.isascii():
        line, end, fields = rest.partition(b"\n")
        rest = _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), line, MAX_ESCAPES + 1) + end + fields
    readable = b"GET" if method not in _METHODS and _METHOD.fullmatch(method) else method
    return method, readable + space + rest


def path_and_query(target: bytes) -> tuple[bytes, bytes]:
    """Return a request's path and query; of a whole URL, as proxies send it, the path alone."""
    if not target.startswith(b"/") and (before := _BEFORE_PATH.match(target)):
        target = target[before.end() :]
    path, _, query = target.partition(b"?")
    return path, query
