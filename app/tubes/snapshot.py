"""What is known of the tubes at one moment: frozen, swapped whole, asked by many."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.clock import Instant
from app.settings import Server
from app.tubes.protocol import TubeStats

_NONE: Mapping[str, tuple[str, ...]] = MappingProxyType({})


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

    @classmethod
    def of(cls, server_id: str, listed_at: Instant, tubes: Iterable[TubeStats]) -> "Reading":
        """Index a sweep."""
        by_name = {tube.name: tube for tube in tubes}
        cased: dict[str, tuple[str, ...]] = {}
        for name in sorted(name for name in by_name if name != name.lower()):
            cased[name.lower()] = (*cased.get(name.lower(), ()), name)
        return cls(server_id, listed_at, MappingProxyType(by_name), MappingProxyType(cased))

    def answered_at(self, tube: str) -> Instant:
        """When beanstalkd last spoke for this tube."""
        stats = self.tubes.get(tube)
        return stats.answered_at if stats else self.listed_at


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a server can't be read just now."""

    message: str
    """A clause after the server's name: "connection refused"."""
    since: Instant
    """The first failure since the last good reading."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server: its last good reading, and what went wrong since."""

    server: Server
    reading: Reading | None = None
    failure: Failure | None = None
    attempted: bool = False
    """Whether a first attempt to read it has ended, well or not."""

    def fresh(self, now: Instant, max_age_s: float) -> Reading | None:
        """The last reading, or None where it is older than `max_age_s` seconds or there is none."""
        if self.reading is None or self.reading.listed_at.age_s(now) > max_age_s:
            return None
        return self.reading


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All servers, in the order in which they were configured."""

    servers: tuple[ServerState, ...]

    def replace(self, position: int, state: ServerState) -> "Snapshot":
        """The same with one server's state exchanged."""
        return Snapshot((*self.servers[:position], state, *self.servers[position + 1 :]))
