"""Tenancy: what a namespace can't access is removed from the snapshot, so evaluation needn't know about it.

`Rules.visible_tubes_of` decides which tubes a namespace can access. A tube that exists and one that doesn't lead to the
same result, and no error names a tube of another namespace.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from app.beanstalkd.reading import ServerState, Snapshot
from app.metrics.query import EvaluationContext, UnknownMetricError
from app.metrics.rules import Glob
from app.metrics.selection import glob_cache

_MAX_PATTERNS = 10
"""Patterns that an error lists."""
_MAX_CACHED = 1024
"""Namespaces with different tubes whose view of the current snapshot is kept."""


class _VisibleTubes[T](Mapping[str, T]):
    """Those entries of a mapping by tube whose tube matches. Costs nothing per tube until it is iterated."""

    __slots__ = ("_entries", "_tubes")

    def __init__(self, entries: Mapping[str, T], tubes: Glob) -> None:
        self._entries = entries
        self._tubes = tubes

    def __getitem__(self, tube: str) -> T:
        entry = self._entries[tube]
        if not self._tubes.matches(tube):
            raise KeyError(tube)
        return entry

    def get(self, tube: str, default: Any = None) -> Any:
        """Return the entry, or `default` if there is none. Faster than Mapping's, which catches a KeyError."""
        entry = self._entries.get(tube)
        return default if entry is None or not self._tubes.matches(tube) else entry

    def __contains__(self, tube: object) -> bool:
        return isinstance(tube, str) and tube in self._entries and self._tubes.matches(tube)

    def __iter__(self) -> Iterator[str]:
        return filter(self._tubes.matches, self._entries)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _VisibleSpellings(Mapping[str, tuple[str, ...]]):
    """`Reading.cased` without the names that don't match."""

    __slots__ = ("_spellings", "_tubes")

    def __init__(self, spellings: Mapping[str, tuple[str, ...]], tubes: Glob) -> None:
        self._spellings = spellings
        self._tubes = tubes

    def __getitem__(self, lower: str) -> tuple[str, ...]:
        return tuple(self._tubes.of(self._spellings[lower]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._spellings)

    def __len__(self) -> int:
        return len(self._spellings)


class _VisibleNames(Sequence[str]):
    """The names that match, sorted; matched when they are first needed."""

    def __init__(self, server: str, names: Sequence[str], tubes: Glob) -> None:
        self._server = server
        self._all = names
        self._tubes = tubes

    @cached_property
    def _names(self) -> Sequence[str]:
        return glob_cache.matching(self._tubes, self._server, self._all)

    def __getitem__(self, at: Any) -> Any:
        return self._names[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Views:
    """The views of the current snapshot, one per set of visible tubes. Thread-safe."""

    def __init__(self) -> None:
        self._current: tuple[Snapshot | None, dict[tuple[str, ...], Snapshot]] = None, {}

    def view(self, snapshot: Snapshot, tubes: Glob) -> Snapshot:
        """Return the snapshot as it would be if it had only these tubes."""
        known, views = self._current
        if known is not snapshot:
            views = {}
            self._current = snapshot, views
        view = views.get(tubes.patterns)
        if view is None:
            view = Snapshot(tuple(_visible_state(state, tubes) for state in snapshot.servers))
            if len(views) < _MAX_CACHED:
                views[tubes.patterns] = view
        return view


visible_snapshot = _Views().view


def redacted(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without failures that may name a tube."""
    if not any(state.failure and state.failure.names_tube for state in snapshot.servers):
        return snapshot
    return Snapshot(tuple(map(_redacted_state, snapshot.servers)))


def outages(context: EvaluationContext) -> str | None:
    """Return a clause about all servers that can't be read, or None. With tenancy it names no tube, for any user."""
    snapshot = redacted(context.snapshot) if context.rules.tenancy else context.snapshot
    failed = [f"{state.server.name!r}: {state.failure.message}" for state in snapshot.servers if state.failure]
    return f"can't be read: {'; '.join(failed)}" if failed else None


def check_access(namespace: str, asked: Iterable[str] | None, tubes: Glob) -> None:
    """Raise UnknownMetricError if one of the tubes that are named can't be accessed, whether it exists or not.

    If none are named (None), raise it if no tube can be accessed: the result would always be 0.
    """
    for tube in asked or ():
        if not tubes.matches(tube):
            raise access_error(namespace, tube, tubes)
    if asked is None and not tubes.patterns:
        raise UnknownMetricError(f"namespace {namespace!r} can't access any tube: tenancy grants it none")


def access_error(namespace: str, tube: str, tubes: Glob) -> UnknownMetricError:
    """Return the error for a tube that can't be accessed."""
    granted = ", ".join(tubes.patterns[:_MAX_PATTERNS]) or "none"
    more = ", …" if len(tubes.patterns) > _MAX_PATTERNS else ""
    return UnknownMetricError(f"namespace {namespace!r} can't access tube {tube!r}; it can access: {granted}{more}")


def _visible_state(state: ServerState, tubes: Glob) -> ServerState:
    state = _redacted_state(state)
    reading = state.reading
    if reading is None:
        return state
    visible = replace(
        reading,
        tubes=_VisibleTubes(reading.tubes, tubes),
        cased=_VisibleSpellings(reading.cased, tubes) if reading.cased else reading.cased,
        names=_VisibleNames(state.server.name, reading.names, tubes),
        missed=_VisibleTubes(reading.missed, tubes),
        earlier=_VisibleTubes(reading.earlier, tubes),
        unpaused=_VisibleTubes(reading.unpaused, tubes),
        idle=_VisibleTubes(reading.idle, tubes),
        next_jobs=_VisibleTubes(reading.next_jobs, tubes),
    )
    return replace(state, reading=visible)


def _redacted_state(state: ServerState) -> ServerState:
    failure = state.failure
    if failure is None or not failure.names_tube:
        return state
    return replace(state, failure=replace(failure, message="invalid reply; see the beanscale server log"))
