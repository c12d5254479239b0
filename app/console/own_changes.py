"""Jobs that this console put and deleted: they are no work of producers and workers, so no trend counts them.

beanstalkd counts them like any others. Those of other consoles and tools can't be told apart from work.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.beanstalkd.reading import TubeRef
from app.clock import Instant, now

_MAX_CHANGES = 2000
_REPLY_S = 0.25
"""Seconds for which a reply of beanstalkd may wait to be read: near a change, it may or may not count that change."""


@dataclass(eq=False)
class Change:
    """One action on a tube, in progress or ended."""

    tube: TubeRef
    began_s: float
    """Monotonic seconds."""
    ended_s: float | None = None
    put: int | None = None
    """None while in progress, and after a failure: unknown."""
    deleted: int | None = None


class OwnChanges:
    """The latest changes. Reading is thread-safe."""

    def __init__(self, clock: Callable[[], Instant] = now) -> None:
        self._clock = clock
        self._changes: deque[Change] = deque(maxlen=_MAX_CHANGES)

    @contextmanager
    def recorded(self, tubes: Sequence[TubeRef]) -> Iterator[Sequence[Change]]:
        """Record a change of each tube for the time of this block, which sets their numbers."""
        changes = [Change(tube, self._clock().monotonic_s) for tube in tubes]
        self._changes.extend(changes)
        try:
            yield changes
        finally:
            for change in changes:
                change.ended_s = self._clock().monotonic_s

    def within(self, tube: TubeRef, start_s: float, end_s: float) -> tuple[int, int] | None:
        """Return how many jobs were put and deleted in a period (monotonic seconds); None if that isn't known."""
        put = deleted = 0
        for change in self._changes.copy():
            ended_s = change.ended_s
            if change.tube != tube or change.began_s > end_s + _REPLY_S:
                continue
            if ended_s is not None and ended_s < start_s - _REPLY_S:
                continue
            if (
                ended_s is None
                or change.put is None
                or change.deleted is None
                or change.began_s < start_s + _REPLY_S
                or ended_s > end_s - _REPLY_S
            ):
                return None
            put, deleted = put + change.put, deleted + change.deleted
        return put, deleted
