"""Look at jobs without changing anything: the next job of each state, or one by its ID, with its stats.

A job may be far larger than anyone wants to see (option -z allows 1 GiB): only its beginning is read, and then the
connection is replaced.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from app import clock
from app.beanstalkd.protocol import (
    MAX_STATS,
    NOT_FOUND,
    InvalidFieldError,
    ProtocolError,
    Reply,
    ReplyParser,
    body_of,
    check_tube_name,
    parse_stats,
    parse_tube,
)
from app.beanstalkd.reading import TubeRef
from app.jobs.actions import State
from app.jobs.client import DEFAULT_TUBE, TIMEOUT_S, translated_errors
from app.settings import Server

MAX_SHOWN = 1 << 16
"""Bytes of a job that are read."""
PEEKED = (State.READY, State.DELAYED, State.BURIED)
"""The states that have a peek command."""
_CHUNK = 1 << 16

_INTEGERS = {
    "id": "id",
    "pri": "pri",
    "age": "age_s",
    "delay": "delay_s",
    "ttr": "ttr_s",
    "time-left": "time_left_s",
    "reserves": "reserves",
    "timeouts": "timeouts",
    "releases": "releases",
    "buries": "buries",
    "kicks": "kicks",
}
"""Field of stats-job → field of PeekedJob."""

type Stats = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PeekedJob:
    """One job; times in whole seconds."""

    id: int
    state: str
    tube: str
    pri: int
    age_s: int
    delay_s: int
    ttr_s: int
    time_left_s: int
    reserves: int
    timeouts: int
    releases: int
    buries: int
    kicks: int
    size: int
    """Bytes of the whole body."""
    beginning: bytes
    """At most MAX_SHOWN bytes of the body."""


def next_jobs(ref: TubeRef) -> Mapping[State, PeekedJob | None]:
    """Return the next job of each state, None if there is none. Doesn't create a tube that doesn't exist.

    Raises TubeNameError and BeanstalkdError.
    """
    check_tube_name(ref.tube)
    with peek_connection(ref.server) as connection:
        held = connection.held(ref.tube)
        if all(held[state] == 0 for state in PEEKED):
            return dict.fromkeys(PEEKED)
        connection.use(ref.tube)
        return {state: None if held[state] == 0 else connection.job(f"peek-{state}") for state in PEEKED}


def job_by_id(server: Server, job_id: int) -> PeekedJob | None:
    """Return the job in whatever tube and state; None if there is none. Raises BeanstalkdError."""
    with peek_connection(server) as connection:
        return connection.job(f"peek {job_id}")


class PeekConnection:
    """A connection that sends commands in batches. Methods raise OSError and ProtocolError."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._tube = DEFAULT_TUBE
        self._connect()

    def _connect(self) -> None:
        self._stack.close()
        address = (self._server.host, self._server.port)
        self._socket = self._stack.enter_context(socket.create_connection(address, TIMEOUT_S))
        self._replies = ReplyParser()
        if self._tube != DEFAULT_TUBE:
            self.use(self._tube)

    def send(self, commands: Iterable[str], max_body: int = MAX_STATS) -> None:
        """Send commands whose replies fit into the sockets' buffers; `reply` returns them in the same order."""
        self._replies.max_body = max_body
        self._socket.sendall(b"".join(command.encode("ascii") + b"\r\n" for command in commands))

    def reply(self) -> Reply:
        """Return the next reply."""
        while (reply := self._replies.next()) is None:
            self._replies.feed(self._receive())
        return reply

    def _receive(self) -> bytes:
        received = self._socket.recv(_CHUNK)
        if not received:
            raise ConnectionError("it closed the connection")
        return received

    def use(self, tube: str) -> None:
        """Choose the tube of the peek commands. This creates the tube if it doesn't exist."""
        self._tube = tube
        self.send([f"use {tube}"])
        reply = self.reply()
        if (reply.word, reply.arguments) != (b"USING", (tube.encode("ascii"),)):
            raise ProtocolError(f"answered {reply.line!r} to use {tube}", names_tube=True)

    def stats_reply(self) -> bytes | None:
        """Return the body of the next reply, to a stats command; None for NOT_FOUND."""
        return body_of(self.reply())

    def held(self, tube: str) -> Mapping[State, int | None]:
        """Return the tube's jobs by state: 0 if there is no such tube, None if the reply has no valid number."""
        self.send([f"stats-tube {tube}"])
        body = self.stats_reply()
        if body is None:
            return dict.fromkeys(State, 0)
        stats = parse_tube(body, tube, clock.now())
        held: dict[State, int | None] = {}
        for state in State:
            try:
                held[state] = getattr(stats, f"current_jobs_{state}")
            except InvalidFieldError:
                held[state] = None
        return held

    def job(self, command: str) -> PeekedJob | None:
        """Return the job of a peek command with its stats; None if there is none, or no longer."""
        found = self.peek(command)
        if found is None:
            return None
        self.send([f"stats-job {found[0]}"])
        body = self.stats_reply()
        return None if body is None else peeked(parse_stats(body), found[1], found[2])

    def peek(self, command: str) -> tuple[int, int, bytes] | None:
        """Return ID, size and beginning of the job of a peek command; None if there is none."""
        self.send([command], MAX_SHOWN)
        reply = self.reply()
        if reply is NOT_FOUND:
            return None
        if reply.word != b"FOUND" or len(reply.arguments) != 1 or not reply.arguments[0].isdigit():
            raise ProtocolError(f"answered {reply.line!r} to {command}", names_tube=True)
        beginning = reply.body
        if beginning is None:
            received = bytearray(self._replies.rest())
            while len(received) < MAX_SHOWN:
                received += self._receive()
            beginning = bytes(received[:MAX_SHOWN])
            self._connect()  # faster than reading the rest
        return int(reply.arguments[0]), reply.size, beginning


def peeked(stats: Stats, size: int, beginning: bytes) -> PeekedJob:
    """Return the job that a stats-job reply describes. Raises ProtocolError if a field is missing or invalid."""
    try:
        integers = {name: int(stats[field]) for field, name in _INTEGERS.items()}
        return PeekedJob(state=stats["state"], tube=stats["tube"], **integers, size=size, beginning=beginning)
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"sent a job's stats with a missing or invalid field: {error}") from error


@contextmanager
def peek_connection(server: Server) -> Iterator[PeekConnection]:
    """Connect, and close the connection at the end. Raises BeanstalkdError for any failure of beanstalkd within."""
    with translated_errors(server), ExitStack() as stack:
        yield PeekConnection(server, stack)
