"""One client's connection, from the event loop and the parser to the application.

Whoever connects, shakes hands and sends a head hasn't shown yet who they are: patience.py says how long each of these
may take, head.py what is held meanwhile. What is asked is answered in turn (turns.py).

A request's head while it comes: respelled for the parser, kept until it is whole, and weighed meanwhile.

Whoever sends one hasn't shown yet who they are, so what it may take is bounded: for each, and for all together.

What Go's HTTP servers take, and our parser doesn't: any method, and bytes beyond ASCII in a URL.

Such a request is answered as Kubernetes' servers answer it, by its method and its path, instead of as garbage.

A connection for what reads bodies: the console's actions.

How long a client may take for each thing.

The deadlines are looked at once a second for all connections together (connections.py): a timer for each request would
cost more than all the rest of its bookkeeping.

What is asked on one connection is answered in turn, and weighed with all that is under way until then.

What Go's HTTP servers refuse before anybody looks at the request, in their words.

Source: net/http/server.go and transfer.go, and golang.org/x/net/http/httpguts.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.http.connections import Connections
from app.http.exchange import Exchange

MOST_HEAD = 1 << 20
"""Bytes of a request's head, or of a body's trailers: as many as Go's servers take."""
LIGHT_HEAD = 1 << 14
"""What each connection may hold of an unfinished head, whatever the others hold."""
MOST_TARGET = 1 << 17
"""Bytes of what a request asks for: it is read several times before it is known who asks."""
_HEADER_WEIGHT = 200
"""Bytes that Python takes for a header, however short it is."""
_TARGET_COPIES = 4
"""How often what a request asks for is kept besides: as text too, whole and by its parts."""


class Head:
    """Of the request that comes on a connection, and then of the next. A body's trailers are weighed here too."""

    __slots__ = ("_came", "_in_line", "_weigh_at", "headers", "held", "method", "target")

    def __init__(self) -> None:
        self.target = b""
        """What is asked for, as far as it has come."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Names are in lower case."""
        self.method = ""
        """One that the parser doesn't know, and got another for."""
        self.held = 0
        """Bytes that came since the parser last finished with something: at most so many it keeps."""
        self._came = 0
        self._weigh_at = LIGHT_HEAD
        self._in_line = True

    def spelled(self, data: bytes, *, anew: bool) -> bytes:
        """What came, as the parser takes it; `anew`: a request begins with it."""
        if anew:
            data, self.method = with_known_method(data)
            self._in_line = True
        if self._in_line:
            data, self._in_line = with_line_in_ascii(data)
        self._came = len(data)
        self.held += self._came
        return data

    def begin(self) -> None:
        """A request begins: perhaps behind another one, and then nobody knows how much of what came last is its."""
        self.held = max(self.held, self._came)

    @property
    def weight(self) -> int:
        """Bytes that it takes while it isn't whole, about."""
        return self.held and self.held + _HEADER_WEIGHT * len(self.headers)

    @property
    def weight_when_whole(self) -> int:
        """The same from then on, until it is answered."""
        return self.weight + _TARGET_COPIES * len(self.target)

    def has_grown(self) -> bool:
        """Whether it weighs a good deal more than when this was last so: to look at all heads for each byte is slow."""
        weight = self.weight
        if weight < self._weigh_at:
            return False
        self._weigh_at = weight + LIGHT_HEAD
        return True

    def scope(self, facts: Mapping[str, Any], version: str, method: str) -> dict[str, Any]:
        """ASGI's, from the connection's facts and what the parser read; its path may be nonsense yet."""
        path, query = path_and_query(self.target)
        return {
            **facts,
            "http_version": version,
            "method": self.method or method,
            "path": unquote(path.decode()) if b"%" in path else path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": self.headers,
        }

    def forget(self) -> None:
        """Hold nothing of it: it is its request's now, or nobody's."""
        self.target, self.headers, self.method = b"", [], ""
        self.held, self._weigh_at = 0, LIGHT_HEAD


_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"})
"""Those that the parser certainly knows."""
_ANY_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ")
"""RFC 9110, 9.1: a token."""
_STAND_IN = b"GET"
_BEFORE_PATH = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def with_known_method(head: bytes) -> tuple[bytes, str]:
    """The beginning of a request with a method that can be parsed, and the one that it stands in for, or nothing."""
    if head.startswith(b"GET "):
        return head, ""
    found = _ANY_METHOD.match(head)
    if not found or found[1] in _METHODS:
        return head, ""
    return _STAND_IN + head[found.end(1) :], found[1].decode()


def with_line_in_ascii(head: bytes) -> tuple[bytes, bool]:
    """The same with all else of its first line as escapes, and whether more of that line is to come."""
    if head.isascii():
        return head, b"\n" not in head
    line, end, rest = head.partition(b"\n")
    return _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), line) + end + rest, not end


def path_and_query(target: bytes) -> tuple[bytes, bytes]:
    """What a request asks for, however long it is; of a whole URL, as proxies get it, the path alone."""
    if not target.startswith(b"/") and (before := _BEFORE_PATH.match(target)):
        target = target[before.end() :]
    path, _, query = target.partition(b"?")
    return path, query


class Phase(Enum):
    """What a connection is at."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    """No byte of the next request is here."""
    HEAD = "head"
    ANSWER = "answer"
    """A request is under way."""
    BODY = "body"
    """The answer is given, and the request's body is still coming."""


PATIENCE_S: Mapping[Phase, float] = {
    Phase.HANDSHAKE: 10,
    # Longer than the aggregator keeps an idle connection (90 s), so that it never meets one that we just closed.
    Phase.IDLE: 120,
    Phase.HEAD: 10,
    Phase.ANSWER: 60,
    Phase.BODY: 10,
}
"""How long each may last; an answer: how long its reader may take nothing of it."""
FRESH_S = 1.0
"""So soon after it came a client is about to ask, and a head that has begun is about to be whole."""
GOODBYE_S = 5.0
"""How long the peer may take to let a closed connection go."""


class Patience:
    """With one client. Moments are seconds on one clock, that of all connections."""

    __slots__ = ("phase", "since", "untaken_since")

    def __init__(self, now: float) -> None:
        self.phase = Phase.HANDSHAKE
        self.since = now
        """When this phase began."""
        self.untaken_since: float | None = None
        """When its reader ceased to take the answer. A stream may go on for days, and they be slow now and then."""

    def begin(self, phase: Phase, now: float) -> None:
        """The client is at something else."""
        self.phase, self.since = phase, now

    def is_young(self, now: float) -> bool:
        """Whether the phase has only just begun."""
        return now - self.since < FRESH_S

    def is_over(self, now: float) -> bool:
        """Whether the client has taken too long. Our own time for an answer isn't theirs."""
        since = self.untaken_since if self.phase is Phase.ANSWER else self.since
        return since is not None and now - since > PATIENCE_S[self.phase]

    def is_over_after_goodbye(self, now: float) -> bool:
        """The same of one whose connection we have closed: it may go on with what it was at, and a little longer."""
        return now - self.since > PATIENCE_S[self.phase] + GOODBYE_S


MOST_PIPELINED = 16
"""Requests that wait for the answer to the one before. No client of Kubernetes sends even two at once."""


class Turns:
    """Of one connection."""

    def __init__(self, app: Any, connections: Connections, tasks: set[asyncio.Task[None]]) -> None:
        self.last: Exchange = None  # type: ignore[assignment]  # there is one wherever it is looked at
        """The latest that was asked for, answered or not."""
        self._app = app
        self._connections = connections
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self.waiting: deque[Exchange] = deque()
        """Those that nobody answers yet, in order."""

    @property
    def have_begun(self) -> bool:
        """Whether anything was ever asked."""
        return self.last is not None

    @property
    def are_owed(self) -> bool:
        """Whether an answer isn't whole yet."""
        return self.last is not None and not self.last.response_complete

    def add(self, exchange: Exchange) -> None:
        """One more. Raises HeadError when too many wait."""
        self.last = exchange
        self._connections.under_way += exchange.weight
        self.waiting.append(exchange)
        if len(self.waiting) > MOST_PIPELINED:
            raise HeadError(BAD_REQUEST, f"more than {MOST_PIPELINED} requests at once")

    def take_next(self) -> None:
        """Begin to answer the one that has waited for longest."""
        exchange = self.waiting.popleft()
        # Begun at once: most answers need nobody else's word, and are there before the event loop comes to a new task.
        task = asyncio.Task(exchange.run_asgi(self._app), loop=self._loop, eager_start=True)
        if task.done():
            self._let_go(exchange)
        else:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Not when the client leaves: what was asked is still held by whoever looks for the answer.
            task.add_done_callback(lambda _: self._let_go(exchange))

    def _let_go(self, exchange: Exchange) -> None:
        self._connections.under_way -= exchange.weight

    def end(self) -> bool:
        """Let the last answer that is owed end the connection, or return False if none is."""
        if not self.are_owed:
            return False
        self.last.keep_alive = False
        return True

    def lose_client(self) -> None:
        """Those that wait are answered by nobody any more, and the one under way for nobody."""
        for exchange in self.waiting:
            self._let_go(exchange)
        self.waiting.clear()
        if self.are_owed:
            self.last.disconnected = True
        if self.last is not None:
            self.last.message_event.set()


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[A-Za-z0-9!$%&'()*+,.:;=\[\]_~-]*")
_VERSIONS = frozenset({"1.0", "1.1"})
_ABOUT_THE_EXCHANGE = frozenset({b"host", b"transfer-encoding", b"expect"})
_WORD = b"100-continue"

Headers = Sequence[tuple[bytes, bytes]]


def _plain(status: str, words: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    return (head + (words or status)).encode()


BAD_REQUEST = _plain("400 Bad Request")
TOO_LONG = _plain("414 URI Too Long")
TOO_LARGE = _plain("431 Request Header Fields Too Large")
_NO_HOST = _plain("400 Bad Request", "400 Bad Request: missing required Host header")
_BAD_HOST = _plain("400 Bad Request", "400 Bad Request: malformed Host header")
_UNKNOWN_ENCODING = _plain("501 Not Implemented", "Unsupported transfer encoding")
_UNKNOWN_VERSION = _plain("505 HTTP Version Not Supported: unsupported protocol version")
_UNKNOWN_EXPECTATION = b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HeadError(Exception):
    """A head that isn't served; `str()` says why."""

    def __init__(self, answer: bytes, why: str = "") -> None:
        super().__init__(why or answer.rpartition(b"\r\n")[2].decode() or "an unknown expectation")
        self.answer = answer
        """What its client gets."""


def about_the_exchange(headers: Headers) -> Headers:
    """Those that say how to talk, not what about. Names are in lower case."""
    return [each for each in headers if each[0] in _ABOUT_THE_EXCHANGE]


def objection(version: str, path: bytes, special: Headers) -> bytes | None:
    """The answer to a head that could be parsed and still can't be served, or None."""
    if b"%" in path and _BAD_ESCAPE.search(path):
        return BAD_REQUEST
    encodings = [value.lower() for name, value in special if name == b"transfer-encoding"]
    if version != "1.0" and encodings not in ([], [b"chunked"]):
        return _UNKNOWN_ENCODING
    if version not in _VERSIONS:
        return _UNKNOWN_VERSION
    hosts = [value for name, value in special if name == b"host"]
    if len(hosts) != 1:
        return BAD_REQUEST if hosts else None if version == "1.0" else _NO_HOST
    if not _HOST.fullmatch(hosts[0]):
        return _BAD_HOST
    expected = _expectations(special)
    return _UNKNOWN_EXPECTATION if expected and expected[0] not in {b"", _WORD} else None


def expects_a_word(special: Headers) -> bool:
    """Whether the client wants to be told to go on before it sends a body."""
    return _WORD in _expectations(special)


def _expectations(special: Headers) -> list[bytes]:
    return [value.lower() for name, value in special if name == b"expect"]


MOST_BODY = 1 << 18
"""Bytes of a body, which nothing here reads. A short one is passed over, a longer one ends the connection, as in Go."""
_MOST_UNSENT = 1 << 16
"""Bytes of an answer that may wait for its reader before we wait too."""

_log = logging.getLogger("uvicorn.error")


class HttpConnection(asyncio.Protocol):
    """HTTP/1.1 for an application that never reads a body: all that comes of one is dropped."""

    transport: asyncio.Transport
    flow: FlowControl
    facts: dict[str, Any]
    """What all of its requests' scopes have in common. Transport, flow and facts come with the end of the handshake."""
    handshake: asyncio.Task[None]
    """Ends as soon as requests may come, or never will."""
    proven = False

    def __init__(self, connections: Connections, config: uvicorn.Config, state: ServerState) -> None:
        self.patience = Patience(connections.now)
        self.head = Head()
        self.turns = Turns(config.loaded_app, connections, state.tasks)
        self._connections = connections
        self._state = state
        self._asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self._parser = httptools.HttpRequestParser(self)
        # Whatever comes behind a request that is its client's last, that one is answered.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._comes = Phase.IDLE  # what the client sends, also while we answer: a HEAD, a BODY, or nothing
        self._unread, self._deaf = 0, False  # bytes of the body; whether nothing is heard any more

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way."""
        return self.turns.are_owed

    @property
    def is_fresh(self) -> bool:
        """Whether its client came just now, or is just asking."""
        comes = not self.turns.have_begun or self.patience.phase is Phase.HEAD
        return comes and self.patience.is_young(self._connections.now)

    def connection_made(self, transport: Any) -> None:
        """Called by the event loop, after the handshake."""
        transport.set_write_buffer_limits(_MOST_UNSENT)
        self.transport, self.flow = transport, FlowControl(transport)
        self.facts = {
            "type": "http",
            "asgi": self._asgi,
            "scheme": "https" if is_ssl(transport) else "http",
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "root_path": "",
        }
        self.patience.begin(Phase.IDLE, self._connections.now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._connections.forget(self)
        self.turns.lose_client()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        del self._parser  # each holds the other

    def pause_writing(self) -> None:
        """Called by the event loop: the answer waits for its reader."""
        self.patience.untaken_since = self._connections.now
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Called by the event loop: the reader has taken enough of it."""
        self.patience.untaken_since = None
        self.flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._deaf:
            return
        before = self.patience.phase
        if before is Phase.IDLE:
            self.patience.begin(Phase.HEAD, self._connections.now)
        data = self.head.spelled(data, anew=before is Phase.IDLE)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Not to upgrade is a right answer (RFC 9110, 7.8), but what comes behind isn't HTTP any more.
            self._hang_up()
        except httptools.HttpParserError as error:
            self._refuse_as_invalid(error)
        else:
            if self.head.held and self._is_too_heavy():
                self._refuse("head", TOO_LARGE, "the head is too large")
        if before is not Phase.ANSWER and self.patience.phase is Phase.ANSWER:
            self.turns.take_next()

    def _is_too_heavy(self) -> bool:
        return self.head.has_grown() and (self.head.weight > MOST_HEAD or self._connections.too_heavy)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._comes, self._unread = Phase.HEAD, 0
        self.head.begin()
        if self.patience.phase is Phase.IDLE:  # what came before was the end of a body
            self.patience.begin(Phase.HEAD, self._connections.now)

    def on_url(self, url: bytes) -> None:
        """Called by the parser, perhaps with a part only."""
        self.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the head's headers alone: behind a body anybody could write what only the aggregator may say."""
        if self._comes is Phase.HEAD:
            self.head.headers.append((name.lower(), value.rstrip(b"\t ")))

    def on_headers_complete(self) -> None:
        """Remember the request; it is answered once the parser has done with all that came."""
        head, version = self.head, self._parser.get_http_version()
        if len(head.target) > MOST_TARGET:
            raise HeadError(TOO_LONG)
        if (weight := head.weight_when_whole) > LIGHT_HEAD and self._connections.too_heavy:
            raise HeadError(TOO_LARGE)
        scope = head.scope(self.facts, version, self._parser.get_method().decode())
        special = about_the_exchange(head.headers)
        if found := objection(version, scope["raw_path"], special):
            raise HeadError(found)
        head.forget()
        self._comes = Phase.BODY
        # Who waits for a word of ours to send the body gets none, and who knows then whether it comes: Go closes too.
        ends = self._connections.leaving or expects_a_word(special)
        self._take(scope, weight, keep_alive=not ends and version != "1.0" and self._parser.should_keep_alive())

    def _take(self, scope: Any, weight: int, *, keep_alive: bool) -> None:
        exchange = Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=_log,
            access_logger=_log,
            access_log=False,
            default_headers=self._state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._answered,
        )
        exchange.weight = weight
        if self.patience.phase is Phase.ANSWER:
            self.flow.pause_reading()
        else:
            self.patience.begin(Phase.ANSWER, self._connections.now)
        self.turns.add(exchange)

    def on_body(self, body: bytes) -> None:
        """Drop it, and its sender too if it doesn't end."""
        self.head.held = 0
        self._unread += len(body)
        if self._unread > MOST_BODY and not self._deaf:
            self._hang_up()
            self._connections.count("body")

    def on_message_complete(self) -> None:
        """Called by the parser, after the body and its trailers."""
        self.turns.last.more_body = False
        self.turns.last.message_event.set()
        self.head.held, self._comes = 0, Phase.IDLE
        if self.patience.phase is Phase.BODY:
            self.patience.begin(Phase.IDLE, self._connections.now)

    def _answered(self) -> None:
        """Go on with the next request, as uvicorn does, but without its timer."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.turns.waiting:
            self.patience.begin(Phase.ANSWER, self._connections.now)
            self.turns.take_next()
            return
        # A connection may be idle for minutes, and there are many: what was asked on it is held no longer.
        self.turns.last.forget_question(self.facts)
        self.patience.begin(self._comes, self._connections.now)

    def _refuse_as_invalid(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__ or error  # what our own callbacks raise comes wrapped
        self._refuse("invalid", cause.answer if isinstance(cause, HeadError) else BAD_REQUEST, str(cause))

    def _refuse(self, reason: str, answer: bytes, why: str) -> None:
        client = self.facts["client"]
        self._connections.refused(reason, client[0] if client else None, why)
        if not self.is_answering:
            self.transport.write(answer)
        self._hang_up()

    def _hang_up(self) -> None:
        """Hear no more, and close: after the answers that are owed."""
        self._deaf = True
        self.head.forget()
        if not self.turns.end():
            self.transport.close()

    def shutdown(self) -> None:
        """Close, but not before the answer, nor in the midst of a question."""
        if not self.turns.end() and self.patience.phase not in {Phase.HANDSHAKE, Phase.HEAD}:
            self.transport.close()

    def expire(self) -> None:
        """End what has taken too long."""
        phase, now = self.patience.phase, self._connections.now
        if phase is Phase.HANDSHAKE:  # the event loop times it
            return
        if self.transport.is_closing():
            if self.patience.is_over_after_goodbye(now):
                self.abort()
        elif self.patience.is_over(now):
            self._connections.count(phase.value)
            if phase is Phase.ANSWER:
                self.abort()
            else:
                self.transport.close()

    def abort(self) -> None:
        """Let go at once, whatever is under way."""
        if self.patience.phase is Phase.HANDSHAKE:
            self.handshake.cancel()
        else:
            self.transport.abort()


MOST_WAITING = 1 << 16
"""Bytes of a body that may wait for whoever reads it before its sender must wait too."""


class BodyConnection(HttpConnection):
    """HttpConnection that hands bodies on. How long one may be is for its reader to say, who gets it piece by piece."""

    def on_body(self, body: bytes) -> None:
        """Keep it for the answer under way; what comes behind the answer is dropped."""
        exchange = self.turns.last
        if exchange.response_complete:
            super().on_body(body)
            return
        self.head.held = 0
        exchange.body += body
        if len(exchange.body) > MOST_WAITING:
            self.flow.pause_reading()
        exchange.message_event.set()
