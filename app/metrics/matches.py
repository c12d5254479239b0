"""The names that fit a pattern, kept for as long as the names are the very same: most sweeps find no tube new."""

from collections.abc import Sequence
from threading import Lock

from app.metrics.rule import Glob
from app.tubes.snapshot import Reading, ServerState

MOST_KEPT = 512
"""Patterns times servers; at 10,000 tubes a server each takes up to 80 kB."""

_Whose = tuple[str, str | None, tuple[str, ...]]


class Matches:
    """Remembers; may be asked by several threads at once."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[_Whose, tuple[tuple[str, ...], Sequence[str]]] = {}
        self._lock = Lock()

    def of(self, glob: Glob, state: ServerState, reading: Reading) -> Sequence[str]:
        """The reading's tubes that fit, sorted."""
        whose = (state.server.name, state.member, glob.patterns)
        names, found = self._kept.get(whose, ((), ()))
        if names is not reading.names:
            found = tuple(glob.of(reading.names))
            found = reading.names if len(found) == len(reading.names) else found
            self._keep(whose, reading.names, found)
        return found

    def _keep(self, whose: _Whose, names: tuple[str, ...], found: Sequence[str]) -> None:
        with self._lock:
            self._kept.pop(whose, None)
            self._kept[whose] = names, found
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]


matches = Matches()
