"""Readings of one server, each made from the one before, and what is known from several of them. Pure.

A rate needs two readings. beanstalkd's counters start at 0 with the server and with each tube, and a tube ends with its
last job and its last connection. A rate doesn't depend on that. A tube that doesn't exist counts as 0; one that is
created again, also by a restart of the server, continues the counters with which it ended. What is put and deleted in a
tube that begins and ends between two readings isn't seen.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from app.beanstalkd.protocol import (
    InvalidFieldError,
    JobTotals,
    TubeStats,
    parse_draining,
    parse_field,
    parse_job_totals,
    parse_stats,
    parse_tube,
)
from app.beanstalkd.reading import TIMEOUTS_S, Counts, NextJob, Reading
from app.clock import MONOTONIC, Instant

RATE_WINDOW_S = 30.0
"""Approximate window of rates: of the counters kept, the nearest to it are used. Longer if sweeps are further apart."""
CHECKPOINT_S = 6.0
"""Seconds between two checkpoints: each takes 24 bytes per tube, and there are six of them."""
MIN_WINDOW_S = 10.0
"""Two readings nearer to each other make no rate: a burst between them would count as a rate that lasts."""
MIN_TIMEOUTS_S = 10.0
"""One timeout in a shorter window would be a high rate."""
_LISTINGS = 2
"""Checkpoints of listings that are kept at any age: the last has the present counters, the one before the earlier."""

_DEFAULT = "default"
_RETURNS = ("cmd-release", "cmd-bury", "job-timeouts")
"""Counters of jobs that workers took and didn't delete. beanstalkd has them only for all tubes together."""
_UNKNOWN = (1 << 64) - 1
"""A counter without a valid number, where counters are kept in compact form."""


def _counts(stats: TubeStats) -> Counts:
    """Return the counters of a reply, also if they are invalid."""
    counters: list[int | None] = []
    for counter in ("total_jobs", "cmd_delete"):
        try:
            counters.append(getattr(stats, counter))
        except InvalidFieldError:
            counters.append(None)
    return Counts(stats.answered_at, *counters)


@dataclass(frozen=True, slots=True, eq=False)
class _Checkpoint:
    """The counters of some tubes at one moment, in compact form."""

    at: Instant
    since: Instant
    """When reading began: no reply is older."""
    listed_at: Instant | None
    """None if only requested tubes were read."""
    missed: Mapping[str, Instant]
    """Tubes that were asked about and didn't exist, with the time of the reply."""
    names: Sequence[str]
    """Sorted."""
    answered_at: Sequence[Instant]
    total_jobs: Sequence[int]
    cmd_delete: Sequence[int]

    @classmethod
    def of(cls, reading: Reading, since: Instant, renewed: Iterable[str] | None, now: Instant) -> "_Checkpoint":
        """Take all tubes, or only the renewed ones."""
        exists = reading.tubes.__contains__
        names = reading.names if renewed is None else tuple(sorted(filter(exists, set(renewed))))
        stats = [reading.tubes[name] for name in names]
        try:
            total_jobs = [one.total_jobs for one in stats]
            cmd_delete = [one.cmd_delete for one in stats]
        except InvalidFieldError:
            counts = list(map(_counts, stats))
            total_jobs = [_UNKNOWN if one.total_jobs is None else one.total_jobs for one in counts]
            cmd_delete = [_UNKNOWN if one.cmd_delete is None else one.cmd_delete for one in counts]
        return cls(
            now,
            since,
            reading.listed_at if renewed is None else None,
            reading.missed,
            names,
            tuple(one.answered_at for one in stats),
            array("Q", total_jobs),  # unsigned: 19 digits exceed the signed range
            array("Q", cmd_delete),
        )

    def get(self, tube: str) -> Counts | None:
        """Return 0 of a tube that didn't exist, and None if it wasn't read."""
        position = bisect_left(self.names, tube)
        if position == len(self.names) or self.names[position] != tube:
            absent_at = self.missed.get(tube, self.listed_at)
            return Counts(absent_at, 0, 0) if absent_at else None
        total_jobs, cmd_delete = self.total_jobs[position], self.cmd_delete[position]
        return Counts(
            self.answered_at[position],
            None if total_jobs == _UNKNOWN else total_jobs,
            None if cmd_delete == _UNKNOWN else cmd_delete,
        )


class Earlier(Mapping[str, Counts]):
    """Earlier counters of the tubes of one reading, and of those that don't exist, found on access."""

    __slots__ = ("_checkpoints", "_ends", "_reading", "_since")

    def __init__(
        self,
        reading: Reading,
        since: Instant,
        checkpoints: Sequence[_Checkpoint],
        ends: Mapping[str, Sequence[Counts]],
    ) -> None:
        """`since`: when the last replies of this reading began."""
        self._reading = reading
        self._since = since
        self._checkpoints = checkpoints
        self._ends = ends

    def __getitem__(self, tube: str) -> Counts:
        """Return those nearest to the window. Raises KeyError if there are none yet."""
        answered_at = self._reading.answered_at(tube)
        # tubes that were read together have the same window, although a few milliseconds lie between their replies
        starts = (self._since, self._reading.listed_at)
        read_at = next((start for start in starts if start.age_s(answered_at) >= 0), answered_at)
        nearest = sorted(self._checkpoints, key=lambda kept: abs(kept.since.age_s(read_at) - RATE_WINDOW_S))
        known = (counts for checkpoint in nearest if (counts := checkpoint.get(tube)))
        earlier = next((counts for counts in known if counts.answered_at.age_s(answered_at) >= MIN_WINDOW_S), None)
        if earlier is None:
            raise KeyError(tube)
        for end in self._ends.get(tube, ()):
            if end.answered_at.monotonic_s >= earlier.answered_at.monotonic_s:
                earlier = Counts(
                    earlier.answered_at,
                    _difference(earlier.total_jobs, end.total_jobs),
                    _difference(earlier.cmd_delete, end.cmd_delete),
                )
        return earlier

    def __iter__(self) -> Iterator[str]:
        return (tube for tube in self._reading.tubes if tube in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _difference(counter: int | None, less: int | None) -> int | None:
    return None if counter is None or less is None else counter - less


class Counters:
    """Earlier counters of one server: for each reading in order call `follow` or `restart`, then `keep`."""

    def __init__(self) -> None:
        self._checkpoints: tuple[_Checkpoint, ...] = ()
        self._ends: Mapping[str, tuple[Counts, ...]] = MappingProxyType({})
        """Last counters of tubes that ended, with the time of the last reading of each."""

    def follow(self, before: Reading, answered: Mapping[str, TubeStats], gone: Iterable[str]) -> None:
        """Note which tubes ended since the reading before: those that are gone, and those that began again."""
        last_of = before.tubes.get
        ended = {name: _at_end(last) for name in gone if (last := last_of(name))}
        for name, stats in answered.items():
            last = last_of(name)
            if last is None:
                continue
            try:
                if stats.total_jobs < last.total_jobs or stats.cmd_delete < last.cmd_delete:
                    ended[name] = _at_end(last)
            except InvalidFieldError:
                if end := _possible_end(last, stats):
                    ended[name] = end
        if ended:
            self._ends = {**self._ends, **{name: (*self._ends.get(name, ()), end) for name, end in ended.items()}}

    def restart(self, before: Reading) -> None:
        """Note that all tubes ended since the reading before, but without their jobs being deleted."""
        ended = {name: (*self._ends.get(name, ()), _counts(last)) for name, last in before.tubes.items()}
        self._ends = {**self._ends, **ended}

    def earlier(self, reading: Reading, since: Instant) -> Mapping[str, Counts]:
        """Return the earlier counters of a reading that was followed and isn't kept yet."""
        return Earlier(reading, since, self._checkpoints, self._ends)

    def listed_earlier_at(self, listed_at: Instant) -> Instant | None:
        """Return the time of the kept listing that is nearest to the window."""
        listings = [kept.listed_at for kept in self._checkpoints if kept.listed_at]
        earlier = [each for each in listings if each.age_s(listed_at) >= MIN_WINDOW_S]
        return min(earlier, key=lambda each: abs(each.age_s(listed_at) - RATE_WINDOW_S), default=None)

    def keep(self, reading: Reading, since: Instant, renewed: Iterable[str] | None, now: Instant) -> None:
        """Keep these counters, of all tubes or of the renewed ones, if it is time, and forget what no rate needs."""
        alike = [kept.at for kept in self._checkpoints if renewed is not None or kept.listed_at]
        if alike and alike[-1].age_s(now) < CHECKPOINT_S:
            return
        listings = [kept for kept in self._checkpoints if kept.listed_at][-_LISTINGS:]
        checkpoints = [
            kept for kept in self._checkpoints if kept in listings or kept.at.age_s(now) <= RATE_WINDOW_S + CHECKPOINT_S
        ]
        oldest_s = min((kept.since.monotonic_s for kept in checkpoints), default=now.monotonic_s)
        needed = {
            name: tuple(end for end in ends if end.answered_at.monotonic_s >= oldest_s)
            for name, ends in self._ends.items()
        }
        self._ends = {name: ends for name, ends in needed.items() if ends}
        self._checkpoints = (*checkpoints, _Checkpoint.of(reading, since, renewed, now))


def _at_end(last: TubeStats) -> Counts:
    """Return the counters with which a tube ended: only without jobs can it end, so those that it had were deleted."""
    counts = _counts(last)
    try:
        jobs = last.current_jobs_ready + last.current_jobs_reserved
        jobs += last.current_jobs_delayed + last.current_jobs_buried
    except InvalidFieldError:
        return counts._replace(cmd_delete=None)
    return counts if counts.cmd_delete is None else counts._replace(cmd_delete=counts.cmd_delete + jobs)


def _possible_end(last: TubeStats, stats: TubeStats) -> Counts | None:
    """Return the end of a tube that began again; with None for a counter whose end is unknown."""
    before, after = _counts(last)[1:], _counts(stats)[1:]
    if any(old is not None and new is not None and new < old for old, new in zip(before, after, strict=True)):
        return _at_end(last)
    lost = [old is None and new is not None for old, new in zip(before, after, strict=True)]
    return Counts(last.answered_at, *(None if each else 0 for each in lost)) if any(lost) else None


def _unpaused(before: Reading | None, answered: Mapping[str, TubeStats]) -> dict[str, Instant]:
    """Return `Reading.unpaused` of these tubes."""
    unpaused = {}
    for name, stats in answered.items():
        last = before.tubes.get(name) if before else None
        try:
            if not stats.cmd_pause_tube:
                continue
            same = last is not None and stats.cmd_pause_tube == last.cmd_pause_tube and not last.pause
            known = before.unpaused.get(name) if before and same and not stats.pause else None
        except InvalidFieldError:  # metrics that need these fields fail
            continue
        unpaused[name] = known or stats.answered_at
    return unpaused


def _idle(before: Reading | None, answered: Mapping[str, TubeStats]) -> dict[str, Instant]:
    """Return `Reading.idle` of these tubes."""
    idle = {}
    for name, stats in answered.items():
        try:
            if (
                name != _DEFAULT
                and stats.current_jobs_ready
                and stats.current_watching
                and not (stats.current_waiting or stats.current_jobs_reserved or stats.pause)
            ):
                last = before.tubes.get(name) if before else None
                since = before.idle.get(name) if before and last and last.cmd_delete == stats.cmd_delete else None
                idle[name] = since or stats.answered_at
        except InvalidFieldError:
            continue
    return idle


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
                stats = type(last)._make((tube, answered_at, *last[2:]))
            else:
                stats = parse_tube(body, tube, answered_at)
            if tube == _DEFAULT:  # new connections use and watch `default`: don't count beanscale's own as workers
                sent = stats._asdict()
                others = {
                    field: max(0, sent[field] - own_connections)
                    for field in ("current_using", "current_watching")
                    if isinstance(sent[field], int)
                }
                # without the body: the same reply means something else once the number of own connections changes
                stats = stats._replace(body=b"", **others)
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
    restarted: bool = False
    """True if this start of the server came after the last reading, so that its counters began at 0 since."""
    returned: int | None = None
    """Jobs that workers released or buried, or whose time to run ended, since the start."""
    returned_at: Instant | None = None
    """When `returned` was first seen as it is."""
    draining: bool | None = None
    recent: tuple[JobTotals, ...] = ()
    """Of the last TIMEOUTS_S, at least the last two, the oldest first."""

    @property
    def timeouts_per_second(self) -> float | None:
        """Return the rate of timeouts; None if no two known counters are MIN_TIMEOUTS_S apart."""
        known = [(jobs.answered_at, jobs.timeouts) for jobs in self.recent if jobs.timeouts is not None]
        window_s = known[0][0].age_s(known[-1][0]) if known else 0
        return max(0, known[-1][1] - known[0][1]) / window_s if window_s >= MIN_TIMEOUTS_S else None


class Recorder:
    """Turns replies into readings of one server, over restarts and outages."""

    def __init__(self) -> None:
        self.latest: Reading | None = None
        """None also if it says nothing about what comes next."""
        self._previous: Reading | None = None
        """The same, also after an outage."""
        self._stats = _ServerStats()
        self._counters = Counters()
        self._recorded_at: Instant | None = None

    def resume(self, now: Instant) -> None:
        """Begin, or begin again after an outage: what was known before a long one makes no rates."""
        if self._recorded_at is None or self._recorded_at.age_s(now) > RATE_WINDOW_S:
            self.latest = None

    def record_stats(self, server_id: str, stats: bytes, now: Instant) -> None:
        """Keep a `stats` reply for the next readings of this server start."""
        before = self._stats if self._stats.server_id == server_id else _ServerStats()
        fields = parse_stats(stats)
        restarted = before.restarted
        if before.server_id is None and self._recorded_at is not None:
            uptime_s = parse_field(fields, "uptime")
            restarted = isinstance(uptime_s, int) and uptime_s <= self._recorded_at.age_s(now)
        counts = [parse_field(fields, name) for name in _RETURNS]
        known = [each for each in counts if isinstance(each, int)]
        returned = sum(known) if len(known) == len(counts) else None
        same = returned is not None and returned == before.returned
        recent = (
            tuple(jobs for jobs in before.recent if jobs.answered_at.age_s(now) <= TIMEOUTS_S) or before.recent[-1:]
        )
        self._stats = _ServerStats(
            server_id,
            restarted,
            returned,
            before.returned_at if same else now,
            parse_draining(fields),
            (*recent, parse_job_totals(fields, now)),
        )

    def record_sweep(
        self, server_id: str, listed_at: Instant, replies: TubeReplies, now: Instant, sweep_s: float
    ) -> Reading:
        """Return a reading of all tubes of a listing. Keeps `replies`."""
        before = self.latest if self.latest and self.latest.server_id == server_id else None
        known = self._previous if self._previous and self._previous.server_id == server_id else None
        swept = Reading.of(server_id, listed_at, replies.tubes, before)
        if before is None:
            if self.latest and self._stats.server_id == server_id and self._stats.restarted:
                self._counters.restart(self.latest)
            else:
                self._counters = Counters()
        else:
            gone = before.tubes.keys() - replies.tubes.keys() if swept.names is not before.names else ()
            self._counters.follow(before, replies.tubes, gone)
        swept = replace(
            swept,
            missed=MappingProxyType(replies.missed),
            next_jobs=known.next_jobs if known else swept.next_jobs,
            unpaused=_unpaused(known, replies.tubes),
            idle=_idle(before, replies.tubes),
            sweep_s=sweep_s,
        )
        return self._record(swept, listed_at, None, now)

    def record_round(self, replies: TubeReplies, now: Instant) -> Reading:
        """Return the latest reading with some of its tubes renewed. Raises ValueError if there is none."""
        before = self._latest()
        self._counters.follow(before, replies.tubes, replies.missed)
        tubes = {**before.tubes, **replies.tubes}
        for tube in replies.missed:
            tubes.pop(tube, None)
        missed = {tube: at for tube, at in before.missed.items() if tube not in replies.tubes} | replies.missed
        answered = replies.tubes.keys() | replies.missed.keys()
        renewed = replace(
            Reading.of(before.server_id, before.listed_at, tubes, before),
            missed=MappingProxyType(missed),
            next_jobs=before.next_jobs,
            unpaused={tube: at for tube, at in before.unpaused.items() if tube not in answered}
            | _unpaused(before, replies.tubes),
            idle={tube: at for tube, at in before.idle.items() if tube not in answered} | _idle(before, replies.tubes),
            sweep_s=before.sweep_s,
        )
        since = min(
            (*(stats.answered_at for stats in replies.tubes.values()), *replies.missed.values(), now), key=MONOTONIC
        )
        return self._record(renewed, since, replies.tubes, now)

    def record_next_jobs(self, next_jobs: Mapping[str, NextJob]) -> Reading:
        """Return the latest reading with these next jobs. Raises ValueError if there is none."""
        self.latest = self._previous = replace(self._latest(), next_jobs=MappingProxyType(next_jobs))
        return self.latest

    def _latest(self) -> Reading:
        if self.latest is None:
            raise ValueError("no sweep came first")
        return self.latest

    def _record(self, reading: Reading, since: Instant, renewed: Iterable[str] | None, now: Instant) -> Reading:
        stats = self._stats if self._stats.server_id == reading.server_id else _ServerStats()
        self.latest = self._previous = replace(
            reading,
            earlier=self._counters.earlier(reading, since),
            listed_earlier_at=self._counters.listed_earlier_at(reading.listed_at),
            draining=stats.draining,
            jobs=stats.recent[-1] if stats.recent else None,
            timeouts_per_second=stats.timeouts_per_second,
            returned_at=stats.returned_at,
        )
        self._counters.keep(self.latest, since, renewed, now)
        self._recorded_at = now
        return self.latest
