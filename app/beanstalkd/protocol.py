"""beanstalkd's protocol (its doc/protocol.txt), without I/O: commands out, replies in.

Replies are matched to commands by order alone, so a reply must name the tube that was asked for, and after any doubt
(ProtocolError) the connection must be closed. An invalid field raises no doubt about the rest of a reply: it is an
error only where it is used (InvalidFieldError). Tube names are checked before they go into a command: a line break in
one would be a second command.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from app.clock import Instant
from app.settings import SettingError
from app.text import quoted

_MAX_QUOTED = 60
"""Bytes of an invalid number in the error."""
_TUBE_NAME = re.compile(r"(?!-)[A-Za-z0-9\-+/;.$_()]{1,200}")


class TubeNameError(SettingError):
    """A text isn't a valid tube name; `str()` is a sentence for the person who wrote it."""


def check_tube_name(name: str) -> str:
    """Return `name` if beanstalkd accepts it (doc/protocol.txt: 1 to 200 bytes). Raises TubeNameError."""
    if not is_tube_name(name):
        raise TubeNameError(
            f"{quoted(name)} is not a valid tube name: use 1 to 200 of the characters A-Z a-z 0-9 - + / ; . $ _ ( ),"
            " with no '-' at the start"
        )
    return name


def is_tube_name(name: str) -> bool:
    """Return True if beanstalkd accepts `name`."""
    return _TUBE_NAME.fullmatch(name) is not None


STATS = b"stats\r\n"
LIST_TUBES = b"list-tubes\r\n"

MAX_LINE = 256
"""Bytes: beanstalkd's longest line without a body is far shorter."""
MAX_BODY = 1 << 24
"""Bytes: a list of 80,000 tubes with the longest names."""
MAX_STATS = 1 << 13
"""Bytes: a reply to `stats` or `stats-tube` has about 1,000."""
MAX_TUBES = 100_000
"""MAX_BODY has room for many more short names, and each takes a hundred times its size in memory."""

_TUBE = rb'("?)((?!-)[A-Za-z0-9+/;.$_()-]{1,200})\1'  # quoted since 1.13
_NAME = re.compile(rb"---\nname: " + _TUBE + rb"\n")
_LISTED = re.compile(rb"- " + _TUBE)
_INTEGER = re.compile(rb"0|-?[1-9]\d{0,39}")
_ID = re.compile(rb'^id: ("?)([0-9a-f]{1,64})\1$', re.MULTILINE)
_VERSION = re.compile(rb'^version: "?([0-9][0-9A-Za-z.+-]{0,40})"?$', re.MULTILINE)

_WITH_BODY = frozenset({b"OK", b"FOUND", b"RESERVED"})
_MAX_SIZE_DIGITS = 10
_FIELD = re.compile(rb'^([a-z-]{1,40}): ("?)([^"\n]{0,250})\2$', re.MULTILINE)


class ProtocolError(Exception):
    """beanstalkd sent something that can't be trusted: close the connection. `str()` follows the server's name."""

    def __init__(self, message: str, *, names_tube: bool = False) -> None:
        super().__init__(message)
        self.names_tube = names_tube
        """True if the message may contain a tube's name, which not every namespace may see."""


class InvalidField(NamedTuple):
    """A field that is missing in a reply, or whose value can't be true."""

    name: str
    """As in the reply: "current-waiting"."""
    problem: str
    """A clause that says why, and what to do."""


class InvalidFieldError(Exception):
    """A field was used that has no valid value; all other fields of the reply count. `str()` is a clause."""

    def __init__(self, invalid: InvalidField, tube: str) -> None:
        super().__init__(f"no valid {invalid.name} for tube {tube!r}: {invalid.problem}")
        self.invalid = invalid
        self.tube = tube


class TubeStats(NamedTuple):
    """One tube, from one `stats-tube` reply, which is atomic. Jobs and connections are counts, times whole seconds.

    Field names are beanstalkd's keys.
    """

    name: str
    answered_at: Instant
    current_jobs_urgent: int
    """Ready jobs of a priority below 1024: a subset of ready."""
    current_jobs_ready: int
    current_jobs_reserved: int
    current_jobs_delayed: int
    current_jobs_buried: int
    total_jobs: int
    """Counter; restarts at 0 with the server and with the tube."""
    current_using: int
    current_watching: int
    current_waiting: int
    cmd_delete: int
    """Counter, like total_jobs."""
    cmd_pause_tube: int
    pause: int
    pause_time_left: int
    body: bytes = b""
    """The reply itself: an equal one needn't be parsed again."""

    @property
    def is_paused(self) -> bool:
        """True if ready jobs can't be reserved. `pause_time_left` is 0 in the last second of a pause already."""
        return self.pause > 0


class PartialTubeStats(TubeStats):
    """One tube of whose fields some are invalid: access to one of these raises InvalidFieldError."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute. Raises InvalidFieldError."""
        value = super().__getattribute__(name)
        if type(value) is InvalidField:
            raise InvalidFieldError(value, self[0])
        return value


class JobTotals(NamedTuple):
    """All jobs of one server by state, from one `stats` reply, which is atomic. None: the reply has no valid number."""

    answered_at: Instant
    ready: int | None
    reserved: int | None
    delayed: int | None
    buried: int | None
    timeouts: int | None = None
    """Counter of jobs whose time to run (TTR) ended; restarts at 0 with the server."""


_TOTALS = (*(f"current-jobs-{state}" for state in JobTotals._fields[1:-1]), "job-timeouts")
_COUNTS = tuple(field.replace("_", "-").encode() for field in TubeStats._fields[2:-1])
_USUAL = re.compile(
    rb"---\nname: "
    + _TUBE
    + rb"\n"
    + b"".join(rb"%b: (0|[1-9]\d{0,%d})\n" % (field, 8 if field.startswith(b"current-") else 18) for field in _COUNTS)
)
"""A reply as all versions since 1.9 send it, with numbers that are valid in any case: the fast path."""

_CONNECTIONS = frozenset({b"current-using", b"current-watching", b"current-waiting"})
_MAX_CONNECTIONS = 1 << 31
"""Each connection has a file descriptor, which is an int."""
_BELOW_ZERO = range((1 << 32) - (1 << 16), 1 << 32)
"""Jobs: beanstalkd up to 1.11 counts with 32 bits. So many jobs would take 800 GB of memory."""
_SIGNED = frozenset({b"pause-time-left", b"age"})
"""Differences of times: negative if the clock of beanstalkd's machine was set, or for a moment when a pause ends."""
_MAX_COUNT = 10**19
"""Greater 64-bit counts went below zero."""
_REMEDY = "it is right again once the tube has no job and no connection, or after a restart with a binlog (-b)"
"""A restart without a binlog would lose all jobs."""


def stats_tube(tube: str) -> bytes:
    """Return the command that reads one tube; the name must have passed `check_tube_name`."""
    return b"stats-tube %b\r\n" % tube.encode("ascii")


def parse_tube(body: bytes, tube: str, answered_at: Instant) -> TubeStats:
    """Parse the body of a `stats-tube` reply. Raises ProtocolError if it isn't about `tube` alone."""
    if len(body) > MAX_STATS:
        raise ProtocolError(f"sent {len(body):,} bytes about a tube; the limit is {MAX_STATS:,}")
    asked = tube.encode("ascii")
    usual = _USUAL.fullmatch(body)
    if usual is not None and usual[2] == asked:
        return TubeStats._make((tube, answered_at, *map(int, usual.groups()[2:]), body))
    name = _NAME.match(body)
    if name is None or name[2] != asked:
        answered = name[2].decode() if name else "none"
        raise ProtocolError(f"answered about tube {answered!r} instead of {tube!r}", names_tube=True)
    # It has more, fewer or other fields than usual.
    sent: dict[bytes, list[bytes]] = {}
    for line in body.split(b"\n"):
        key, _, value = line.partition(b": ")
        sent.setdefault(key, []).append(value)
    if len(sent[b"name"]) > 1:
        raise ProtocolError(f"sent 'name' twice for tube {tube!r}", names_tube=True)
    fields = [parse_count(key, sent.get(key, ())) for key in _COUNTS]
    kind = PartialTubeStats if any(isinstance(field, InvalidField) for field in fields) else TubeStats
    return kind._make((tube, answered_at, *fields, body))


def parse_count(key: bytes, values: Sequence[bytes]) -> int | InvalidField:
    """Return a field of any stats that was sent with these values: valid if it is exactly one."""
    name = key.decode()
    if len(values) != 1:
        how = "more than once" if values else "no such field"
        return InvalidField(name, f"sent {how}; check that this is a beanstalkd")
    if not _INTEGER.fullmatch(values[0]):
        value = values[0][:_MAX_QUOTED].decode("ascii", "backslashreplace")
        return InvalidField(name, f"{value!r} is not an integer; check that this is a beanstalkd")
    number = int(values[0])
    if (
        (number < 0 and key not in _SIGNED)
        or abs(number) >= _MAX_COUNT
        or (key in _CONNECTIONS and number >= _MAX_CONNECTIONS)
        or (key.startswith(b"current-jobs-") and number in _BELOW_ZERO)
    ):
        return InvalidField(name, f"counter below zero ({number}), but no job is lost; {_REMEDY}")
    return number


def parse_tube_names(body: bytes) -> tuple[str, ...]:
    """Parse the body of a `list-tubes` reply, in beanstalkd's order. Raises ProtocolError."""
    if body.count(b"\n") > MAX_TUBES:
        raise ProtocolError(f"listed more than {MAX_TUBES:,} tubes")
    first, *lines = body.removesuffix(b"\n").split(b"\n")
    names = tuple(match[2].decode("ascii") for match in map(_LISTED.fullmatch, lines) if match)
    if first != b"---" or len(names) != len(lines) or len(set(names)) != len(names):
        raise ProtocolError("answered list-tubes with something other than a list of different tube names")
    return names


def parse_server_id(body: bytes) -> str:
    """Return the id in a `stats` reply: random for each start of a beanstalkd. Raises ProtocolError."""
    ids = _ID.findall(body[:MAX_STATS])
    version = _VERSION.search(body[:MAX_STATS])
    if not ids and version:
        raise ProtocolError(f"sent stats with no id: beanstalkd {version[1].decode()} is too old: needs 1.9 or later")
    if len(ids) != 1:
        raise ProtocolError(f"sent stats with {'several ids' if ids else 'no id'}; check that this is a beanstalkd")
    return str(ids[0][1], "ascii")


def parse_stats(body: bytes) -> Mapping[str, str]:
    """Return the fields of a `stats` or `stats-job` reply, without those that come more than once."""
    fields = [(key.decode(), value.decode()) for key, _, value in _FIELD.findall(body[:MAX_STATS])]
    times = Counter(key for key, _ in fields)
    return {key: value for key, value in fields if times[key] == 1}


def parse_field(stats: Mapping[str, str], name: str) -> int | InvalidField:
    """Return a field of `parse_stats` that is an integer."""
    return parse_count(name.encode(), [stats[name].encode()] if name in stats else [])


def parse_draining(stats: Mapping[str, str]) -> bool | None:
    """Return True if a `stats` reply says that no job is accepted; None before beanstalkd 1.12, which doesn't say."""
    return {"true": True, "false": False}.get(stats.get("draining", ""))


def parse_job_totals(stats: Mapping[str, str], answered_at: Instant) -> JobTotals:
    """Return what a `stats` reply says of the jobs in all tubes together."""
    counts = (parse_field(stats, name) for name in _TOTALS)
    return JobTotals._make((answered_at, *(count if isinstance(count, int) else None for count in counts)))


class Reply(NamedTuple):
    """One reply. Sizes are in bytes."""

    word: bytes
    """The first word: b"OK", b"FOUND", b"NOT_FOUND", b"USING", …"""
    arguments: tuple[bytes, ...] = ()
    """The other words of the line, without the body's size."""
    size: int = 0
    """Of the announced body."""
    body: bytes | None = None
    """None if the reply has no body, or one larger than `max_body`."""

    @property
    def line(self) -> str:
        """The beginning of the first line, as errors show it."""
        return b" ".join((self.word, *self.arguments))[:80].decode("ascii", "backslashreplace")


NOT_FOUND = Reply(b"NOT_FOUND")
"""The reply to a command about a tube or job that doesn't exist; the parser returns this object."""


def body_of(reply: Reply) -> bytes | None:
    """Return the body of an OK reply, or None for NOT_FOUND. Raises ProtocolError for any other reply."""
    if reply is NOT_FOUND:
        return None
    if reply.word != b"OK":
        raise ProtocolError(f"answered {reply.line!r} instead of OK", names_tube=True)
    return reply.body


class ReplyParser:
    """Splits a stream of bytes into replies; fails as soon as the bytes can't be one."""

    def __init__(self) -> None:
        self.max_body = MAX_BODY
        """Bytes: a larger body of a stats reply is an error; before a larger job, the reply comes without its body, and
        nothing after it can be read."""
        self._received = bytearray()
        self._read = 0

    def feed(self, received: bytes) -> None:
        """Add what came from the socket."""
        del self._received[: self._read]
        self._read = 0
        self._received += received

    def next(self) -> Reply | None:
        """Return the next reply, or None until it is complete. Raises ProtocolError."""
        end = self._received.find(b"\r\n", self._read, self._read + MAX_LINE)
        if end < 0:
            if len(self._received) - self._read >= MAX_LINE:
                raise ProtocolError("sent a first line that doesn't end; check that this is a beanstalkd")
            return None
        line = bytes(self._received[self._read : end])
        word, blank, rest = line.partition(b" ")
        arguments = rest.split(b" ") if blank else []
        if word not in _WITH_BODY:
            self._read = end + 2
            return NOT_FOUND if line == NOT_FOUND.word else Reply(word, tuple(arguments))
        size_text = arguments.pop() if arguments else b""
        if not size_text.isdigit() or len(size_text) > _MAX_SIZE_DIGITS:
            raise ProtocolError(f"answered {Reply(line).line!r}, without a size", names_tube=True)
        start, size = end + 2, int(size_text)
        if size > self.max_body:
            if word == b"OK":
                raise ProtocolError(f"announced a body of {size:,} bytes; the limit is {self.max_body:,}")
            self._read = start
            return Reply(word, tuple(arguments), size)
        body_end = start + size
        if len(self._received) < body_end + 2:
            return None
        if not self._received.startswith(b"\r\n", body_end):
            raise ProtocolError("sent a body that doesn't end where its size says")
        self._read = body_end + 2
        return Reply(word, tuple(arguments), size, bytes(self._received[start:body_end]))

    def rest(self) -> bytes:
        """Return the bytes that no reply has used: the beginning of a body that was too large."""
        return bytes(self._received[self._read :])
