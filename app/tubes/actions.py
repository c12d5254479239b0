"""What a person does to one tube or one job: each on one short-lived connection, blocking, for a thread.

All raise TubeNameError, BeanstalkdError, and RefusedError where things aren't as they were shown.
"""

from collections.abc import Callable

import greenstalk

from app.clock import Instant
from app.tubes.acting import (
    Done,
    JobNow,
    Place,
    RefusedError,
    Shown,
    State,
    in_a_workers_hands,
    job_now,
    no_such_tube,
    why_not,
)
from app.tubes.jobs import BeanstalkdError, Client, Job, connect, explained
from app.tubes.names import check_tube_name

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
