"""One client's connection, from the event loop and the parser to the application.

Whoever connects, shakes hands and sends a head hasn't shown yet who they are: patience.py says how long each of these
may take, head.py what is held meanwhile. What is asked is answered in turn (turns.py).
"""

import asyncio
import logging
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from app.http.connections import Connections
from app.http.exchange import Exchange
from app.http.head import LIGHT_HEAD, MOST_HEAD, MOST_TARGET, Head
from app.http.patience import Patience, Phase
from app.http.refusals import BAD_REQUEST, TOO_LARGE, TOO_LONG, HeadError, about_the_exchange, expects_a_word, objection
from app.http.turns import Turns

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
