"""The last hour, in memory: each tube's jobs every five seconds, tubes that are gone, and what is recorded of readings.

A tube has a track from its first job until it has held none for an hour; without a track it held 0 jobs whenever its
server could be read. So ten thousand tubes take about 130 MB, and those that stay empty take none.
"""

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from app.beanstalkd.poller import Poller
from app.beanstalkd.protocol import InvalidFieldError, TubeStats
from app.beanstalkd.reading import Reading, Snapshot, TubeRef
from app.clock import Instant
from app.console.events import EventLog, of_servers
from app.console.health import is_late, late_servers
from app.metrics.built_in import STATES
from app.settings import Server

STEP_S = 5.0
POINTS = 720
SPARK_POINTS = 60
MAX_TRACKS = 10_000
MAX_PAST = 10_000
"""Past tubes of one server; one more forgets the one that went first."""
RECORD_EVERY_S = 1.0
CHECK_EVERY_S = 0.1
"""Seconds after which a server that can't be read any more, or again, is noticed."""
_UNKNOWN = 0xFFFFFFFF
_MAX = _UNKNOWN - 1
_SLACK = 60
"""Points kept beyond an hour, so that not every sample moves the others."""
_TIDY_EVERY = 60
_NOTHING = (_UNKNOWN,) * len(STATES)
_NO_JOBS = (0,) * len(STATES)

type Numbers = list[int | None]
type Json = Mapping[str, Any]

_FIELDS = tuple(f"current_jobs_{state}" for state in STATES)
_valid_jobs_of: Callable[[TubeStats], tuple[int, ...]] = attrgetter(*_FIELDS)


def _jobs_of(stats: TubeStats) -> tuple[int, ...]:
    """Return the jobs in each of STATES; _UNKNOWN where a field is invalid."""
    try:
        jobs = _valid_jobs_of(stats)
    except InvalidFieldError:
        fields = stats._asdict()
        numbers = (fields[field] for field in _FIELDS)
        jobs = tuple(number if isinstance(number, int) else _UNKNOWN for number in numbers)
    return jobs


class _Track:
    __slots__ = ("busy_turn", "numbers")

    def __init__(self) -> None:
        self.numbers = array("I")
        """The jobs in each of STATES, sample after sample."""
        self.busy_turn = 0
        """The last sample with a job."""

    def add(self, jobs: tuple[int, ...]) -> None:
        self.numbers.extend(jobs)
        if len(self.numbers) > (POINTS + _SLACK) * len(STATES):
            del self.numbers[: _SLACK * len(STATES)]

    def of(self, state: int, points: int) -> Sequence[int]:
        return self.numbers[-points * len(STATES) :][state :: len(STATES)]


class History:
    """Samples of all tubes, STEP_S apart."""

    def __init__(self, max_tracks: int = MAX_TRACKS) -> None:
        self.turn = 0
        """Number of samples taken."""
        self._max_tracks = max_tracks
        self._at_s = array("d")
        self._tracks: dict[TubeRef, _Track] = {}
        self._untracked: set[TubeRef] = set()
        """Tubes with jobs beyond the limit of tracks."""
        self._read: dict[Server, bytearray] = {}
        """Whether each server could be read, sample by sample."""

    def sample(self, snapshot: Snapshot, now: Instant, max_age_s: float) -> None:
        """Record a sample; while a server is late, or its reading older than `max_age_s` seconds, it is unknown."""
        self.turn += 1
        self._at_s.append(now.unix_s)
        _trim(self._at_s)
        readings = {
            state.server: None if is_late(state, now) else state.fresh(now, max_age_s) for state in snapshot.servers
        }
        for server in readings.keys() - self._read.keys():
            self._read[server] = bytearray()
        for server, read in self._read.items():
            read.append(readings.get(server) is not None)
            _trim(read)
        self._untracked.clear()
        for server, reading in readings.items():
            self._start_tracks(server, reading)
        for tube, track in self._tracks.items():
            reading = readings.get(tube.server)
            stats = reading.tubes.get(tube.tube) if reading else None
            jobs = _NOTHING if reading is None else _jobs_of(stats) if stats else _NO_JOBS
            if stats and jobs != _NO_JOBS:
                track.busy_turn = self.turn
                if max(jobs) > _MAX:
                    jobs = tuple(number if number == _UNKNOWN else min(number, _MAX) for number in jobs)
            track.add(jobs)
        if self.turn % _TIDY_EVERY == 0:
            for tube in [tube for tube, track in self._tracks.items() if self.turn - track.busy_turn > POINTS]:
                del self._tracks[tube]
            for server in [server for server, read in self._read.items() if not any(read[-POINTS:])]:
                del self._read[server]

    def _start_tracks(self, server: Server, reading: Reading | None) -> None:
        for stats in reading.tubes.values() if reading else ():
            if _jobs_of(stats) != _NO_JOBS and (tube := TubeRef(server, stats.name)) not in self._tracks:
                if len(self._tracks) < self._max_tracks:
                    self._tracks[tube] = _Track()
                else:
                    self._untracked.add(tube)

    def series(self, tube: TubeRef) -> Json:
        """Return `t`, Unix seconds, oldest first, and for each state the jobs at those times; None if unknown."""
        times = list(self._at_s[-POINTS:])
        by_state = {state: self._numbers(tube, position, len(times)) for position, state in enumerate(STATES)}
        return {"t": times, **by_state}

    def spark(self, tube: TubeRef) -> Numbers:
        """Return the ready and reserved jobs of the last five minutes, oldest first."""
        points = min(SPARK_POINTS, len(self._at_s))
        pairs = zip(self._numbers(tube, 0, points), self._numbers(tube, 1, points), strict=True)
        return [None if ready is None or reserved is None else ready + reserved for ready, reserved in pairs]

    def _numbers(self, tube: TubeRef, state: int, points: int) -> Numbers:
        track = self._tracks.get(tube)
        if track is None and tube in self._untracked:
            return [None] * points
        tracked: Sequence[int] = track.of(state, points) if track else ()
        read = self._read.get(tube.server, bytearray())[-points:]
        empty: Numbers = [*[None] * (points - len(read)), *(0 if known else None for known in read)]
        return [
            *empty[: points - len(tracked)],
            *(None if number == _UNKNOWN else number for number in tracked),
        ]

    def __len__(self) -> int:
        """Return the number of tubes with a track."""
        return len(self._tracks)


class PastTubes:
    """Tubes that existed and are gone: beanstalkd forgets an empty tube that no client uses, people don't."""

    def __init__(self, limit: int = MAX_PAST) -> None:
        self._limit = limit
        self._names: dict[Server, Sequence[str]] = {}
        self._listed_s: dict[Server, float] = {}
        self._past: dict[Server, dict[str, float]] = {}

    def sample(self, snapshot: Snapshot) -> None:
        """Record which tubes exist."""
        for state in snapshot.servers:
            server, reading = state.server, state.reading
            if reading is None:
                continue
            before_s = self._listed_s.get(server, reading.listed_at.unix_s)
            self._listed_s[server] = reading.listed_at.unix_s
            if self._names.get(server) is reading.names:
                continue
            past, names = self._past.setdefault(server, {}), set(reading.names)
            for name in self._names.get(server, ()):
                if name not in names:
                    past[name] = before_s
            for name in names & past.keys():
                del past[name]
            while len(past) > self._limit:
                del past[next(iter(past))]
            self._names[server] = reading.names

    def of(self, server: Server) -> Mapping[str, float]:
        """Return tube → the Unix seconds of the last reply that listed it."""
        return self._past.get(server, {})


class ReplicaTrack:
    """One autoscaler's last hour."""

    NAMES = ("t", "value", "target", "desired", "current")

    def __init__(self) -> None:
        self._columns = [array("d") for _ in self.NAMES]

    def add(self, at_s: float, *numbers: float | None) -> None:
        """Add a point: Unix seconds, then value, target, desired and current; None: unknown."""
        for column, number in zip(self._columns, (at_s, *numbers), strict=True):
            column.append(math.nan if number is None else number)
            _trim(column)

    def series(self) -> Json:
        """Return the columns by name, oldest first."""
        return {
            name: [
                None if math.isnan(number) else int(number) if number.is_integer() else round(number, 3)
                for number in column[-POINTS:]
            ]
            for name, column in zip(self.NAMES, self._columns, strict=True)
        }


def _trim(points: "array[float] | bytearray") -> None:
    if len(points) > POINTS + _SLACK:
        del points[:_SLACK]


@dataclass(eq=False)
class Recorder:
    """Records readings in history, events and past tubes, in the pages' thread, while `run` runs."""

    poller: Poller
    max_age_s: float
    clock: Callable[[], Instant]
    thread: Executor
    history: History = field(default_factory=History, init=False)
    events: EventLog = field(default_factory=EventLog, init=False)
    past: PastTubes = field(default_factory=PastTubes, init=False)

    async def run(self) -> AsyncIterator[None]:
        """Record every second, forever; yield after each record of a server that became late, or no longer is."""
        before, sampled_s = self.poller.snapshot, -STEP_S

        def record() -> None:
            nonlocal before, sampled_s
            now, snapshot = self.clock(), self.poller.snapshot
            self.events.notice(of_servers(before, snapshot, now.unix_s))
            self.past.sample(snapshot)
            if now.monotonic_s - sampled_s >= STEP_S - RECORD_EVERY_S / 2:
                self.history.sample(snapshot, now, self.max_age_s)
                sampled_s = now.monotonic_s
            before = snapshot

        recorded: Sequence[bool] | None = None
        due_s = 0.0
        while True:
            now = self.clock()
            late = late_servers(self.poller.snapshot, now)
            if late != recorded or now.monotonic_s >= due_s:
                await asyncio.get_running_loop().run_in_executor(self.thread, record)
                due_s = now.monotonic_s + RECORD_EVERY_S
                if late != recorded:
                    recorded = late
                    yield
            await asyncio.sleep(CHECK_EVERY_S)
