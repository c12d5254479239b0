"""A look at jobs that changes nothing: the next one of each state, or one by its id, with what beanstalkd knows of it.

A job may be far larger than anybody wants to see (option -z allows 1 GiB): only its beginning is read, on a connection
that is dropped then.
"""

import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader

from app.beanstalkd.protocol import MAX_LINE, MAX_STATS, check_tube_name
from app.jobs.actions import Place, RefusedError, State, tube_counts
from app.jobs.client import TIMEOUT_S, connect, explained
from app.settings import Server

MOST_SHOWN = 1 << 16
"""Bytes of a job that are read."""
SEEN = (State.READY, State.DELAYED, State.BURIED)

FOUND = re.compile(rb"FOUND (\d{1,20}) (\d{1,10})\r\n")
"""The first line of an answer to a peek: id, and bytes of the body."""
_OK = re.compile(rb"OK (\d{1,5})\r\n")
_FIELD = re.compile(rb'^([a-z-]{1,40}): ("?)([^"\n]{0,250})\2$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SeenJob:
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
    """Bytes of its whole body."""
    beginning: bytes
    """At most MOST_SHOWN of them."""


def next_jobs(place: Place) -> Mapping[State, SeenJob | None]:
    """The next job of each state; none of a tube that isn't there, which isn't made by this.

    Raises TubeNameError and BeanstalkdError.
    """
    check_tube_name(place.tube)
    try:
        with connect(place.server) as client:
            held = tube_counts(client, place.tube)
    except RefusedError:
        return dict.fromkeys(SEEN)
    return {state: _peek(place.server, f"peek-{state}", place.tube) if held[state] else None for state in SEEN}


def job(server: Server, job_id: int) -> SeenJob | None:
    """The job of that id, in whatever tube and state, or None when there is none. Raises BeanstalkdError."""
    return _peek(server, f"peek {job_id}", None)


def _peek(server: Server, command: str, tube: str | None) -> SeenJob | None:
    with talking(server) as talk:
        if tube is not None:
            talk.expect(f"use {tube}", f"USING {tube}")
        found = talk.ask(command, FOUND)
        if found is None:
            return None
        job_id, size = int(found[1]), int(found[2])
        beginning = talk.read(min(size, MOST_SHOWN))
        if size <= MOST_SHOWN:
            talk.read(2)
            return _told(talk, job_id, size, beginning)
    with talking(server) as talk:
        return _told(talk, job_id, size, beginning)


def _told(talk: "Talk", job_id: int, size: int, beginning: bytes) -> SeenJob | None:
    """None where the job is gone meanwhile."""
    talk.send([f"stats-job {job_id}"])
    told = talk.stats()
    return None if told is None else seen(told, size, beginning)


def seen(told: Mapping[str, str], size: int, beginning: bytes) -> SeenJob:
    """A job from what stats-job told of it. Raises ValueError where that makes no sense."""
    try:
        whole = {key: int(told[key]) for key in _WHOLE}
        state, tube = told["state"], told["tube"]
    except KeyError as error:
        raise ValueError(f"stats-job without {error}") from error
    return SeenJob(
        state=state,
        tube=tube,
        **{name: whole[key] for key, name in _WHOLE.items()},
        size=size,
        beginning=beginning,
    )


_WHOLE = {
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
"""stats-job's fields → SeenJob's."""


class Talk:
    """One connection. What raises ValueError here made no sense."""

    def __init__(self, connected: socket.socket, reader: BufferedReader) -> None:
        self._connected = connected
        self._reader = reader

    def ask(self, command: str, wanted: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """The answer's first line; None: NOT_FOUND."""
        self.send([command])
        return self.answer(wanted)

    def expect(self, command: str, answer: str) -> None:
        """Anything else makes no sense."""
        self.send([command])
        if self._line() != answer.encode("ascii") + b"\r\n":
            raise ValueError(f"an unexpected answer to {command}")

    def send(self, commands: Iterable[str]) -> None:
        """All of them, whose answers come in the same order; few enough that they wait for no answer to be read."""
        self._connected.sendall(b"".join(command.encode("ascii") + b"\r\n" for command in commands))

    def answer(self, wanted: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """The next answer's first line; None: NOT_FOUND."""
        line = self._line()
        if line == b"NOT_FOUND\r\n":
            return None
        match = wanted.fullmatch(line)
        if match is None:
            raise ValueError(f"an unexpected answer: {line[:40]!r}")
        return match

    def stats(self) -> Mapping[str, str] | None:
        """The next answer, to a stats command; None: NOT_FOUND."""
        length = self.answer(_OK)
        if length is None:
            return None
        if int(length[1]) > MAX_STATS:
            raise ValueError(f"stats of {length[1]!r} bytes")
        fields = _FIELD.findall(self.read(int(length[1]) + len(b"\r\n")))
        return {key.decode(): value.decode() for key, _, value in fields}

    def _line(self) -> bytes:
        return self._reader.readline(MAX_LINE)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        received = self._reader.read(size)
        if len(received) < size:
            raise ConnectionError("it closed the connection")
        return received


@contextmanager
def talking(server: Server) -> Iterator[Talk]:
    """A connection, closed in the end. Raises BeanstalkdError for whatever goes wrong in here."""
    with (
        explained(server),
        socket.create_connection((server.host, server.port), TIMEOUT_S) as connected,
        connected.makefile("rb") as reader,
    ):
        yield Talk(connected, reader)
