"""The last hour in memory, and no more: each tube's jobs, five seconds apart. No I/O.

A tube has a track once it held a job, and until it has held none for an hour; without one it held 0 whenever its
server could be read. So ten thousand tubes take about 130 MB, and those that stay empty nothing.

Takes notice of what is read: every second of what happened, every few of how many jobs there are.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Reading, Snapshot, TubeRef
from app.clock import Instant
from app.metrics.built_in import STATES
from app.settings import Server

STEP_S = 5.0
POINTS = 720
SPARK_POINTS = 60
MOST_TRACKS = 10_000
_UNKNOWN = 0xFFFFFFFF
_MOST = _UNKNOWN - 1
_SLACK = 60
"""Points beyond an hour that are kept, so that not every sample moves the others."""
_TIDY_EVERY = 60
_NOTHING = (_UNKNOWN,) * len(STATES)
_NO_JOBS = (0,) * len(STATES)

type Numbers = list[int | None]
type Json = Mapping[str, Any]


class _Track:
    __slots__ = ("busy_turn", "numbers")

    def __init__(self) -> None:
        self.numbers = array("I")
        """The four states of each turn, one turn after the other; the last is the latest."""
        self.busy_turn = 0
        """The last turn at which there was a job."""

    def add(self, jobs: tuple[int, ...]) -> None:
        self.numbers.extend(jobs)
        if len(self.numbers) > (POINTS + _SLACK) * len(STATES):
            del self.numbers[: _SLACK * len(STATES)]

    def of(self, state: int, points: int) -> Sequence[int]:
        return self.numbers[-points * len(STATES) :][state :: len(STATES)]


class History:
    """Told every STEP_S, asked at any time."""

    def __init__(self, most_tracks: int = MOST_TRACKS) -> None:
        self.turn = 0
        """How many samples were taken."""
        self._most = most_tracks
        self._at_s = array("d")
        self._tracks: dict[TubeRef, _Track] = {}
        self._untracked: set[TubeRef] = set()
        """With jobs, and there are too many tracks."""
        self._read: dict[Server, bytearray] = {}
        """Whether each beanstalkd could be read, turn by turn."""

    def sample(self, snapshot: Snapshot, now: Instant, max_age_s: float) -> None:
        """Take what is known now; what isn't fresh isn't known."""
        self.turn += 1
        self._at_s.append(now.unix_s)
        _trim(self._at_s)
        readings = {state.server: state.fresh(now, max_age_s) for state in snapshot.servers}
        self._note_servers(readings)
        self._untracked.clear()
        for server, reading in readings.items():
            self._begin_tracks(server, reading)
        for where, track in self._tracks.items():
            track.add(self._jobs(where, track, readings.get(where.server)))
        if self.turn % _TIDY_EVERY == 0:
            self._tidy()

    def times(self, points: int = POINTS) -> list[float]:
        """Of the samples, oldest first; unix seconds."""
        return list(self._at_s[-points:])

    def series(self, where: TubeRef) -> Json:
        """`t`, and for each state how many jobs there were then; None: not known."""
        times = self.times()
        by_state = {state: self._numbers(where, position, len(times)) for position, state in enumerate(STATES)}
        return {"t": times, **by_state}

    def spark(self, where: TubeRef) -> Numbers:
        """Ready and reserved jobs of the last five minutes, oldest first."""
        points = min(SPARK_POINTS, len(self._at_s))
        pairs = zip(self._numbers(where, 0, points), self._numbers(where, 1, points), strict=True)
        return [None if ready is None or reserved is None else ready + reserved for ready, reserved in pairs]

    def _note_servers(self, readings: Mapping[Server, Reading | None]) -> None:
        for server in readings:
            self._read.setdefault(server, bytearray())
        for server, read in self._read.items():
            read.append(readings.get(server) is not None)
            _trim(read)

    def _begin_tracks(self, server: Server, reading: Reading | None) -> None:
        for stats in reading.tubes.values() if reading else ():
            if _jobs_of(stats) != _NO_JOBS and (where := TubeRef(server, stats.name)) not in self._tracks:
                if len(self._tracks) >= self._most:
                    self._untracked.add(where)
                else:
                    self._tracks[where] = _Track()

    def _jobs(self, where: TubeRef, track: _Track, reading: Reading | None) -> tuple[int, ...]:
        if reading is None:
            return _NOTHING
        stats = reading.tubes.get(where.tube)
        jobs = _jobs_of(stats) if stats else _NO_JOBS
        if jobs != _NO_JOBS:
            track.busy_turn = self.turn
            if max(jobs) > _MOST:
                return tuple(min(number, _MOST) for number in jobs)
        return jobs

    def _numbers(self, where: TubeRef, state: int, points: int) -> Numbers:
        track = self._tracks.get(where)
        if track is None and where in self._untracked:
            return [None] * points
        tracked: Sequence[int] = track.of(state, points) if track else ()
        return [
            *self._empty(where.server, points)[: points - len(tracked)],
            *(None if number == _UNKNOWN else number for number in tracked),
        ]

    def _empty(self, server: Server, points: int) -> Numbers:
        """Of a tube without jobs: 0 whenever its server could be read."""
        read = self._read.get(server, bytearray())[-points:]
        return [*[None] * (points - len(read)), *(0 if there else None for there in read)]

    def _tidy(self) -> None:
        quiet = [where for where, track in self._tracks.items() if self.turn - track.busy_turn > POINTS]
        for where in quiet:
            del self._tracks[where]
        for server in [server for server, read in self._read.items() if not any(read[-POINTS:])]:
            del self._read[server]

    def __len__(self) -> int:
        """How many tubes have a track."""
        return len(self._tracks)


class ReplicaTrack:
    """One autoscaler's last hour."""

    NAMES = ("t", "value", "target", "desired", "current")

    def __init__(self) -> None:
        self._columns = [array("d") for _ in self.NAMES]

    def add(self, at_s: float, *numbers: float | None) -> None:
        """One more point: unix seconds, then value, target, desired and current; None: not known."""
        for column, number in zip(self._columns, (at_s, *numbers), strict=True):
            column.append(math.nan if number is None else number)
            _trim(column)

    def series(self) -> Json:
        """By name, oldest first."""
        return {
            name: [None if math.isnan(number) else _plain(number) for number in column[-POINTS:]]
            for name, column in zip(self.NAMES, self._columns, strict=True)
        }


def _jobs_of(stats: TubeStats) -> tuple[int, ...]:
    return stats[3:7]  # ready, reserved, delayed, buried: ten thousand tubes, every five seconds


def _plain(number: float) -> float | int:
    return int(number) if number.is_integer() else round(number, 3)


def _trim(points: "array[float] | bytearray") -> None:
    if len(points) > POINTS + _SLACK:
        del points[:_SLACK]
