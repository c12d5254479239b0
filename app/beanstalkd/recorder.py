"""Readings of one server, each made from the one before, and the earlier counters that rates need. Pure.

A rate needs two readings of one generation of a counter. beanstalkd's counters start at 0 with the server and with each
tube, and a tube ends with its last job and its last connection. Where a new generation may have begun, the earlier
counters here start at 0 too, at the last moment at which the tube is known not to have existed in that generation.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from app.beanstalkd.protocol import JobTotals, TubeStats, parse_draining, parse_job_totals, parse_tube
from app.beanstalkd.reading import Counts, NextJob, Reading
from app.clock import MONOTONIC, Instant

RATE_WINDOW_S = 30.0
"""Approximate window of rates: of the counters kept, the nearest to it are used. Longer if sweeps are further apart."""
CHECKPOINT_S = 6.0
"""Seconds between two checkpoints: each takes 24 bytes per tube, and there are six of them."""
MIN_WINDOW_S = 0.5
"""Two readings nearer to each other make no rate: a job put between them would count as hundreds per second."""
_LISTINGS = 2
"""Checkpoints of listings that are kept at any age: the last has the present counters, the one before the earlier."""


@dataclass(frozen=True, slots=True, eq=False)
class _Checkpoint:
    """The counters of some tubes at one moment, in compact form."""

    at: Instant
    listed_at: Instant | None
    """None if only requested tubes were read."""
    names: Sequence[str]
    """Sorted."""
    answered_at: Sequence[Instant]
    total_jobs: Sequence[int]
    cmd_delete: Sequence[int]

    @classmethod
    def of(cls, reading: Reading, renewed: Iterable[str] | None, now: Instant) -> "_Checkpoint":
        """Take all tubes, or only the renewed ones."""
        exists = reading.tubes.__contains__
        names = reading.names if renewed is None else tuple(sorted(filter(exists, set(renewed))))
        stats = [reading.tubes[name] for name in names]
        return cls(
            now,
            reading.listed_at if renewed is None else None,
            names,
            tuple(one.answered_at for one in stats),
            array("Q", [one.total_jobs for one in stats]),  # unsigned: 19 digits exceed the signed range
            array("Q", [one.cmd_delete for one in stats]),
        )

    def get(self, tube: str) -> Counts | None:
        position = bisect_left(self.names, tube)
        if position == len(self.names) or self.names[position] != tube:
            return None
        return Counts(self.answered_at[position], self.total_jobs[position], self.cmd_delete[position])


class Earlier(Mapping[str, Counts]):
    """Earlier counters of the tubes of one reading, found on access."""

    __slots__ = ("_births", "_checkpoints", "_tubes")

    def __init__(
        self, tubes: Mapping[str, TubeStats], checkpoints: Sequence[_Checkpoint], births: Mapping[str, Counts]
    ) -> None:
        self._tubes = tubes
        self._checkpoints = checkpoints
        self._births = births

    def __getitem__(self, tube: str) -> Counts:
        """Return those nearest to the window. Raises KeyError if there are none yet."""
        now = self._tubes[tube].answered_at
        nearest = _nearest(((counts.answered_at, counts) for counts in self._generation(tube)), now)
        if nearest is None:
            raise KeyError(tube)
        return nearest

    def _generation(self, tube: str) -> Iterator[Counts]:
        """Yield the known counters of the tube's present generation, the oldest first."""
        birth = self._births.get(tube)
        if birth:
            yield birth
        for checkpoint in self._checkpoints:
            counts = checkpoint.get(tube)
            if counts and (birth is None or birth.answered_at.monotonic_s < counts.answered_at.monotonic_s):
                yield counts

    def __iter__(self) -> Iterator[str]:
        return (tube for tube in self._tubes if tube in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Counters:
    """Earlier counters of one server start: for each reading in order call `follow`, then `keep`."""

    def __init__(self) -> None:
        self._checkpoints: tuple[_Checkpoint, ...] = ()
        self._births: Mapping[str, Counts] = MappingProxyType({})

    def follow(self, before: Reading, answered: Mapping[str, TubeStats]) -> None:
        """Note which of the tubes that answered began a new generation since the reading before."""
        begun = {}
        last_of = before.tubes.get
        for name, stats in answered.items():
            last = last_of(name)
            if last is None:
                begun[name] = Counts(before.answered_at(name), 0, 0)
            elif stats.total_jobs < last.total_jobs or stats.cmd_delete < last.cmd_delete:
                begun[name] = Counts(last.answered_at, 0, 0)
        if begun:
            self._births = {**self._births, **begun}

    def earlier(self, tubes: Mapping[str, TubeStats]) -> Mapping[str, Counts]:
        """Return the earlier counters of a reading that was followed and isn't kept yet."""
        return Earlier(tubes, self._checkpoints, self._births)

    def listed_earlier_at(self, listed_at: Instant) -> Instant | None:
        """Return the time of the kept listing that is nearest to the window."""
        return _nearest(((kept.listed_at, kept.listed_at) for kept in self._checkpoints if kept.listed_at), listed_at)

    def keep(self, reading: Reading, renewed: Iterable[str] | None, now: Instant) -> None:
        """Keep these counters, of all tubes or of the renewed ones, if it is time, and forget what no rate needs."""
        alike = [kept.at for kept in self._checkpoints if renewed is not None or kept.listed_at]
        if alike and alike[-1].age_s(now) < CHECKPOINT_S:
            return
        listings = [kept for kept in self._checkpoints if kept.listed_at][-_LISTINGS:]
        checkpoints = [
            kept for kept in self._checkpoints if kept in listings or kept.at.age_s(now) <= RATE_WINDOW_S + CHECKPOINT_S
        ]
        oldest = min((kept.listed_at or kept.at for kept in checkpoints), key=MONOTONIC, default=now)
        self._births = {
            name: birth
            for name, birth in self._births.items()
            if birth.answered_at.monotonic_s >= oldest.monotonic_s or birth.answered_at.age_s(now) <= RATE_WINDOW_S
        }
        self._checkpoints = (*checkpoints, _Checkpoint.of(reading, renewed, now))


def _nearest[T](candidates: Iterable[tuple[Instant, T]], now: Instant) -> T | None:
    """Return the candidate nearest to the window among those far enough back; the oldest comes first."""
    nearest, off_s = None, inf
    for instant, candidate in candidates:
        age_s = instant.age_s(now)
        if age_s < MIN_WINDOW_S or off_s <= abs(age_s - RATE_WINDOW_S):
            break
        nearest, off_s = candidate, abs(age_s - RATE_WINDOW_S)
    return nearest


_DEFAULT = "default"


class TubeReplies:
    """Replies to `stats-tube`; of two about one tube the later one counts."""

    def __init__(self, before: Mapping[str, TubeStats] = MappingProxyType({})) -> None:
        """`before`: earlier replies. Most tubes answer as before, and comparing is ten times as fast as parsing."""
        self._before = before
        self.tubes: dict[str, TubeStats] = {}
        self.missed: dict[str, Instant] = {}

    def take(self, replies: Iterable[tuple[bytes | None, str]], answered_at: Instant, own_connections: int) -> None:
        """Parse pairs of a body (None: no such tube) and the tube that it is about. Raises ProtocolError.

        `own_connections` is subtracted from the connections of tube `default`.
        """
        tubes, missed, before = self.tubes, self.missed, self._before.get
        for body, tube in replies:
            if body is None:
                missed[tube] = answered_at
                tubes.pop(tube, None)
                continue
            last = before(tube)
            if last is not None and last.body == body:
                stats = TubeStats._make((tube, answered_at, *last[2:]))
            else:
                stats = parse_tube(body, tube, answered_at)
            if tube == _DEFAULT:  # new connections use and watch `default`: don't count beanscale's own as workers
                stats = stats._replace(
                    current_using=max(0, stats.current_using - own_connections),
                    current_watching=max(0, stats.current_watching - own_connections),
                    body=b"",  # the same reply means something else once the number of own connections changes
                )
            tubes[tube] = stats
            if missed:
                missed.pop(tube, None)

    def update(self, later: "TubeReplies") -> None:
        """Add later replies."""
        for tube in later.missed:
            self.tubes.pop(tube, None)
        for tube in later.tubes:
            self.missed.pop(tube, None)
        self.tubes.update(later.tubes)
        self.missed.update(later.missed)


class _ServerStats(NamedTuple):
    """From the last `stats` of one server start."""

    server_id: str | None = None
    draining: bool | None = None
    jobs: JobTotals | None = None


class Recorder:
    """Turns replies into readings of one server, over restarts and outages."""

    def __init__(self) -> None:
        self.latest: Reading | None = None
        """None also if it says nothing about what comes next."""
        self._stats = _ServerStats()
        self._counters = Counters()
        self._recorded_at: Instant | None = None

    def resume(self, now: Instant) -> None:
        """Begin, or begin again after an outage: what was known before a long one makes no rates."""
        if self._recorded_at is None or self._recorded_at.age_s(now) > RATE_WINDOW_S:
            self.latest = None

    def record_stats(self, server_id: str, stats: bytes, now: Instant) -> None:
        """Keep a `stats` reply for the next readings of this server start."""
        self._stats = _ServerStats(server_id, parse_draining(stats), parse_job_totals(stats, now))

    def record_sweep(
        self, server_id: str, listed_at: Instant, replies: TubeReplies, now: Instant, sweep_s: float
    ) -> Reading:
        """Return a reading of all tubes of a listing. Keeps `replies`."""
        before = self.latest if self.latest and self.latest.server_id == server_id else None
        swept = Reading.of(server_id, listed_at, replies.tubes, before)
        if before is None:
            self._counters = Counters()
        else:
            self._counters.follow(before, replies.tubes)
            swept = replace(swept, next_jobs=before.next_jobs)
        return self._record(replace(swept, missed=MappingProxyType(replies.missed), sweep_s=sweep_s), None, now)

    def record_round(self, replies: TubeReplies, now: Instant) -> Reading:
        """Return the latest reading with some of its tubes renewed. Raises ValueError if there is none."""
        before = self._latest()
        self._counters.follow(before, replies.tubes)
        tubes = {**before.tubes, **replies.tubes}
        for tube in replies.missed:
            tubes.pop(tube, None)
        missed = {tube: at for tube, at in before.missed.items() if tube not in replies.tubes} | replies.missed
        renewed = replace(
            Reading.of(before.server_id, before.listed_at, tubes, before),
            missed=MappingProxyType(missed),
            next_jobs=before.next_jobs,
            sweep_s=before.sweep_s,
        )
        return self._record(renewed, replies.tubes, now)

    def record_next_jobs(self, next_jobs: Mapping[str, NextJob]) -> Reading:
        """Return the latest reading with these next jobs. Raises ValueError if there is none."""
        self.latest = replace(self._latest(), next_jobs=MappingProxyType(next_jobs))
        return self.latest

    def _latest(self) -> Reading:
        if self.latest is None:
            raise ValueError("no sweep came first")
        return self.latest

    def _record(self, reading: Reading, renewed: Iterable[str] | None, now: Instant) -> Reading:
        stats = self._stats if self._stats.server_id == reading.server_id else _ServerStats()
        self.latest = replace(
            reading,
            earlier=self._counters.earlier(reading.tubes),
            listed_earlier_at=self._counters.listed_earlier_at(reading.listed_at),
            draining=stats.draining,
            jobs=stats.jobs,
        )
        self._counters.keep(self.latest, renewed, now)
        self._recorded_at = now
        return self.latest
