"""Move jobs to another tube, of the same beanstalkd or another one, and copy them, without losing any.

beanstalkd has no command for this, so a move reserves the job, puts a copy, and deletes the job. At any moment the job
exists at least once, and in the end exactly once wherever that can be known. So the copy is put with a delay that hides
it from workers, and gets the job's state only once the job is deleted; until then the copy can be deleted. If this
process dies in between, the copy becomes ready after its delay. The steps stay visible in the counters of the moved
job: it has been kicked once or, if it is buried, reserved and buried once.

| what fails              | what follows                                                                      |
|-------------------------|-----------------------------------------------------------------------------------|
| reserve-job, stats-job  | beanstalkd makes the job ready; it is delayed or buried again if possible         |
| put is rejected         | the job is released as it was                                                     |
| put's reply is lost     | the job is released as it was; its copy is searched for and deleted               |
| delete's reply is lost  | the job is deleted if it still exists; if a worker has it, the copy is deleted    |
| the copy's last step    | it is repeated on a new connection; else the copy becomes ready after its delay   |

Two cases can't be detected. A copy whose ID is unknown may wait behind a job that is delayed for less time; the message
says so. A worker may take and finish the job in the moment when delete's reply is lost; then its copy is done again.

All functions raise TubeNameError, BeanstalkdError, and RefusedError if the job or tube isn't as expected; each message
says where the job is.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from time import sleep

import greenstalk

from app.beanstalkd.protocol import check_tube_name
from app.beanstalkd.reading import TubeRef
from app.jobs.actions import (
    Done,
    GoneError,
    JobStats,
    RefusedError,
    ShouldStop,
    ShownJob,
    State,
    bulk_action,
    check,
    job_stats,
    take,
)
from app.jobs.client import ANY_FAILURE, TIMEOUT_S, BeanstalkdError, Client, connect, peek, translated_errors
from app.settings import Server

COPY_DELAY_S = 31
"""Whole seconds: far longer than a move takes, and unusual enough to recognize the copy by it."""
_ATTEMPTS = 3
_RETRY_S = 0.1
"""beanstalkd may take a moment to see that a connection has ended."""


@dataclass(frozen=True, slots=True)
class JobCopy:
    """A job as it is put into the target tube."""

    before: JobStats
    """The job before the move."""
    body: bytes
    pri: int
    ttr_s: int

    @property
    def delay_s(self) -> int:
        """The delay with which it is put: the rest of the job's own, or COPY_DELAY_S."""
        return max(self.before.time_left_s, 1) if self.before.state is State.DELAYED else COPY_DELAY_S

    def put(self, target: Client, delay_s: int, server: Server) -> int:
        """Return the ID of the copy. Raises BeanstalkdError."""
        try:
            with translated_errors(server):
                return int(target.put(self.body, self.pri, delay_s, self.ttr_s))
        except BeanstalkdError as error:
            if isinstance(error.__cause__, greenstalk.BuriedError) and error.__cause__.id is not None:
                with translated_errors(server), suppress(greenstalk.NotFoundError):
                    target.delete(error.__cause__.id)
            raise

    def restore_state(self, target: Client, copy_id: int) -> None:
        """Give the copy the state of the job, unless another client has changed it meanwhile."""
        with suppress(greenstalk.NotFoundError):
            if self.before.state is State.BURIED:
                target.bury(target.reserve_job(copy_id), self.pri)
            elif self.before.state is State.READY:
                target.kick_job(copy_id)


def move(source: TubeRef, job: ShownJob, target: TubeRef) -> Done:
    """Move one job; it keeps its state, priority, delay and time to run."""
    with _moving(source, target) as mover:
        before, new_id = mover.move(job)
    return Done(
        f"job {job.id} of tube {source.tube} is now job {new_id} of {mover.target_name}, {before.state} as before",
        id=new_id,
    )


def move_some(source: TubeRef, state: State, limit: int, target: TubeRef, should_stop: ShouldStop) -> Done:
    """Move the next jobs in `state`, at most `limit`, one by one."""
    with bulk_action(source, "moved", should_stop) as bulk, _moving(source, target) as mover:
        return bulk.next_jobs(state, limit, lambda job_id: mover.move(ShownJob(job_id)), f" to {mover.target_name}")


def copy(source: TubeRef, job: ShownJob, target: TubeRef) -> Done:
    """Put a second job with the same body, priority and time to run: buried or delayed like the first, else ready."""
    check_tube_name(source.tube)
    with connect(source.server) as client:
        before = check(client, job, source.tube)
        found = peek(client, job.id)
        if found is None:
            raise GoneError(f"job {job.id} no longer exists")
    duplicate = JobCopy(before, found.body, before.pri, before.ttr_s)
    with connect(target.server, use=target.tube) as client:
        hidden = before.state in {State.DELAYED, State.BURIED}
        new_id = duplicate.put(client, duplicate.delay_s if hidden else 0, target.server)
        now = f"job {new_id} of {_name(target, source.server)}"
        if before.state is State.BURIED:
            try:
                with translated_errors(target.server):
                    duplicate.restore_state(client, new_id)
            except BeanstalkdError as error:
                raise BeanstalkdError(
                    f"{error}; the copy is {now}, and becomes ready in {duplicate.delay_s} s unless it is buried"
                ) from error
    state = {State.DELAYED: f", ready in {duplicate.delay_s:,} s", State.BURIED: ", buried as well"}.get(
        before.state, ""
    )
    return Done(f"copied job {job.id} of tube {source.tube}: {now}{state}", id=new_id)


def _name(target: TubeRef, near: Server) -> str:
    """Return `tube a`, or `tube a of eu` on another server than `near`."""
    return f"tube {target.tube}" if target.server == near else f"tube {target.tube} of {target.server.name}"


@contextmanager
def _moving(source: TubeRef, target: TubeRef) -> Iterator["_Mover"]:
    check_tube_name(source.tube)
    check_tube_name(target.tube)
    if source == target:
        raise RefusedError(f"the job is already in tube {source.tube}; choose another tube")
    with ExitStack() as stack:
        yield _Mover(source, target, stack)


class _Mover:
    """Moves jobs over two connections: one holds the job, one puts its copy. A broken connection is replaced."""

    def __init__(self, source: TubeRef, target: TubeRef, stack: ExitStack) -> None:
        self.target_name = _name(target, source.server)
        self._from, self._to, self._stack = source, target, stack
        self._source = stack.enter_context(connect(source.server))
        self._target = stack.enter_context(connect(target.server, use=target.tube))

    def move(self, shown: ShownJob) -> tuple[JobStats, int]:
        """Return the job as it was before, and its new ID."""
        before = None
        try:
            with translated_errors(self._from.server):
                before = check(self._source, shown, self._from.tube)
                job, now = take(self._source, before, self._from.tube)
        except BeanstalkdError as error:
            if before is None:
                raise
            raise BeanstalkdError(f"{error}; {self._restore_after_disconnect(before)}") from error

        duplicate = JobCopy(before, job.body, now.pri, now.ttr_s)
        try:
            copy_id = duplicate.put(self._target, duplicate.delay_s, self._to.server)
        except BeanstalkdError as error:
            rejected = isinstance(error.__cause__, greenstalk.BeanstalkdError)
            copied = (
                ""
                if rejected or self._delete_lost_copy(duplicate)
                else f"; {self.target_name} may hold a copy all the same, ready in {duplicate.delay_s} s"
            )
            raise BeanstalkdError(f"{error}; {self._release(duplicate)}{copied}") from error

        # once the job is deleted, the copy is the job
        try:
            with translated_errors(self._from.server):
                deleted = _delete(self._source, before.id)
            reason = "its time to run ended during the move"
        except BeanstalkdError as error:
            deleted = self._delete_on_new_connection(duplicate, copy_id, error)
            reason = f"{error}; a worker has reserved it meanwhile"
        if not deleted:
            stays = f"job {before.id} stays in tube {self._from.tube}: {reason}"
            with suppress(BeanstalkdError), translated_errors(self._to.server):
                if _delete(self._target, copy_id):
                    raise RefusedError(stays)
            raise RefusedError(
                f"{stays}; its copy, job {copy_id} in {self.target_name}, can't be deleted, so the job exists twice"
            )

        try:
            with translated_errors(self._to.server):
                duplicate.restore_state(self._target, copy_id)
        except BeanstalkdError as error:
            try:
                self._target = self._stack.enter_context(connect(self._to.server, use=self._to.tube))
                with translated_errors(self._to.server):
                    duplicate.restore_state(self._target, copy_id)
            except BeanstalkdError:
                raise BeanstalkdError(
                    f"{error}; job {before.id} is now job {copy_id} of {self.target_name}, where it becomes ready in"
                    f" {duplicate.delay_s} s"
                ) from error
        return before, copy_id

    def _release(self, duplicate: JobCopy) -> str:
        """Release the job as it was. Return a clause that says where it is."""
        before = duplicate.before
        stays = f"job {before.id} stays in tube {self._from.tube}"
        try:
            _release(self._source, replace(before, pri=duplicate.pri))
        except greenstalk.NotFoundError:
            return f"{stays}: its time to run ended, so it is ready, or a worker has it"
        except greenstalk.BuriedError:
            return f"{stays}, buried because beanstalkd is out of memory"
        except ANY_FAILURE:
            return self._restore_after_disconnect(before)
        return f"{stays}, {before.state} as before"

    def _restore_after_disconnect(self, before: JobStats) -> str:
        """Restore a job that beanstalkd made ready when the connection ended. Return a clause that says where it is."""
        self._source.close()
        tube = self._from.tube
        if before.state is State.READY:
            return f"job {before.id} goes back to tube {tube}, ready as before"

        def restored(client: Client) -> bool:
            now = job_stats(client, before.id, tube)
            if now.state is State.READY:
                client.reserve_job(before.id)
                _release(client, before)
            return now.state in {before.state, State.READY}

        with suppress(BeanstalkdError, RefusedError), connect(self._from.server) as client:
            if _eventually(lambda: restored(client)):
                return f"job {before.id} stays in tube {tube}, {before.state} as before"
        return f"job {before.id} goes back to tube {tube}, but may be ready now: it was {before.state}"

    def _delete_lost_copy(self, duplicate: JobCopy) -> bool:
        """Delete the copy whose ID is unknown. Return whether there is surely none now."""
        self._target.close()
        with suppress(BeanstalkdError), connect(self._to.server, use=self._to.tube) as client:
            for _ in range(_ATTEMPTS):
                sleep(_RETRY_S)
                try:
                    found = client.peek_delayed()
                except greenstalk.NotFoundError:
                    continue
                stats = client.stats_job(found.id)
                is_copy = (
                    (found.body, stats["pri"], stats["ttr"], stats["delay"], stats["reserves"])
                    == (duplicate.body, duplicate.pri, duplicate.ttr_s, duplicate.delay_s, 0)
                ) and stats["age"] <= TIMEOUT_S + 1
                if not is_copy:
                    return False  # the copy may wait behind this job, and beanstalkd lists no jobs
                client.delete(found.id)
                return True
            return True
        return False

    def _delete_on_new_connection(self, duplicate: JobCopy, copy_id: int, error: BeanstalkdError) -> bool:
        """Return whether the job is deleted, now or by the command whose reply was lost."""
        self._source.close()
        job_id, tube = duplicate.before.id, self._from.tube

        def deleted() -> bool:
            if _delete(self._source, job_id):
                return True
            try:
                job_stats(self._source, job_id, tube)
            except RefusedError:
                return True
            return False

        try:
            self._source = self._stack.enter_context(connect(self._from.server))
            with translated_errors(self._from.server):
                return _eventually(deleted)
        except BeanstalkdError:
            raise BeanstalkdError(
                f"{error}; job {job_id} may still be in tube {tube}; its copy, job {copy_id} in {self.target_name},"
                f" becomes ready in {duplicate.delay_s} s; check both, and if both exist delete one"
            ) from error


def _delete(client: Client, job_id: int) -> bool:
    """Return False if beanstalkd replies NOT_FOUND: the job is gone, or another connection has reserved it."""
    try:
        client.delete(job_id)
    except greenstalk.NotFoundError:
        return False
    return True


def _release(source: Client, before: JobStats) -> None:
    """Give a job that this connection has reserved its state back. Raises greenstalk's NotFoundError, BuriedError."""
    job = greenstalk.Job(before.id, b"")
    if before.state is State.BURIED:
        source.bury(job, before.pri)
    else:
        source.release(job, before.pri, before.time_left_s if before.state is State.DELAYED else 0)


def _eventually(attempt: Callable[[], bool]) -> bool:
    """Return whether one of _ATTEMPTS attempts returned True."""
    for _ in range(_ATTEMPTS):
        if attempt():
            return True
        sleep(_RETRY_S)
    return False
