"""The state of all tubes at one moment: immutable, replaced as a whole, shared by all requests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from app.beanstalkd.protocol import InvalidField, JobTotals, TubeStats
from app.clock import Instant
from app.settings import Server

TIMEOUTS_S = 60.0
"""Seconds over which timeouts are averaged: they are rare, compared with other counters."""
STUCK_AFTER_S = 10.0
"""Seconds after which workers that watch a tube and take none of its ready jobs count as stuck."""


class TubeRef(NamedTuple):
    """A tube on a server."""

    server: Server
    tube: str


class Counts(NamedTuple):
    """A tube's counters at one moment; None if beanstalkd's reply had no valid number."""

    answered_at: Instant
    total_jobs: int | None
    cmd_delete: int | None


class JobPass(NamedTuple):
    """A job between two reservations: while these are unchanged, it has been ready all the time."""

    id: str
    reserves: int
    kicks: int


class NextJob(NamedTuple):
    """The job that would be reserved next, from `peek-ready` and `stats-job`."""

    answered_at: Instant
    age_s: int | None
    """Whole seconds for which it has been ready, pauses of the tube included; None if no job was ready."""
    seen: Mapping[JobPass, Instant] = MappingProxyType({})
    """Jobs that were reserved or kicked before, with the time when each was first seen to be the next one."""
    invalid: InvalidField | None = None
    """The field because of which the age isn't known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All tubes of one server."""

    server_id: str
    """Random for each start of a beanstalkd: another id means a restart."""
    listed_at: Instant
    """When `list-tubes` was answered: a tube that isn't in it had no jobs then."""
    tubes: Mapping[str, TubeStats]
    """By exact name."""
    cased: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """For names with upper-case letters: lower-cased name to the exact names, sorted."""
    names: Sequence[str] = ()
    """All tubes, sorted; the same object as in the previous reading if no tube came or went: usable as a cache key."""
    missed: Mapping[str, Instant] = MappingProxyType({})
    """Tubes that were queried after the listing and didn't exist, with the time of the reply."""
    earlier: Mapping[str, Counts] = MappingProxyType({})
    """Counters about one rate window ago; missing while readings cover less than MIN_WINDOW_S. 0 of a tube that didn't
    exist then. They continue the tube's present counters (0 if it doesn't exist) backwards: negative if it was deleted
    within the window and created again, also by a restart of the server."""
    listed_earlier_at: Instant | None = None
    """The listing about one rate window ago."""
    unpaused: Mapping[str, Instant] = MappingProxyType({})
    """Tubes that may have been paused since they were created, with the time since which they are known not to be."""
    idle: Mapping[str, Instant] = MappingProxyType({})
    """Tubes with ready jobs of which none is taken although connections watch, with the time since when each reading
    showed that. Without `default`, which every producer watches."""
    returned_at: Instant | None = None
    """Since when no job on the server was released or buried, or timed out; None if unknown."""
    next_jobs: Mapping[str, NextJob] = MappingProxyType({})
    """Of the tubes whose next job's age was requested."""
    draining: bool | None = None
    """True if it accepts no jobs until it restarts; None if unknown (beanstalkd before 1.12)."""
    jobs: JobTotals | None = None
    """All its jobs; None if unknown."""
    timeouts_per_second: float | None = None
    """Jobs whose time to run (TTR) ended, over about TIMEOUTS_S; None in the first seconds of a start."""
    sweep_s: float | None = None
    """Duration of the last sweep over all tubes, in seconds."""

    @classmethod
    def of(
        cls,
        server_id: str,
        listed_at: Instant,
        tubes: Iterable[TubeStats] | Mapping[str, TubeStats],
        before: "Reading | None" = None,
    ) -> "Reading":
        """Index tubes. `before`: reuse its names if no tube came or went since."""
        by_name = tubes if isinstance(tubes, Mapping) else {tube.name: tube for tube in tubes}
        if before is not None and by_name.keys() == before.tubes.keys():
            return cls(server_id, listed_at, MappingProxyType(by_name), before.cased, before.names)
        names = tuple(sorted(by_name))
        cased: dict[str, tuple[str, ...]] = {}
        for name in names:
            lower = name.lower()
            if lower != name:
                cased[lower] = (*cased.get(lower, ()), name)
        return cls(server_id, listed_at, MappingProxyType(by_name), MappingProxyType(cased), names)

    def answered_at(self, tube: str) -> Instant:
        """Return when this tube was last confirmed: by its own stats, or by a reply that it doesn't exist."""
        stats = self.tubes.get(tube)
        return stats.answered_at if stats else self.missed.get(tube, self.listed_at)

    def stuck_s(self, tube: str) -> float | None:
        """Return for how many seconds the tube's workers have been stuck, or None if they aren't.

        They are stuck if the tube isn't paused, has ready jobs, and is watched, but for STUCK_AFTER_S no connection
        waited for a job, had reserved one or deleted one. In that time no job on the whole server was released or
        buried, or timed out, either: a job may go back within a second, and beanstalkd doesn't say to which tube. A
        worker that is busy with a job of another tube looks the same, and so does a producer that watches the tube.
        """
        since, stats = self.idle.get(tube), self.tubes.get(tube)
        if since is None or stats is None or self.returned_at is None:
            return None
        stuck_s = min(since.age_s(stats.answered_at), self.returned_at.age_s(stats.answered_at))
        return stuck_s if stuck_s >= STUCK_AFTER_S else None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a server can't be read."""

    message: str
    """A clause that follows the server's name: "connection refused"."""
    since: Instant
    """The first failure since the last good reading."""
    names_tube: bool = False
    """True if the message may contain a tube's name, which not every namespace may see."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """The last good reading of a server, and the failure since then."""

    server: Server
    reading: Reading | None = None
    failure: Failure | None = None
    attempted: bool = False
    """True once the first attempt to read it has ended, successfully or not."""

    def fresh(self, now: Instant, max_age_s: float) -> Reading | None:
        """Return the reading, or None if it is older than `max_age_s` seconds or missing."""
        if self.reading is None or self.reading.listed_at.age_s(now) > max_age_s:
            return None
        return self.reading


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All servers, in the configured order."""

    servers: tuple[ServerState, ...]
