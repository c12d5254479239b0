"""What becomes of a beanstalkd whose connection has ended and that DNS lists no more. Pure: time is an argument.

Kubernetes takes one that crashed out of DNS as it does one that was taken away for good. What was empty can go at once;
of any other the jobs would be missing in every sum, with nobody told: it lingers, and fails what spans it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Reading
from app.clock import Instant, rfc3339

LINGER_S = 180.0
"""Seconds for a pod to come back: its image pulled, its binlog read, its readiness probed, DNS' caches aged. Longer
than the alert about a beanstalkd that can't be read waits."""
IDLE_S = 10.0
"""Seconds without a job and without a put, before its last `stats`, after which none is thought to have come since."""
KNOWN_S = 35.0
"""Seconds for which such an answer holds on: DNS may tell of a pod that was taken away as late as that, where caches
keep what it said for 30 s."""


class Known(NamedTuple):
    """What is known of the beanstalkd at one address."""

    listed_since: Instant
    """When DNS first listed the address."""
    reading: Reading | None
    """The last good one."""
    read_at: Instant
    """When that came."""
    is_read: bool
    """Whether the last attempt to read it succeeded."""
    lives: Sequence[str] = ()
    """Its id, and the one before."""


@dataclass(frozen=True, slots=True)
class Lingering:
    """One that is waited for."""

    since: Instant
    hostname: str | None
    jobs: int
    """So many it had when it was last read."""

    @classmethod
    def begin(cls, last: Reading, now: Instant) -> "Lingering":
        """After its last reading."""
        return cls(now, last.hostname, sum(map(_jobs, last.tubes.values())))

    def is_over(self, now: Instant) -> bool:
        """Whether it has been waited for long enough."""
        return self.since.age_s(now) >= LINGER_S

    def told(self, complaint: str) -> str:
        """Why it can't be read, since when it is gone, and what ends this."""
        end = Instant(self.since.unix_s + LINGER_S, self.since.monotonic_s + LINGER_S)
        back = f", or the host {self.hostname!r} is read at a new address" if self.hostname else ""
        return (
            f"{complaint}, and DNS hasn't listed its address since {rfc3339(self.since)}:"
            f" it is waited for until DNS does{back}, or DNS still doesn't at {rfc3339(end)}"
        )


def may_hold_jobs(last: Reading, now: Instant) -> bool:
    """Whether it may have any `now`; no only where the last that was heard of it leaves no room for one.

    What was put after its last `stats` nobody has seen. Hence one that takes jobs and is empty just then isn't empty:
    for a while none must have come, unless it was draining and took none.
    """
    if last.jobs is None or last.idle_since is None or last.jobs.answered_at.age_s(now) > KNOWN_S:
        return True
    if any(map(_jobs, last.tubes.values())):  # they answered after `stats`
        return True
    return not last.draining and last.idle_since.age_s(last.jobs.answered_at) < IDLE_S


def is_read_elsewhere(lost: Known, others: Iterable[Known]) -> bool:
    """Whether another address leads to the very same beanstalkd, be it restarted since: what is left here of its
    readings counts no more."""
    last = lost.reading
    return last is not None and any(other.is_read and last.server_id in other.lives for other in others)


def is_succeeded(lost: Known, others: Iterable[Known]) -> bool:
    """Whether its pod is read at an address that came after it, perhaps not the first one since. A pod's host name is
    the pod's; elsewhere several may have it at the same time, and then it says nothing."""
    last = lost.reading
    if last is None or last.hostname is None:
        return False
    namesakes = [other for other in others if other.reading and other.reading.hostname == last.hostname]
    line = sorted([lost, *namesakes], key=lambda each: each.listed_since.monotonic_s)
    in_turn = all(_is_newer(after, before) for before, after in pairwise(line))
    return in_turn and line[-1] is not lost and line[-1].is_read


def is_doubted(lost: Known, others: Iterable[Known]) -> bool:
    """Whether its last reading, however young, may count the same jobs as that of an address that came after it."""
    return any(_is_newer(other, lost) for other in others)


def _is_newer(other: Known, lost: Known) -> bool:
    return other.listed_since.monotonic_s > lost.read_at.monotonic_s


def _jobs(tube: TubeStats) -> int:
    return tube.current_jobs_ready + tube.current_jobs_reserved + tube.current_jobs_delayed + tube.current_jobs_buried
