"""The servers and tubes that a query selects of a metric, or the error if it can select none."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from app.beanstalkd.protocol import is_tube_name
from app.beanstalkd.reading import ServerState
from app.metrics.freshness import ServerReading
from app.metrics.query import TooManyTubesError, UnknownMetricError
from app.metrics.rules import Glob
from app.metrics.selector import Selector

PAUSED = "paused"
"""Label of jobs that a pause of their tube holds back. Values have it only if the selector uses it."""
MAX_NAMED = 1000
"""Tubes that one selector may list: values are returned for missing tubes too, so nothing else limits them."""
MAX_CACHED = 512
"""Patterns times servers; with 10,000 tubes per server, each takes up to 80 kB."""


class GlobCache:
    """The sorted names that match a glob, per server, for as long as the server's names don't change. Thread-safe."""

    def __init__(self, size: int = MAX_CACHED) -> None:
        self._size = size
        self._cached: dict[tuple[str, tuple[str, ...]], tuple[Sequence[str], Sequence[str]]] = {}
        self._lock = Lock()

    def matching(self, glob: Glob, server: str, names: Sequence[str]) -> Sequence[str]:
        """Return those of a server's names that match, in the same order."""
        if "*" in glob.patterns:
            return names
        key = server, glob.patterns
        known, found = self._cached.get(key, ((), ()))
        if known is not names:
            found = tuple(glob.of(names))
            with self._lock:
                self._cached.pop(key, None)
                self._cached[key] = names, found
                if len(self._cached) > self._size:
                    del self._cached[next(iter(self._cached))]
        return found


glob_cache = GlobCache()


@dataclass(frozen=True, slots=True)
class Scope:
    """The servers and tubes of a metric that a query selects."""

    servers: Sequence[ServerState]
    tubes: Glob
    named: Sequence[str] | None
    """The only tubes, by exact name, whether they exist or not; None: all that match `tubes`."""

    def tubes_of(self, server: ServerReading) -> Sequence[str]:
        """Return the existing tubes of a server that are in scope, and those that are listed by name."""
        if self.named is not None:
            return self.named
        found = glob_cache.matching(self.tubes, server.state.server.name, server.reading.names)
        missing = [tube for tube in self.tubes.exact if tube not in server.reading.tubes]
        return [*found, *missing] if missing else found


def select(
    metric: str, selector: Selector, servers: Sequence[ServerState], tubes: Glob, labels: Collection[str]
) -> Scope:
    """Return what the selector leaves of a metric whose values have these labels.

    Raises UnknownMetricError if the selector requires something that doesn't exist, TooManyTubesError.
    """
    unknown = {part.key for part in selector.requirements if not part.matches({})}.difference(labels)
    if unknown:
        raise UnknownMetricError(
            f"{metric} has no label {_listing(sorted(unknown))}; it has {_listing(sorted(labels)) or 'no labels'}"
        )
    if "server" in labels and any(part.key == "server" for part in selector.requirements):
        names = selected_values(metric, selector, "server", [state.server.name for state in servers])
        servers = [state for state in servers if state.server.name in names]
    named = named_tubes(selector) if "tube" in labels else None
    if named is None:
        return Scope(servers, tubes, tubes.exact if tubes.is_exact else None)
    covered = tubes.of(named)
    if named and not covered:
        raise UnknownMetricError(
            f"{metric} doesn't cover tube {_listing(named)}; it covers {', '.join(tubes.patterns)}"
        )
    return Scope(servers, tubes, covered)


def selected_values(metric: str, selector: Selector, key: str, known: Sequence[str]) -> Sequence[str]:
    """Return those of a label's known values that the selector allows.

    Raises UnknownMetricError if it requires a value that isn't known.
    """
    pinned = selector.pinned(key)
    if pinned is not None and pinned.isdisjoint(known):
        if not pinned:
            raise UnknownMetricError(f"the selector requires two values of {key} at once")
        valid = _listing(dict.fromkeys(known))
        raise UnknownMetricError(f"{metric} has no {key} {_listing(sorted(pinned))}; valid values: {valid}")
    conditions = [part for part in selector.requirements if part.key == key]
    return [value for value in known if all(part.matches({key: value}) for part in conditions)]


def selected_pauses(metric: str, selector: Selector) -> Sequence[str] | None:
    """Return the values of the label `paused` that the selector allows, or None if it doesn't use the label.

    Raises UnknownMetricError if it requires another value.
    """
    if not any(part.key == PAUSED and part.operator != "!" for part in selector.requirements):
        return None
    return selected_values(metric, selector, PAUSED, ("false", "true"))


def named_tubes(selector: Selector) -> Sequence[str] | None:
    """Return the tubes that the selector lists, sorted, or None if it lists none. Raises TooManyTubesError."""
    pinned = selector.pinned("tube")
    if pinned is None:
        return None
    if len(pinned) > MAX_NAMED:
        raise TooManyTubesError(
            f"the selector lists {len(pinned):,} tubes, the limit is {MAX_NAMED:,}; split the query, or don't list"
            " tubes"
        )
    return sorted(filter(is_tube_name, pinned))


def excludes_tubes(selector: Selector) -> bool:
    """Return whether only values without the label `tube` match (`!tube`)."""
    return any(part.key == "tube" and part.operator == "!" for part in selector.requirements)


def _listing(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
