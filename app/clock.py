"""Time as a value: read once at the edge, passed on as an argument."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on two clocks, so that an age stays true when somebody sets the wall clock."""

    unix_s: float
    """Seconds since 1970, for what people and Kubernetes are shown."""
    monotonic_s: float
    """Seconds on a clock that only goes forward, also while the machine sleeps: for ages and deadlines."""

    def age_s(self, now: "Instant") -> float:
        """Seconds from this moment until `now`."""
        return now.monotonic_s - self.monotonic_s


def rfc3339(moment: Instant) -> str:
    """As Kubernetes writes it, in whole seconds: `2027-01-15T08:00:00Z`."""
    return _written(int(moment.unix_s))


@lru_cache(maxsize=64)
def _written(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> Instant:
    """The present moment."""
    return Instant(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
