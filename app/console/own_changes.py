"""When this console changed jobs: that is no work of producers and workers, so no trend counts these periods.

What other consoles and tools do can't be told apart from work.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.beanstalkd.reading import TubeRef
from app.clock import Instant, now

_MAX_CHANGES = 2000
_REPLY_S = 0.25
"""Seconds for which a reply of beanstalkd may wait to be read: soon after a change, it may not count that change."""


@dataclass(eq=False)
class Change:
    """One action on a tube, in progress or ended."""

    tube: TubeRef
    began_s: float
    """Monotonic seconds."""
    deletes: bool
    ended_s: float | None = None


class OwnChanges:
    """The latest changes. Reading is thread-safe."""

    def __init__(self, clock: Callable[[], Instant] = now) -> None:
        self._clock = clock
        self._changes: deque[Change] = deque(maxlen=_MAX_CHANGES)

    @contextmanager
    def recorded(self, tubes: Sequence[TubeRef], *, deletes: bool) -> Iterator[None]:
        """Record a change of each tube for the time of this block. `deletes`: jobs of the first one."""
        changes = [Change(tube, self._clock().monotonic_s, deletes and tube == tubes[0]) for tube in tubes]
        self._changes.extend(changes)
        try:
            yield
        finally:
            for change in changes:
                change.ended_s = self._clock().monotonic_s

    def overlap(self, tube: TubeRef, start_s: float, end_s: float, *, deleting: bool = False) -> bool:
        """Return whether the console changed the tube's jobs, or deleted some, in a period (monotonic seconds)."""
        return any(
            change.tube == tube
            and (change.deletes or not deleting)
            and change.began_s <= end_s
            and (change.ended_s is None or change.ended_s + _REPLY_S >= start_s)
            for change in self._changes.copy()
        )
