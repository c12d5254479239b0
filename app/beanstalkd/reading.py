"""What is known of the tubes at one moment: frozen, swapped whole, asked by many."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from app.beanstalkd.protocol import JobTotals, TubeStats
from app.clock import Instant
from app.settings import Server

_NONE: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Counts(NamedTuple):
    """A tube's counters at one moment."""

    answered_at: Instant
    total_jobs: int
    cmd_delete: int


class NextJob(NamedTuple):
    """The job that would be reserved next, as `peek-ready` and `stats-job` gave it."""

    answered_at: Instant
    age_s: int | None
    """Whole seconds since it was put; None where no job was ready."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All tubes of one server, read one after the other in one sweep."""

    server_id: str
    """beanstalkd's id: another one means that it was restarted."""
    listed_at: Instant
    """When `list-tubes` answered: a tube that it didn't name held no jobs then."""
    tubes: Mapping[str, TubeStats]
    """By exact name."""
    cased: Mapping[str, tuple[str, ...]] = _NONE
    """For names with upper case: lower-cased name → the names that it may stand for, sorted."""
    names: tuple[str, ...] = ()
    """All tubes, sorted; the very object of the reading before where no tube came or went: matches can be kept."""
    missed: Mapping[str, Instant] = MappingProxyType({})
    """Tubes that were asked for by name after the listing, and weren't there: tube → when beanstalkd said so."""
    earlier: Mapping[str, Counts] = MappingProxyType({})
    """The oldest counters within the rates' window of the same life of server and tube; none where there was only one
    reading. A tube that came within the window has those of the listing that didn't have it: 0 and 0."""
    listed_earlier_at: Instant | None = None
    """The oldest listing of the same server's life within the window: what no listing has had, has had no jobs."""
    next_jobs: Mapping[str, NextJob] = MappingProxyType({})
    """Of those tubes whose next job's age was asked for."""
    draining: bool | None = None
    """Whether it takes no job any more until it is restarted; None: not known (yet)."""
    jobs: JobTotals | None = None
    """All its jobs; None: not known."""
    idle_since: Instant | None = None
    """Since when, by every `stats`, it has had no job and been given none; None: it isn't so, or not known."""
    hostname: str | None = None
    """Of its host, in Kubernetes of its pod; None: not known."""

    @classmethod
    def of(
        cls,
        server_id: str,
        listed_at: Instant,
        tubes: Iterable[TubeStats] | Mapping[str, TubeStats],
        before: "Reading | None" = None,
    ) -> "Reading":
        """Index tubes; by their names already, they are taken as they are. `before`: where no tube came or went since
        that reading, its names are taken over."""
        by_name = tubes if isinstance(tubes, Mapping) else {tube.name: tube for tube in tubes}
        if before is not None and by_name.keys() == before.tubes.keys():
            return cls(server_id, listed_at, MappingProxyType(by_name), before.cased, before.names)
        names = tuple(sorted(by_name))
        return cls(server_id, listed_at, MappingProxyType(by_name), MappingProxyType(_cased(names)), names)

    def answered_at(self, tube: str) -> Instant:
        """When beanstalkd last spoke for this tube: a listing without it speaks too."""
        stats = self.tubes.get(tube)
        return stats.answered_at if stats else self.missed.get(tube, self.listed_at)


def _cased(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    cased: dict[str, tuple[str, ...]] = {}
    for name in names:
        lower = name.lower()
        if lower != name:
            cased[lower] = (*cased.get(lower, ()), name)
    return cased


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a server can't be read just now."""

    message: str
    """A clause after the server's name: "connection refused"."""
    since: Instant
    """The first failure since the last good reading."""
    jobs: int | None = None
    """So many it had when it was last read, where its address is gone; None: it isn't, or not yet."""

    @property
    def whole(self) -> str:
        """The message, and with it what only those may know who may see every tube."""
        if self.jobs is None:
            return self.message
        had = f"{self.jobs:,} job{'s' * (self.jobs != 1)}" if self.jobs else "no job"
        return (
            f"{self.message}; it had {had} when it was last read{'' if self.jobs else ', and may have got some since'}"
        )


@dataclass(frozen=True, slots=True)
class ServerState:
    """One beanstalkd: its last good reading, and what went wrong since."""

    server: Server
    """As configured; several have the same one where its name has several addresses, as a headless Service's has."""
    reading: Reading | None = None
    failure: Failure | None = None
    attempted: bool = False
    """Whether a first attempt to read it has ended, well or not."""
    member: str | None = None
    """The one of several addresses that this is, as a label value: `10.0.0.3`, `fd00--3`. None for a name with one."""
    sweep_s: float | None = None
    """What the last good sweep over all tubes took, in seconds."""
    doubted: bool = False
    """Whether its reading counts no more, however young: an address came since which may be the same beanstalkd's."""

    def failed(self, message: str, now: Instant, jobs: int | None = None) -> "ServerState":
        """The same after one more failure to read it."""
        since = self.failure.since if self.failure else now
        return replace(self, failure=Failure(message, since, jobs), attempted=True)

    def fresh(self, now: Instant, max_age_s: float) -> Reading | None:
        """The last reading, or None where it is older than `max_age_s` seconds, doubted, or there is none."""
        if self.reading is None or self.doubted or self.reading.listed_at.age_s(now) > max_age_s:
            return None
        return self.reading


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All servers, in the order in which they were configured, those of one name by their addresses."""

    servers: tuple[ServerState, ...]
