"""What the counters of one server's tubes were half a minute ago: a rate needs two readings of one life.

beanstalkd's counters start at 0 with the server and with each tube, and a tube's life ends with its last job and its
last connection. Where a new life may have begun, the counters start anew here too: at 0, and at the last moment at
which the tube is known not to have lived it yet. Pure: readings in, counters out.

One server's readings, each made from the one before: by a sweep over all tubes, or by a round of a few. Pure.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from app.beanstalkd.protocol import (
    JobTotals,
    TubeStats,
    parse_draining,
    parse_job_totals,
    parse_tube,
)
from app.beanstalkd.reading import Counts, NextJob, Reading
from app.clock import Instant

RATE_WINDOW_S = 30.0
"""Rates are over about so long: of the counters kept, those that are nearest to it count. Where sweeps are further
apart, rates are over longer."""
CHECKPOINT_S = 6.0
"""Between two moments of which counters are kept: each costs 24 bytes a tube, and there are six of them."""
LEAST_SPAN_S = 0.5
"""Two readings nearer to each other make no rate: a job put between them would be hundreds a second."""
_LISTINGS = 2
"""Kept however old they are: the last sweep's counters are the present ones, and those before it the earlier ones."""
_MONOTONIC = attrgetter("monotonic_s")


@dataclass(frozen=True, slots=True, eq=False)
class _Checkpoint:
    """The counters of some tubes at one moment, in little room."""

    at: Instant
    listed_at: Instant | None
    """None where only wanted tubes were read."""
    names: Sequence[str]
    """Sorted."""
    answered_at: Sequence[Instant]
    total_jobs: Sequence[int]
    cmd_delete: Sequence[int]

    def get(self, tube: str) -> Counts | None:
        position = bisect_left(self.names, tube)
        if position == len(self.names) or self.names[position] != tube:
            return None
        return Counts(self.answered_at[position], self.total_jobs[position], self.cmd_delete[position])


class Earlier(Mapping[str, Counts]):
    """Earlier counters of the tubes of one reading, found when they are asked for."""

    __slots__ = ("_births", "_checkpoints", "_tubes")

    def __init__(
        self, tubes: Mapping[str, TubeStats], checkpoints: Sequence[_Checkpoint], births: Mapping[str, Counts]
    ) -> None:
        self._tubes = tubes
        self._checkpoints = checkpoints
        self._births = births

    def __getitem__(self, tube: str) -> Counts:
        """Those nearest to the window. Raises KeyError where there are none yet."""
        now = self._tubes[tube].answered_at
        nearest = _nearest(((counts.answered_at, counts) for counts in self._of_this_life(tube)), now)
        if nearest is None:
            raise KeyError(tube)
        return nearest

    def _of_this_life(self, tube: str) -> Iterator[Counts]:
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
    """Told of each reading of one life of one server, in order: first `follow`, then `keep`."""

    def __init__(self) -> None:
        self._checkpoints: tuple[_Checkpoint, ...] = ()
        self._births: Mapping[str, Counts] = MappingProxyType({})

    def follow(self, before: Reading, answered: Mapping[str, TubeStats]) -> None:
        """Note which of the tubes that answered began a new life since the reading before."""
        begun = dict(_births(before, answered))
        if begun:
            self._births = {**self._births, **begun}

    def earlier(self, tubes: Mapping[str, TubeStats]) -> Mapping[str, Counts]:
        """Of the tubes of a reading that was followed and isn't kept yet."""
        return Earlier(tubes, self._checkpoints, self._births)

    def listed_earlier_at(self, listed_at: Instant) -> Instant | None:
        """The listing kept that is nearest to the window."""
        return _nearest(((kept.listed_at, kept.listed_at) for kept in self._checkpoints if kept.listed_at), listed_at)

    def keep(self, reading: Reading, wanted: Iterable[str] | None, now: Instant) -> None:
        """Keep these counters, where it's time, and forget what no rate needs. `wanted`: only theirs are new."""
        alike = [kept.at for kept in self._checkpoints if wanted is not None or kept.listed_at]
        if not alike or alike[-1].age_s(now) >= CHECKPOINT_S:
            self._forget(now)
            self._checkpoints = (*self._checkpoints, _checkpoint(reading, wanted, now))

    def _forget(self, now: Instant) -> None:
        listings = [kept for kept in self._checkpoints if kept.listed_at]
        self._checkpoints = tuple(
            kept
            for kept in self._checkpoints
            if kept in listings[-_LISTINGS:] or kept.at.age_s(now) <= RATE_WINDOW_S + CHECKPOINT_S
        )
        oldest = min((kept.listed_at or kept.at for kept in self._checkpoints), key=_MONOTONIC, default=now)
        self._births = {
            name: birth
            for name, birth in self._births.items()
            if birth.answered_at.monotonic_s >= oldest.monotonic_s or birth.answered_at.age_s(now) <= RATE_WINDOW_S
        }


def _births(before: Reading, answered: Mapping[str, TubeStats]) -> Iterator[tuple[str, Counts]]:
    last_of = before.tubes.get
    for name, stats in answered.items():
        last = last_of(name)
        if last is None:
            yield name, Counts(before.answered_at(name), 0, 0)
        elif stats.total_jobs < last.total_jobs or stats.cmd_delete < last.cmd_delete:
            yield name, Counts(last.answered_at, 0, 0)


def _checkpoint(reading: Reading, wanted: Iterable[str] | None, now: Instant) -> _Checkpoint:
    names = reading.names if wanted is None else tuple(sorted({name for name in wanted if name in reading.tubes}))
    stats = [reading.tubes[name] for name in names]
    return _Checkpoint(
        now,
        reading.listed_at if wanted is None else None,
        names,
        tuple(one.answered_at for one in stats),
        array("Q", [one.total_jobs for one in stats]),  # unsigned: an answer's 19 digits go beyond the signed ones
        array("Q", [one.cmd_delete for one in stats]),
    )


def _nearest[T](candidates: Iterable[tuple[Instant, T]], now: Instant) -> T | None:
    """To the window, of those that are far enough back; they come from the oldest on."""
    nearest, off_s = None, inf
    for instant, candidate in candidates:
        age_s = instant.age_s(now)
        if age_s < LEAST_SPAN_S or off_s <= abs(age_s - RATE_WINDOW_S):
            break
        nearest, off_s = candidate, abs(age_s - RATE_WINDOW_S)
    return nearest


_DEFAULT = "default"


class TubeReplies:
    """Replies to `stats-tube`; of two about one tube the later one counts."""

    def __init__(self) -> None:
        self.tubes: dict[str, TubeStats] = {}
        self.missed: dict[str, Instant] = {}

    def take(self, replies: Iterable[tuple[bytes | None, str]], answered_at: Instant, own_connections: int) -> None:
        """Parse pairs of a body (None: no such tube) and the tube that it is about. Raises ProtocolError.

        `own_connections` is subtracted from the connections of tube `default`.
        """
        tubes, missed = self.tubes, self.missed
        for body, tube in replies:
            if body is None:
                missed[tube] = answered_at
                tubes.pop(tube, None)
                continue
            stats = parse_tube(body, tube, answered_at)
            if tube == _DEFAULT:  # new connections use and watch `default`: don't count beanscale's own as workers
                stats = stats._replace(
                    current_using=max(0, stats.current_using - own_connections),
                    current_watching=max(0, stats.current_watching - own_connections),
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
