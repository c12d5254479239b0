"""What a person does to many jobs of one tube: one after the other, as many as the time allows, and counted.

Each job is looked at with peek-ready, peek-delayed or peek-buried, and then deleted or kicked by its id. To reserve all
that is ready isn't faster with one command at a time, and not quiet: it gets nothing from a paused tube, shows as a
worker and as reserved jobs to whoever counts those, and what is in hand comes back when the connection breaks.
Kicking by id never touches a job of the other state, as `kick` does where nothing is buried (any more): it then makes
delayed jobs ready before their time.

All raise TubeNameError, BeanstalkdError, and RefusedError where things aren't as they were shown.

What the console's actions have in common: a job as it is now, why something can't be done, and what was done.

Every action looks again before it acts: what a person was shown is seconds old, and ids begin anew when beanstalkd
restarts without a binlog, so a job must still be in the tube that it was shown in.

What a person does to one tube or one job: each on one short-lived connection, blocking, for a thread.

All raise TubeNameError, BeanstalkdError, and RefusedError where things aren't as they were shown.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import greenstalk

from app.beanstalkd.protocol import check_tube_name
from app.clock import Instant
from app.jobs.client import BeanstalkdError, Client, Job, connect, explained
from app.settings import Server

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


MOST_SECONDS = 2**32 - 1
"""For a pause, delay or time to run; the greatest priority too."""
_SAME_BIRTH_S = 3
"""Ages are whole seconds, and what is shown took its time to come here."""


def put(place: Place, body: bytes, *, priority: int, delay_s: int, ttr_s: int) -> Done:
    """A new job; makes the tube where there is none."""
    with connect(place.server, use=place.tube) as client:
        try:
            job_id = client.put(body, priority, delay_s, ttr_s)
        except greenstalk.BuriedError as error:
            raise BeanstalkdError(
                f"beanstalkd {place.server.address}: it had no memory to queue the job and buried it as job {error.id};"
                " kick it when there is memory again"
            ) from error
        except greenstalk.JobTooBigError as error:
            most = client.stats()["max-job-size"]
            raise BeanstalkdError(
                f"beanstalkd {place.server.address}: {len(body):,} bytes are more than it takes as one job, which is"
                f" {most:,} (its option -z)"
            ) from error
    when = f", ready in {delay_s:,} s" if delay_s else ""
    return Done(f"job {job_id} is in tube {place.tube}{when}", id=job_id)


def check_as_shown(place: Place, job_id: int, shown: Shown, clock: Callable[[], Instant]) -> None:
    """Raises RefusedError where the job isn't the one that somebody saw, or isn't what it was."""
    with connect(place.server) as client:
        now = job_now(client, job_id, place.tube)
    born_s = clock().unix_s - now.age_s
    if shown.born_s is not None and abs(born_s - shown.born_s) > _SAME_BIRTH_S:
        raise RefusedError(
            f"job {job_id} is another one than was shown: ids begin anew when beanstalkd restarts without a binlog;"
            " look again"
        )
    if shown.state not in {None, now.state, State.RESERVED} and now.state is not State.RESERVED:
        raise RefusedError(f"job {job_id} was {shown.state} when it was shown, and is {now.state} now: look again")


def kick_job(place: Place, job_id: int) -> Done:
    """A buried or delayed job becomes ready."""
    with connect(place.server) as client:
        before = job_now(client, job_id, place.tube)
        try:
            client.kick_job(job_id)
        except greenstalk.NotFoundError:
            if before.state is State.READY:
                raise RefusedError(f"job {job_id} is ready already") from None
            raise why_not(client, job_id, place.tube) from None
    return Done(f"job {job_id}, which was {before.state}, is ready", id=job_id)


def delete(place: Place, job_id: int) -> Done:
    """Unless a worker has it in hand."""
    with connect(place.server) as client:
        before = job_now(client, job_id, place.tube)
        try:
            client.delete(job_id)
        except greenstalk.NotFoundError:
            raise why_not(client, job_id, place.tube) from None
    return Done(f"job {job_id}, which was {before.state}, is deleted", id=job_id)


def bury(place: Place, job_id: int) -> Done:
    """Put a job aside, with the priority that it has. beanstalkd counts a reserve for it."""
    with connect(place.server) as client:
        before = job_now(client, job_id, place.tube)
        if before.state is State.BURIED:
            raise RefusedError(f"job {job_id} is buried already")
        job, now = take(client, before, place)
        try:
            with explained(place.server):
                _bury(client, job, now)
        except BeanstalkdError as error:
            raise BeanstalkdError(
                f"{error}; job {job_id} is buried, or ready again where beanstalkd didn't come to that: look again"
            ) from error
    return Done(f"job {job_id}, which was {before.state}, is buried", id=job_id)


def take(client: Client, before: JobNow, place: Place) -> tuple[Job, JobNow]:
    """Reserve a job, whatever else its state, be its tube paused or not; ours until the connection ends."""
    if before.state is State.RESERVED:
        raise in_a_workers_hands(before.id)
    try:
        job = client.reserve_job(before.id)
    except greenstalk.NotFoundError:
        raise why_not(client, before.id, place.tube) from None
    return job, job_now(client, before.id, place.tube)


def _bury(client: Client, job: Job, now: JobNow) -> None:
    try:
        client.bury(job, now.pri)
    except greenstalk.NotFoundError:
        raise RefusedError(
            f"job {job.id} went back to ready before it could be buried: its time to run is {now.ttr_s} s; try again"
        ) from None


def pause(place: Place, seconds: int) -> Done:
    """Workers get no job of that tube for a while."""
    _pause(place, seconds)
    return Done(f"tube {place.tube} gives out no job for {seconds:,} s; its jobs wait, and new ones queue behind them")


def resume(place: Place) -> Done:
    """End a pause."""
    _pause(place, 0)
    return Done(f"tube {place.tube} gives out its jobs again")


def _pause(place: Place, seconds: int) -> None:
    check_tube_name(place.tube)
    with connect(place.server) as client:
        try:
            client.pause_tube(place.tube, seconds)
        except greenstalk.NotFoundError:
            raise no_such_tube(place.tube) from None


PEEK: Mapping[State, Callable[[Client], Job]] = {
    State.READY: greenstalk.Client.peek_ready,
    State.DELAYED: greenstalk.Client.peek_delayed,
    State.BURIED: greenstalk.Client.peek_buried,
}
"""The next job of each state in the used tube."""
EMPTIED = (State.BURIED, State.DELAYED, State.READY)
"""In this order: a job that becomes ready meanwhile is still met."""


class Tally:
    """How many are done; kept where an error can tell it. `verb`: what is done, in the past."""

    def __init__(self, verb: str, enough: Enough) -> None:
        self._verb = verb
        self._enough = enough
        self.done = 0

    def each(self, client: Client, state: State, until: int, act: Callable[[Job], object]) -> bool:
        """Act on the next jobs of that state until so many are done, none is left, or it is enough: whether it was."""
        while self.done < until:
            if self._enough():
                return True
            try:
                job = PEEK[state](client)
            except greenstalk.NotFoundError:
                return False
            with suppress(greenstalk.NotFoundError, GoneError):  # somebody took it between two commands: it is theirs
                act(job)
                self.done += 1
        return False

    def told(self, of: int, kind: str, where: str, *, more: bool) -> Done:
        """`of`: how many were to be done; `kind`: `buried ` or nothing."""
        number = f"{self.done:,}" if self.done == of else f"{self.done:,} of {'about ' if more else ''}{of:,}"
        message = f"{self._verb} {number} {kind}job{'' if of == 1 else 's'} {where}"
        if more:
            message += "; do it again to go on"
        elif self.done < of:
            message += "; the others were taken or deleted meanwhile"
        return Done(message, self.done, more=more)


def kick_some(place: Place, state: State, count: int, enough: Enough) -> Done:
    """Make buried or delayed jobs ready, the next ones first."""
    with counting("kicked", enough) as tally, in_tube(place) as (client, held):
        if not held[state]:
            raise _nothing_to_kick(place.tube, state, held)
        wanted = min(count, held[state])
        more = tally.each(client, state, wanted, lambda job: client.kick_job(job.id))
    return tally.told(wanted, f"{state} ", f"of tube {place.tube}", more=more)


def _nothing_to_kick(tube: str, state: State, held: Mapping[State, int]) -> RefusedError:
    if state is State.BURIED and held[State.DELAYED]:
        return RefusedError(
            f"nothing is buried in tube {tube} (any more); its {jobs(held[State.DELAYED], 'delayed')} would be made"
            " ready before their time: say so if that is what you want"
        )
    return RefusedError(f"no job is {state} in tube {tube} (any more)")


def delete_some(place: Place, state: State, count: int, enough: Enough) -> Done:
    """The next ones of that state; what workers take meanwhile is theirs."""
    with counting("deleted", enough) as tally, in_tube(place) as (client, held):
        wanted = at_most(count, state, held, place.tube)
        more = tally.each(client, state, wanted, client.delete)
    return tally.told(wanted, f"{state} ", f"of tube {place.tube}", more=more)


def empty(place: Place, states: Sequence[State], enough: Enough) -> Done:
    """Delete as many jobs of these states as the tube holds now, so that it ends while others go on putting."""
    present, more = 0, False
    with counting("deleted", enough) as tally, in_tube(place) as (client, held):
        for state in [state for state in EMPTIED if state in states]:
            present += held[state]
            more = more or tally.each(client, state, present, client.delete)
        left = tube_counts(client, place.tube)[State.RESERVED]
    done = tally.told(present, "", f"of tube {place.tube}", more=more)
    return replace(done, message=f"{done.message}; workers keep {jobs(left)} that they have in hand") if left else done


def at_most(count: int, state: State, held: Mapping[State, int], tube: str) -> int:
    """So many as are there. Raises RefusedError where none is."""
    if not held[state]:
        raise RefusedError(f"no job is {state} in tube {tube} (any more)")
    return min(count, held[state])


@contextmanager
def in_tube(place: Place) -> Iterator[tuple[Client, Mapping[State, int]]]:
    """A connection that uses the tube, which must exist (`use` alone would make it), and how many jobs it holds."""
    check_tube_name(place.tube)
    with connect(place.server) as client:
        held = tube_counts(client, place.tube)
        client.use(place.tube)
        yield client, held


@contextmanager
def counting(verb: str, enough: Enough) -> Iterator[Tally]:
    """An error in here tells how many were done before it."""
    tally = Tally(verb, enough)
    try:
        yield tally
    except (BeanstalkdError, RefusedError) as error:
        if not tally.done:
            raise
        raise type(error)(f"{error}; before that it had {verb} {jobs(tally.done)}") from error
