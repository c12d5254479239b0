"""What reading needs of beanstalkd's protocol (its doc/protocol.txt), without I/O: bytes in, values out.

Three rules: an answer is taken whole or not at all; its name must be the one that was asked for; any doubt is a
ProtocolError, after which the connection must be dropped, because replies are told apart by their order alone.

beanstalkd's rule for tube names, checked before one goes into a command: a line break in it is a second command.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from app.clock import Instant
from app.settings import SettingError

_SHOWN = 60  # characters of a refused name: enough to know it by, too few to fill a screen
_TUBE_NAME = re.compile(r"(?!-)[A-Za-z0-9\-+/;.$_()]{1,200}")


class TubeNameError(SettingError):
    """A text that can't name a tube; `str()` is a sentence for the person who wrote it."""


def check_tube_name(name: str) -> str:
    """Return `name` if beanstalkd accepts it (doc/protocol.txt, "Tubes": 1 to 200 bytes). Raises TubeNameError."""
    if not is_tube_name(name):
        raise TubeNameError(
            f"{_shown(name)} can't name a tube: beanstalkd takes 1 to 200 of the characters"
            " A-Z a-z 0-9 - + / ; . $ _ ( ) and no '-' at the start"
        )
    return name


def is_tube_name(name: str) -> bool:
    """Whether beanstalkd accepts `name`."""
    return _TUBE_NAME.fullmatch(name) is not None


def _shown(name: str) -> str:
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}… ({len(name)} characters)"


STATS = b"stats\r\n"
LIST_TUBES = b"list-tubes\r\n"

MAX_LINE = 256
"""Bytes: beanstalkd's longest line without a body is far shorter."""
MAX_BODY = 1 << 24
"""Bytes: a list of 80,000 tubes with the longest names."""
MAX_STATS = 1 << 13
"""Bytes: an answer to `stats` or `stats-tube` has about 1,000."""
MOST_TUBES = 100_000
"""So many short names fit into MAX_BODY many times over, and each costs a hundred times its size here."""

_OK = re.compile(rb"OK (\d{1,8})")
_TUBE = rb'("?)((?!-)[A-Za-z0-9+/;.$_()-]{1,200})\1'  # quoted since 1.13
_NAME = re.compile(rb"---\nname: " + _TUBE + rb"\n")
_LISTED = re.compile(rb"- " + _TUBE)
# 19 digits: what has more is a counter that went below zero
_INTEGERS = re.compile(rb"^([a-z-]{1,40}): (0|-?[1-9]\d{0,18})$", re.MULTILINE)
_ID = re.compile(rb'^id: ("?)([0-9a-f]{1,64})\1$', re.MULTILINE)
_DRAINING = re.compile(rb"^draining: (true|false)$", re.MULTILINE)
_JOBS = re.compile(rb"^current-jobs-([a-z]{1,40}): (0|[1-9]\d{0,18})$", re.MULTILINE)
_TOTAL_JOBS = re.compile(rb"^total-jobs: (0|[1-9]\d{0,18})$", re.MULTILINE)
_HOSTNAME = re.compile(rb'^hostname: ("?)([A-Za-z0-9][A-Za-z0-9._-]{0,252})\1$', re.MULTILINE)

NOT_FOUND = None
"""The reply to a question about a tube that doesn't exist (any more)."""


class ProtocolError(Exception):
    """beanstalkd answered something that can't be trusted; the connection must be dropped."""


class TubeStats(NamedTuple):
    """One tube as `stats-tube` gave it: one atomic answer. Jobs and connections are counts, times whole seconds."""

    name: str
    answered_at: Instant
    current_jobs_urgent: int
    """Ready jobs of a priority below 1024: a subset of ready."""
    current_jobs_ready: int
    current_jobs_reserved: int
    current_jobs_delayed: int
    current_jobs_buried: int
    total_jobs: int
    """Counter; starts anew with the server and with the tube."""
    current_using: int
    current_watching: int
    current_waiting: int
    cmd_delete: int
    """Counter, like total_jobs."""
    cmd_pause_tube: int
    pause: int
    pause_time_left: int


class JobTotals(NamedTuple):
    """All jobs of one server by their state, as `stats` gave them: one atomic answer."""

    answered_at: Instant
    ready: int
    reserved: int
    delayed: int
    buried: int
    total_jobs: int | None = None
    """Counter of all that were ever put; None: not known."""

    @property
    def by_state(self) -> tuple[int, int, int, int]:
        """Jobs, in the order above."""
        return self.ready, self.reserved, self.delayed, self.buried


_JOB_STATES = JobTotals._fields[1:5]
_COUNTS = tuple(field.replace("_", "-").encode() for field in TubeStats._fields[2:])
_OTHER_LINES = 2  # the first, and the name
_PAUSE_TIMES = 2  # the last two may be negative: beanstalkd prints them signed
_pick_counts: Callable[[dict[bytes, bytes]], tuple[bytes, ...]] = itemgetter(*_COUNTS)


def stats_tube(tube: str) -> bytes:
    """The command that asks for one tube; the name must have passed `check_tube_name`."""
    return b"stats-tube %b\r\n" % tube.encode("ascii")


def parse_tube(body: bytes, asked: str, answered_at: Instant) -> TubeStats:
    """Read the body of a `stats-tube` answer. Raises ProtocolError: another tube's, a field missing or no integer."""
    if len(body) > MAX_STATS:
        raise ProtocolError(f"the answer about tube {asked!r} has {len(body):,} bytes; at most {MAX_STATS:,} are read")
    name = _NAME.match(body)
    if name is None or name[2] != asked.encode("ascii"):
        answered = name[2].decode() if name else "nothing"
        raise ProtocolError(f"asked for tube {asked!r} but the answer names {answered!r}")
    integers = _INTEGERS.findall(body, name.end())
    fields = dict(integers)
    if len(fields) != len(integers) or body.count(b"\n") != len(integers) + _OTHER_LINES:
        _check_that_no_field_comes_twice(body, asked)
    try:
        counts = tuple(map(int, _pick_counts(fields)))
    except KeyError as missing:
        field = missing.args[0].decode()
        raise ProtocolError(f"the answer about tube {asked!r} has no integer {field!r}") from None
    if min(counts[:-_PAUSE_TIMES]) < 0:
        raise ProtocolError(f"the answer about tube {asked!r} counts below zero")
    return TubeStats._make((asked, answered_at, *counts))


def _check_that_no_field_comes_twice(body: bytes, asked: str) -> None:
    seen: set[bytes] = set()
    for line in body.split(b"\n"):
        field = line.partition(b":")[0]
        if field in seen:
            raise ProtocolError(
                f"the answer about tube {asked!r} has {field.decode('ascii', 'backslashreplace')!r} twice"
            )
        seen.add(field)


def parse_tube_names(body: bytes) -> tuple[str, ...]:
    """Read the body of a `list-tubes` answer, in beanstalkd's order. Raises ProtocolError."""
    if body.count(b"\n") > MOST_TUBES:
        raise ProtocolError(f"listed more than {MOST_TUBES:,} tubes")
    first, *lines = body.removesuffix(b"\n").split(b"\n")
    names = tuple(match[2].decode("ascii") for match in map(_LISTED.fullmatch, lines) if match)
    if first != b"---" or len(names) != len(lines) or len(set(names)) != len(names):
        raise ProtocolError("the answer to list-tubes isn't a list of different tube names")
    return names


def parse_server_id(body: bytes) -> str:
    """The id in a `stats` answer: random for each start of a beanstalkd. Raises ProtocolError."""
    ids = _ID.findall(body[:MAX_STATS])
    if len(ids) != 1:
        raise ProtocolError(f"the answer to stats has {'no id' if not ids else 'several ids'}; is this a beanstalkd?")
    return str(ids[0][1], "ascii")


def parse_draining(body: bytes) -> bool | None:
    """Whether a `stats` answer says that no job is taken any more; None before beanstalkd 1.12, which doesn't say."""
    said = _DRAINING.search(body[:MAX_STATS])
    return said[1] == b"true" if said else None


def parse_job_totals(body: bytes, answered_at: Instant) -> JobTotals | None:
    """How many jobs a server has, in all tubes together; None where a `stats` answer doesn't say it in one way."""
    told = _JOBS.findall(body[:MAX_STATS])
    counts = {state.decode(): int(count) for state, count in told}
    if len(counts) != len(told) or not counts.keys() >= {*_JOB_STATES}:
        return None
    total = _only(_TOTAL_JOBS.findall(body[:MAX_STATS]))
    total_jobs = None if total is None else int(total)
    return JobTotals._make((answered_at, *(counts[state] for state in _JOB_STATES), total_jobs))


def parse_hostname(body: bytes) -> str | None:
    """The name of the host, in Kubernetes the pod's, that a `stats` answer tells; None where it isn't one, or none."""
    told = _only(_HOSTNAME.findall(body[:MAX_STATS]))
    return None if told is None else str(told[1], "ascii")


def _only[T](found: Sequence[T]) -> T | None:
    return found[0] if len(found) == 1 else None


class Replies:
    """Splits a stream of bytes into replies; says no as soon as a reply can't be one."""

    def __init__(self) -> None:
        self.most_body = MAX_BODY
        """Bytes: what announces more isn't waited for."""
        self._received = bytearray()
        self._read = 0

    def feed(self, received: bytes) -> None:
        """Take what came from the socket."""
        del self._received[: self._read]
        self._read = 0
        self._received += received

    def next(self) -> tuple[bytes | None] | None:
        """The next reply as a one-tuple of its body or NOT_FOUND; None until it's whole. Raises ProtocolError."""
        end = self._received.find(b"\r\n", self._read, self._read + MAX_LINE)
        if end < 0:
            if len(self._received) - self._read >= MAX_LINE:
                raise ProtocolError("an answer's first line doesn't end; is this a beanstalkd?")
            return None
        line = bytes(self._received[self._read : end])
        if line == b"NOT_FOUND":
            self._read = end + 2
            return (NOT_FOUND,)
        return self._body(line, end + 2)

    def _body(self, line: bytes, start: int) -> tuple[bytes] | None:
        size = _OK.fullmatch(line)
        if size is None:
            raise ProtocolError(f"answered {line[:80].decode('ascii', 'backslashreplace')!r} instead of OK")
        end = start + int(size[1])
        if end - start > self.most_body:
            raise ProtocolError(f"announced a body of {end - start:,} bytes; at most {self.most_body:,} are read")
        if len(self._received) < end + 2:
            return None
        if self._received[end : end + 2] != b"\r\n":
            raise ProtocolError("an answer's body doesn't end where its length says")
        self._read = end + 2
        return (bytes(self._received[start:end]),)

    def __bool__(self) -> bool:
        """Whether bytes are left that no reply has used."""
        return self._read < len(self._received)
