"""Actions on one tube or its jobs, as the console offers them.

Each action uses one short-lived connection and blocks: run it in a thread. It first checks the job or the tube on the
same connection, because what a user sees is seconds old, and job IDs restart when beanstalkd restarts without a binlog.
A restart ends the connection, so an ID can't come to name another job between check and action. Everything else can
happen in between, as beanstalkd has no transactions. If another client takes the job, beanstalkd rejects the command,
and the error says what became of the job. If it only changes the job's state, the action applies all the same. So each
result names the state in which the job was checked.

Bulk actions peek at the next job of a state and act on it by its ID, as often as time allows. Reserving the jobs isn't
faster with one command at a time and is visible: it gets nothing from a paused tube, and counts as a worker. Kicking by
ID never touches a job of another state, as `kick` does: without buried jobs it makes delayed jobs ready early.

All functions that connect raise TubeNameError, BeanstalkdError, and RefusedError if the job or tube isn't as expected.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import greenstalk

from app import clock
from app.beanstalkd.protocol import ProtocolError, check_tube_name, parse_field
from app.beanstalkd.reading import TubeRef
from app.jobs.client import BeanstalkdError, Client, Job, connect, translated_errors
from app.text import count

MAX_SECONDS = 2**32 - 1
"""Of a pause, a delay or a time to run; also the largest priority."""
_SAME_BIRTH_S = 3
"""Ages are whole seconds, and it takes time to show them."""

type ShouldStop = Callable[[], bool]
"""Returns True once a bulk action or a search has to end for now."""


class RefusedError(Exception):
    """The action doesn't fit what is there now, and changed nothing; `str()` is a clause for the user."""


class GoneError(RefusedError):
    """Another client has the job, or deleted it."""


class State(StrEnum):
    """The state of a job, as beanstalkd names it."""

    READY = "ready"
    DELAYED = "delayed"
    BURIED = "buried"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class ShownJob:
    """The job that a user means, as it was shown."""

    id: int
    born_s: int | None = None
    """When it was put, Unix seconds by the console's clock; None: any job with this ID."""
    state: State | None = None
    """None: in any state."""


@dataclass(frozen=True, slots=True)
class JobStats:
    """One job, from a `stats-job` reply; times in whole seconds."""

    id: int
    state: State
    pri: int
    ttr_s: int
    time_left_s: int
    """Until a delayed job becomes ready, or the time to run of a reserved job ends."""
    age_s: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The result of an action."""

    message: str
    """A clause."""
    count: int | None = None
    """Jobs, for a bulk action."""
    id: int | None = None
    """The job that exists now."""
    more: bool = False
    """It stopped because of time; repeating it continues."""


def stop_after(seconds: float) -> ShouldStop:
    """Return a function that returns True from `seconds` from now on."""
    deadline_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline_s


def job_stats(client: Client, job_id: int, tube: str) -> JobStats:
    """Return the job as it is now. Raises GoneError if there is none, RefusedError if it is in another tube."""
    try:
        stats = client.stats_job(job_id)
    except greenstalk.NotFoundError:
        raise GoneError(f"job {job_id} no longer exists: a worker finished it, or another client deleted it") from None
    try:
        if not _is_name(stats["tube"], tube):
            raise RefusedError(
                f"job {job_id} is in tube {stats['tube']}, not {tube}: IDs restart when beanstalkd restarts without a"
                " binlog; reload"
            )
        return JobStats(job_id, State(stats["state"]), stats["pri"], stats["ttr"], stats["time-left"], stats["age"])
    except KeyError as missing:
        raise ValueError(f"stats without {missing}") from missing  # an invalid reply, see translated_errors


class TubeCounts(dict[State, int]):
    """Jobs by state. A state of which the reply had no valid number is an error only where it is used."""

    def __missing__(self, state: State) -> int:
        """Raise ProtocolError."""
        raise ProtocolError(f"sent no valid current-jobs-{state}; nothing was done with these jobs")


def tube_counts(client: Client, tube: str) -> TubeCounts:
    """Return the number of jobs by state. Raises RefusedError if there is no such tube."""
    try:
        stats: Mapping[str, Any] = client.stats_tube(tube)
    except greenstalk.NotFoundError:
        raise _no_such_tube(tube) from None
    counts = TubeCounts()
    for state in State:
        jobs = parse_field({field: str(value) for field, value in stats.items()}, f"current-jobs-{state}")
        if isinstance(jobs, int):
            counts[state] = jobs
    if not counts:
        raise ValueError("stats-tube without any number of jobs")  # an invalid reply, see translated_errors
    return counts


def _is_name(parsed: str | int, tube: str) -> bool:
    # greenstalk parses unquoted names (beanstalkd before 1.13) as numbers: 7 for tube 007
    try:
        return parsed == tube or (isinstance(parsed, int) and parsed == int(tube))
    except ValueError:
        return False


def _no_such_tube(tube: str) -> RefusedError:
    return RefusedError(f"there is no tube {tube}: it has no jobs, and no client uses or watches it")


def check(client: Client, job: ShownJob, tube: str) -> JobStats:
    """Return the job as it is now. Raises RefusedError if it isn't the one that was shown, or not in the same state.

    A reserved job passes in any case: `not_found` and `take` explain that only its worker can release it.
    """
    now = job_stats(client, job.id, tube)
    if job.born_s is not None and abs(clock.now().unix_s - now.age_s - job.born_s) > _SAME_BIRTH_S:
        raise RefusedError(
            f"job {job.id} isn't the job that was shown: IDs restart when beanstalkd restarts without a binlog; reload"
        )
    if job.state not in {None, now.state, State.RESERVED} and now.state is not State.RESERVED:
        raise RefusedError(f"job {job.id} was {job.state} when it was shown, and is {now.state} now; reload")
    return now


def not_found(client: Client, job_id: int, tube: str) -> RefusedError:
    """Return why beanstalkd replied NOT_FOUND to a command on a job that existed a moment ago."""
    try:
        now = job_stats(client, job_id, tube)
    except RefusedError as gone:
        return gone
    if now.state is State.RESERVED:
        return _reserved(job_id)
    return GoneError(f"job {job_id} has just become {now.state}; reload")


def _reserved(job_id: int) -> GoneError:
    return GoneError(
        f"job {job_id} is reserved: only its worker can release it, by finishing, timing out, or disconnecting"
    )


def put(ref: TubeRef, body: bytes, *, priority: int, delay_s: int, ttr_s: int) -> Done:
    """Put a job; this creates the tube if there is none."""
    with connect(ref.server, use=ref.tube) as client:
        try:
            job_id = client.put(body, priority, delay_s, ttr_s)
        except greenstalk.BuriedError as error:
            raise BeanstalkdError(
                f"beanstalkd {ref.server.address}: it had no memory to queue the job and buried it as job {error.id};"
                " kick it when there is memory again"
            ) from error
        except greenstalk.JobTooBigError as error:
            limit = client.stats()["max-job-size"]
            raise BeanstalkdError(
                f"beanstalkd {ref.server.address}: the job has {len(body):,} bytes, the limit is {limit:,} (option -z)"
            ) from error
    when = f", ready in {delay_s:,} s" if delay_s else ""
    return Done(f"job {job_id} is in tube {ref.tube}{when}", id=job_id)


def kick_job(ref: TubeRef, job: ShownJob) -> Done:
    """Make a buried or delayed job ready."""
    with connect(ref.server) as client:
        before = check(client, job, ref.tube)
        if before.state is State.READY:
            raise RefusedError(f"job {job.id} is already ready")
        try:
            client.kick_job(job.id)
        except greenstalk.NotFoundError:
            raise not_found(client, job.id, ref.tube) from None
    return Done(f"job {job.id}, which was {before.state}, is ready", id=job.id)


def delete(ref: TubeRef, job: ShownJob) -> Done:
    """Delete a job, unless a worker has reserved it."""
    with connect(ref.server) as client:
        before = check(client, job, ref.tube)
        try:
            client.delete(job.id)
        except greenstalk.NotFoundError:
            raise not_found(client, job.id, ref.tube) from None
    return Done(f"job {job.id}, which was {before.state}, is deleted", id=job.id)


def bury(ref: TubeRef, job: ShownJob) -> Done:
    """Bury a ready or delayed job with the priority that it has. beanstalkd counts this as a reserve."""
    with connect(ref.server) as client:
        before = check(client, job, ref.tube)
        if before.state is State.BURIED:
            raise RefusedError(f"job {job.id} is already buried")
        taken, now = take(client, before, ref.tube)
        try:
            with translated_errors(ref.server):
                try:
                    client.bury(taken, now.pri)
                except greenstalk.NotFoundError:
                    raise RefusedError(
                        f"job {job.id} became ready again before it was buried: its time to run is {now.ttr_s} s; retry"
                    ) from None
        except BeanstalkdError as error:
            raise BeanstalkdError(
                f"{error}; job {job.id} is buried, or ready again if beanstalkd didn't receive the command; reload"
            ) from error
    return Done(f"job {job.id}, which was {before.state}, is buried", id=job.id)


def take(client: Client, before: JobStats, tube: str) -> tuple[Job, JobStats]:
    """Reserve a job of any other state, even in a paused tube, until the connection ends."""
    if before.state is State.RESERVED:
        raise _reserved(before.id)
    try:
        job = client.reserve_job(before.id)
    except greenstalk.NotFoundError:
        raise not_found(client, before.id, tube) from None
    return job, job_stats(client, before.id, tube)


def pause(ref: TubeRef, seconds: int) -> Done:
    """Pause a tube: workers can't reserve its jobs for `seconds`."""
    _pause(ref, seconds)
    return Done(f"tube {ref.tube} is paused for {seconds:,} s: workers can't reserve its jobs, new jobs are accepted")


def resume(ref: TubeRef) -> Done:
    """End a pause."""
    _pause(ref, 0)
    return Done(f"tube {ref.tube} is resumed: workers can reserve its jobs again")


def _pause(ref: TubeRef, seconds: int) -> None:
    check_tube_name(ref.tube)
    with connect(ref.server) as client:
        try:
            client.pause_tube(ref.tube, seconds)
        except greenstalk.NotFoundError:
            raise _no_such_tube(ref.tube) from None


PEEK: Mapping[State, Callable[[Client], Job]] = {
    State.READY: greenstalk.Client.peek_ready,
    State.DELAYED: greenstalk.Client.peek_delayed,
    State.BURIED: greenstalk.Client.peek_buried,
}
"""The next job of each state in the used tube."""


class Bulk:
    """One bulk action on a tube, and how far it got."""

    def __init__(
        self, client: Client, tube: str, held: Mapping[State, int], verb: str, should_stop: ShouldStop
    ) -> None:
        self.client = client
        self._tube = tube
        self._verb = verb
        self._should_stop = should_stop
        self.held = held
        """Jobs of the tube by state, when the action began."""
        self.done = 0
        self.more = False
        """It stopped because of time."""

    def next_jobs(self, state: State, limit: int, act: Callable[[int], object], to: str = "") -> Done:
        """Call `act` with the ID of each of the next `limit` jobs in `state`, as far as there are so many.

        Raises RefusedError if there are none.
        """
        if not self.held[state]:
            raise RefusedError(f"tube {self._tube} has no {state} jobs")
        limit = min(limit, self.held[state])
        self.each(state, limit, act)
        return self.result(limit, f"{state} job", to)

    def each(self, state: State, until: int, act: Callable[[int], object]) -> None:
        """Call `act` until `until` jobs are done in all, none in `state` is left, or it is time to stop."""
        while self.done < until and not self.more:
            if self._should_stop():
                self.more = True
                return
            try:
                job = PEEK[state](self.client)
            except greenstalk.NotFoundError:
                return
            with suppress(greenstalk.NotFoundError, GoneError):  # another client took it between the two commands
                act(job.id)
                self.done += 1

    def result(self, wanted: int, noun: str, to: str = "") -> Done:
        """Return how many of `wanted` jobs were done."""
        jobs = count(wanted, noun)
        if self.done < wanted:
            jobs = f"{self.done:,} of {'about ' if self.more else ''}{jobs}"
        message = f"{self._verb} {jobs} of tube {self._tube}{to}"
        if self.more:
            message += "; repeat to continue"
        elif self.done < wanted:
            message += "; other clients took or deleted the rest"
        return Done(message, self.done, more=self.more)


@contextmanager
def bulk_action(ref: TubeRef, verb: str, should_stop: ShouldStop) -> Iterator[Bulk]:
    """Connect for a bulk action; each error says how many jobs were done before it. Raises RefusedError without tube.

    `verb`: what is done, in the past tense.
    """
    check_tube_name(ref.tube)
    bulk = None
    try:
        with connect(ref.server) as client:
            bulk = Bulk(client, ref.tube, tube_counts(client, ref.tube), verb, should_stop)
            client.use(ref.tube)  # only now: `use` creates a tube that doesn't exist
            yield bulk
    except (BeanstalkdError, RefusedError) as error:
        if bulk is None or not bulk.done:
            raise
        raise type(error)(f"{error}; before that it had {verb} {count(bulk.done, 'job')}") from error


def kick_some(ref: TubeRef, state: State, limit: int, should_stop: ShouldStop) -> Done:
    """Make the next buried or delayed jobs ready, at most `limit`."""
    with bulk_action(ref, "kicked", should_stop) as bulk:
        delayed = bulk.held[State.DELAYED]
        if state is State.BURIED and delayed and not bulk.held[State.BURIED]:
            raise RefusedError(
                f"tube {ref.tube} has no buried jobs; kick would make its {count(delayed, 'delayed job')} ready early:"
                " confirm to continue"
            )
        return bulk.next_jobs(state, limit, bulk.client.kick_job)


def delete_some(ref: TubeRef, state: State, limit: int, should_stop: ShouldStop) -> Done:
    """Delete the next jobs in `state`, at most `limit`."""
    with bulk_action(ref, "deleted", should_stop) as bulk:
        return bulk.next_jobs(state, limit, bulk.client.delete)


def empty(ref: TubeRef, states: Sequence[State], should_stop: ShouldStop) -> Done:
    """Delete as many jobs in these states as the tube holds now, so that it ends while clients keep putting jobs."""
    wanted = 0
    with bulk_action(ref, "deleted", should_stop) as bulk:
        # in this order, so that a job that becomes ready meanwhile is deleted too
        for state in (State.BURIED, State.DELAYED, State.READY):
            if state in states:
                wanted += bulk.held[state]
                bulk.each(state, wanted, bulk.client.delete)
        reserved = tube_counts(bulk.client, ref.tube).get(State.RESERVED)
    done = bulk.result(wanted, "job")
    if reserved:
        return replace(done, message=f"{done.message}; workers keep {count(reserved, 'reserved job')}")
    return done
