"""Time as a value: read once at the edge, then passed as an argument."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on two clocks, so that ages stay correct when the wall clock is set."""

    unix_s: float
    """Unix seconds, for people and Kubernetes."""
    monotonic_s: float
    """Seconds of a clock that is never set and includes suspend: for ages and deadlines."""

    def age_s(self, now: "Instant") -> float:
        """Return the seconds from this moment until `now`."""
        return now.monotonic_s - self.monotonic_s


MONOTONIC = attrgetter("monotonic_s")
"""The key that orders instants: `min(instants, key=MONOTONIC)` is the oldest."""


def rfc3339(moment: Instant) -> str:
    """Return a time as Kubernetes writes it, in whole seconds: `2027-01-15T08:00:00Z`."""
    return _written(int(moment.unix_s))


@lru_cache(maxsize=64)
def _written(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> Instant:
    """Return the current time."""
    return Instant(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
