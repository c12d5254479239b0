"""One client's connection: how long it may take, how much it may hold, and how it ends.

Whoever connects, shakes hands and sends a head hasn't shown yet who they are, so each of these is bounded in time and
memory. The deadlines are looked at once a second for all connections together (connections.py): a timer for each
request would cost more than all the rest of its bookkeeping.
"""

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.http.connections import Connections
from app.http.exchange import Exchange
from app.http.refusals import BAD_REQUEST, TOO_LARGE, TOO_LONG, about_the_exchange, expects_a_word, objection
from app.http.spelling import path_and_query, with_known_method, with_line_in_ascii

MOST_HEAD = 1 << 20
"""Bytes of a request's head, or of a body's trailers: as many as Go's servers take."""
LIGHT_HEAD = 1 << 14
"""What each connection may hold of an unfinished head, whatever the others hold."""
MOST_TARGET = 1 << 17
"""Bytes of what a request asks for: it is read several times before it is known who asks."""
MOST_BODY = 1 << 18
"""Bytes of a body, which nothing here reads. A short one is passed over, a longer one ends the connection, as in Go."""
MOST_PIPELINED = 16
"""Requests that wait for the answer to the one before. No client of Kubernetes sends even two at once."""
_HEADER_WEIGHT = 200
"""Bytes that Python takes for a header, however short it is."""
_TARGET_COPIES = 4
"""How often what a request asks for is kept besides: as text too, whole and by its parts."""
_MOST_UNSENT = 1 << 16
"""Bytes of an answer that may wait for its reader before we wait too."""


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


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds. What it serves never reads a body: all that comes of one is dropped."""

    facts: dict[str, Any]
    """What all of its requests' scopes have in common."""
    handshake: asyncio.Task[None]
    """Ends as soon as requests may come, or never will."""
    proven = False
    """Whether the client has shown a certificate: if somebody has to go, others go first."""

    def __init__(self, connections: Connections, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._connections = connections
        self.phase = Phase.HANDSHAKE
        self.since = connections.now
        """When this phase began, on the connections' clock."""
        self._held = 0  # bytes that came since the parser last finished with something: at most so many it keeps
        self._weigh_at = LIGHT_HEAD
        self._untaken_since = 0.0
        self._in_line = self._in_head = True
        self._whole = True  # the last request has come to its end
        self._unread = 0  # bytes of its body
        self._deaf = False
        self._method = ""  # one that the parser doesn't know
        self._due = False  # a request waits for us to have read what came with it
        self._objection = BAD_REQUEST

    @property
    def weight(self) -> int:
        """Bytes that an unfinished head takes, about."""
        return self._held and self._held + _HEADER_WEIGHT * len(self.headers or ())

    @property
    def is_fresh(self) -> bool:
        """Whether its client came just now, or is just asking."""
        comes = self.scope is None or self.phase is Phase.HEAD
        return comes and self._connections.now - self.since < FRESH_S

    def connection_made(self, transport: Any) -> None:
        """Called by the event loop, after the handshake."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(_MOST_UNSENT)
        self.facts = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": "",
        }
        self._begin(Phase.IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._connections.forget(self)
        for cycle, _ in self.pipeline:  # nobody answers them any more
            self._connections.under_way -= cast("Exchange", cycle).weight
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called by the event loop: the answer waits for its reader."""
        self._untaken_since = self._connections.now  # a stream may go on for days, and its reader be slow now and then
        super().pause_writing()

    def _begin(self, phase: Phase) -> None:
        self.phase, self.since = phase, self._connections.now

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._deaf:
            return
        if self.phase is Phase.IDLE:
            self._begin(Phase.HEAD)
            data, self._method = with_known_method(data)
            self._in_line = True
        if self._in_line:
            data, self._in_line = with_line_in_ascii(data)
        self._held += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Not to upgrade is a right answer (RFC 9110, 7.8), but what comes behind isn't HTTP any more.
            self._hang_up()
        except httptools.HttpParserError as error:
            # What our own callbacks raise comes wrapped.
            self._refuse("invalid", self._objection, str(error.__context__ or error))
        else:
            if self._held and self._is_too_heavy():
                self._refuse("head", TOO_LARGE, "the head is too large")
        if self._due:
            self._answer_next()

    def _is_too_heavy(self) -> bool:
        weight = self.weight
        if weight < self._weigh_at:
            return False
        self._weigh_at = weight + LIGHT_HEAD  # all connections are looked at, so not for each byte that comes
        return weight > MOST_HEAD or self._connections.too_heavy

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self.url, self.headers = b"", []
        self._in_head, self._whole, self._unread = True, False, 0
        if self.phase is Phase.IDLE:  # what came before was the end of a body
            self._begin(Phase.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the head's headers alone: behind a body anybody could write what only the aggregator may say."""
        if self._in_head:
            self.headers.append((name.lower(), value.rstrip(b"\t ")))

    def on_headers_complete(self) -> None:
        """Remember the request; it is answered once the parser has done with all that came."""
        weight = self.weight + _TARGET_COPIES * len(self.url)
        too_large = TOO_LARGE if weight > LIGHT_HEAD and self._connections.too_heavy else None
        self._in_head, self._held, self._weigh_at = False, 0, LIGHT_HEAD
        version, (path, query) = self.parser.get_http_version(), path_and_query(self.url)
        too_long = TOO_LONG if len(self.url) > MOST_TARGET else None
        special = about_the_exchange(self.headers)
        if found := too_long or too_large or objection(version, path, special):
            self._objection = found
            raise httptools.HttpParserError(found.rpartition(b"\r\n")[2].decode() or "an unknown expectation")
        self.scope = self.facts | {  # type: ignore[assignment]
            "http_version": version,
            "method": self._method or self.parser.get_method().decode(),
            "path": unquote(path.decode()) if b"%" in path else path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": self.headers,
        }
        self._method = ""
        # Who waits for a word of ours to send the body gets none, and who knows then whether it comes: Go closes too.
        ends = self._connections.leaving or expects_a_word(special)
        self._begin_exchange(weight, keep_alive=not ends and version != "1.0" and self.parser.should_keep_alive())

    def _begin_exchange(self, weight: int, *, keep_alive: bool) -> None:
        self.cycle = exchange = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        exchange.weight = weight
        self._connections.under_way += weight
        self.pipeline.appendleft((self.cycle, self.app))
        if self.phase is Phase.ANSWER:
            self.flow.pause_reading()
        else:
            self._begin(Phase.ANSWER)
            self._due = True
        if len(self.pipeline) > MOST_PIPELINED:
            raise httptools.HttpParserError(f"more than {MOST_PIPELINED} requests at once")

    def _answer_next(self) -> None:
        self._due = False
        cycle, app = self.pipeline.pop()
        # Begun at once: most answers need nobody else's word, and are there before the event loop comes to a new task.
        task = asyncio.Task(cycle.run_asgi(app), loop=self.loop, eager_start=True)
        if task.done():
            self._done_with(cycle)
        else:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            task.add_done_callback(lambda _: self._done_with(cycle))

    def _done_with(self, cycle: Any) -> None:
        # Not when the client leaves: what was asked is still held by whoever looks for the answer.
        self._connections.under_way -= cycle.weight

    def on_body(self, body: bytes) -> None:
        """Drop it, and its sender too if it doesn't end."""
        self._held = 0
        self._unread += len(body)
        if self._unread > MOST_BODY and not self._deaf:
            self._hang_up()
            self._connections.count("body")

    def on_message_complete(self) -> None:
        """End with the request."""
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self._held, self._whole = 0, True
        if self.phase is Phase.BODY:
            self._begin(Phase.IDLE)

    def on_response_complete(self) -> None:
        """Go on with the next request, as uvicorn does, but without its timer."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._begin(Phase.ANSWER)
            self._answer_next()
            return
        self._forget_the_question()
        if self._whole:
            self._begin(Phase.IDLE)
        else:
            self._begin(Phase.HEAD if self._in_head else Phase.BODY)

    def _forget_the_question(self) -> None:
        """A connection may be idle for minutes, and there are many: what was asked on it is held no longer."""
        self.cycle.scope = self.scope = self.facts  # type: ignore[assignment]
        self.cycle.body = bytearray()
        if not self._in_head:  # else they are the next question's already
            self.url, self.headers = b"", []

    def _refuse(self, reason: str, answer: bytes, why: str) -> None:
        self._connections.refused(reason, self.client[0] if self.client else None, why)
        if not self.is_answering:
            self.transport.write(answer)
        self._hang_up()

    def _hang_up(self) -> None:
        """Hear no more, and close: after the answers that are owed."""
        self._deaf, self._held = True, 0
        self.url, self.headers = b"", []
        if self.is_answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def shutdown(self) -> None:
        """Close, but not before the answer, nor in the midst of a question."""
        if self.is_answering:
            self.cycle.keep_alive = False
        elif self.phase is not Phase.HEAD and self.transport is not None:
            self.transport.close()

    def expire(self) -> None:
        """End what has taken too long."""
        if self.transport is None:
            return  # the event loop times the handshake
        waited_s = self._connections.now - self.since
        if self.transport.is_closing():
            if waited_s > PATIENCE_S[self.phase] + GOODBYE_S:
                self.abort()
            return
        if self.phase is Phase.ANSWER:
            waited_s = self._connections.now - self._untaken_since if self.flow.write_paused else 0.0
        if waited_s > PATIENCE_S[self.phase]:
            self._connections.count(self.phase.value)
            if self.phase is Phase.ANSWER:
                self.abort()
            else:
                self.transport.close()

    def abort(self) -> None:
        """Let go at once, whatever is under way."""
        if self.transport is None:
            self.handshake.cancel()
        else:
            self.transport.abort()
