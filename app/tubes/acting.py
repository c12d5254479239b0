"""What the console's actions have in common: a job as it is now, why something can't be done, and what was done.

Every action looks again before it acts: what a person was shown is seconds old, and ids begin anew when beanstalkd
restarts without a binlog, so a job must still be in the tube that it was shown in.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import greenstalk

from app.settings import Server
from app.tubes.jobs import Client

type Enough = Callable[[], bool]
"""Whether an action over many jobs shall stop for now."""


class RefusedError(Exception):
    """It can't be done as things are now, and they are as they were; `str()` is a clause for whoever asked for it."""


class GoneError(RefusedError):
    """Somebody else has the job, or had it."""


class State(StrEnum):
    """A job's, in beanstalkd's words."""

    READY = "ready"
    DELAYED = "delayed"
    BURIED = "buried"
    RESERVED = "reserved"


class Place(NamedTuple):
    """A tube of one beanstalkd; it needn't exist."""

    server: Server
    tube: str


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did."""

    message: str
    """A clause."""
    count: int | None = None
    """Jobs, of an action on many."""
    id: int | None = None
    """The job that there is now."""
    more: bool = False
    """Whether it stopped for the time it took, and doing the same again goes on."""


@dataclass(frozen=True, slots=True)
class JobNow:
    """One job, as `stats-job` gave it; times in whole seconds."""

    id: int
    state: State
    pri: int
    ttr_s: int
    time_left_s: int
    """Until a delayed job becomes ready, or a reserved one's time to run ends."""
    age_s: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody saw of a job before they said what should become of it."""

    born_s: int | None = None
    """When it was put, by our clock, in unix seconds; None: not told."""
    state: State | None = None
    """None: whatever it is."""


def within(seconds: float) -> Enough:
    """Enough after so many seconds."""
    deadline_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline_s


def jobs(number: int, kind: str = "") -> str:
    """`1 job`, `20,000 ready jobs`."""
    return f"{number:,} {f'{kind} ' if kind else ''}job{'' if number == 1 else 's'}"


def job_now(client: Client, job_id: int, tube: str) -> JobNow:
    """The job as it is. Raises RefusedError where it is gone, or isn't in that tube."""
    try:
        stats = client.stats_job(job_id)
    except greenstalk.NotFoundError:
        raise GoneError(f"job {job_id} isn't there any more: a worker finished it, or somebody deleted it") from None
    with _all_told():
        if not _is_named(tube, stats["tube"]):
            raise RefusedError(
                f"job {job_id} isn't one of tube {tube}, but of {stats['tube']}: ids begin anew when beanstalkd"
                " restarts without a binlog; look again"
            )
        return JobNow(job_id, State(stats["state"]), stats["pri"], stats["ttr"], stats["time-left"], stats["age"])


@contextmanager
def _all_told() -> Iterator[None]:
    """An answer that lacks a field makes no sense, and that is a ValueError; see jobs.explained."""
    try:
        yield
    except KeyError as missing:
        raise ValueError(f"stats without {missing}") from missing


def _is_named(tube: str, told: str | int) -> bool:
    # greenstalk makes numbers of what beanstalkd before 1.13 doesn't quote: 7 of tube 007
    return told == tube or (isinstance(told, int) and _as_number(tube) == told)


def _as_number(tube: str) -> int | None:
    try:
        return int(tube)
    except ValueError:
        return None


def why_not(client: Client, job_id: int, tube: str) -> RefusedError:
    """The reason why beanstalkd just said NOT_FOUND about a job that was shown."""
    try:
        now = job_now(client, job_id, tube)
    except RefusedError as gone:
        return gone
    if now.state is State.RESERVED:
        return in_a_workers_hands(job_id)
    return GoneError(f"job {job_id} has just become {now.state}; look again")


def in_a_workers_hands(job_id: int) -> GoneError:
    """The reason that protects workers."""
    return GoneError(
        f"a worker has job {job_id} in hand, and only that worker can let it go: when it is done, when its time to run"
        " ends, or when its connection does"
    )


def tube_counts(client: Client, tube: str) -> dict[State, int]:
    """How many jobs of each state the tube holds. Raises RefusedError where there is no such tube."""
    try:
        stats = client.stats_tube(tube)
    except greenstalk.NotFoundError:
        raise no_such_tube(tube) from None
    with _all_told():
        return {
            State.READY: stats["current-jobs-ready"],
            State.DELAYED: stats["current-jobs-delayed"],
            State.BURIED: stats["current-jobs-buried"],
            State.RESERVED: stats["current-jobs-reserved"],
        }


def no_such_tube(tube: str) -> RefusedError:
    """beanstalkd forgets a tube that is empty and that nobody uses or watches."""
    return RefusedError(f"there is no tube {tube} (any more): it has no job, and nobody uses or watches it")
