"""How a job gets from one tube to another without being lost: the steps, and what follows when one breaks.

beanstalkd has no command for it, so a move is: reserve the job, put a copy, delete the job. The job must exist at least
once at any moment, and exactly once in the end wherever that can be told. Therefore the copy is put with a delay, so
that no worker sees it, and becomes what the job was only once the job itself is gone: up to then it can be taken back.
Should we die in the middle, the copy becomes ready by itself after that delay. beanstalkd counts these steps: a moved
job has been kicked once, or if it is buried, reserved and buried once.

| what breaks             | what follows                                                                        |
|-------------------------|-------------------------------------------------------------------------------------|
| reserve-job, stats-job  | the job goes back to its tube with the connection; buried or delayed again if it can |
| put is refused          | the job goes back as it was                                                         |
| put's answer is lost    | the job goes back as it was; its copy is looked for and taken back                   |
| delete's answer is lost | the job is deleted if it is still there; where a worker has it, the copy goes        |
| the copy's last step    | it is done again on a new connection; else the copy becomes ready after its delay    |

Two things can't be told: a copy whose id we never heard, behind an earlier delayed job (the sentence says so); and a
worker that takes and finishes the job within the moment in which delete's answer was lost: its copy is done again.
"""

from contextlib import ExitStack, suppress
from dataclasses import replace
from time import sleep

import greenstalk

from app.settings import Server
from app.tubes.acting import JobNow, Place, RefusedError, State, job_now
from app.tubes.actions import take
from app.tubes.held import (
    BETWEEN_LOOKS_S,
    LOOKS,
    Held,
    become,
    delete_again,
    deleted,
    give_back,
    is_copy,
    made_again,
    put,
    was_refused,
)
from app.tubes.jobs import ANY_FAILURE, BeanstalkdError, connect, explained


def named(to: Place, near: Server) -> str:
    """`tube a`, or `tube a of eu` where that isn't the server `near`."""
    return f"tube {to.tube}" if to.server == near else f"tube {to.tube} of {to.server.name}"


class Mover:
    """Two connections: one holds the job, one puts its copy. One that broke is replaced."""

    def __init__(self, place: Place, to: Place, stack: ExitStack) -> None:
        self._place, self._to, self._stack = place, to, stack
        self._here, self._there = f"tube {place.tube}", named(to, place.server)
        self._source = stack.enter_context(connect(place.server))
        self._target = stack.enter_context(connect(to.server, use=to.tube))

    def move(self, job_id: int) -> tuple[JobNow, int]:
        """How the job was, and its new id."""
        held = self._take(job_id)
        new_id = self._stage(held)
        self._let_go(held, new_id)
        self._finish(held, new_id)
        return held.before, new_id

    def _take(self, job_id: int) -> Held:
        before = None
        try:
            with explained(self._place.server):
                before = job_now(self._source, job_id, self._place.tube)
                job, now = take(self._source, before, self._place)
        except BeanstalkdError as error:
            if before is None:
                raise
            raise BeanstalkdError(f"{error}; {self._back_after_break(before)}") from error
        return Held(before, job.body, now.pri, now.ttr_s)

    def _stage(self, held: Held) -> int:
        """Put the copy where no worker sees it yet."""
        try:
            return put(self._target, held, held.delay_s, self._to.server)
        except BeanstalkdError as error:
            clear = was_refused(error) or self._took_back_lost(held)
            copied = "" if clear else f"; {self._there} may hold a copy all the same, ready in {held.delay_s} s"
            raise BeanstalkdError(f"{error}; {self._back(held)}{copied}") from error

    def _let_go(self, held: Held, new_id: int) -> None:
        """Delete the job itself; from then on the copy is the job."""
        try:
            with explained(self._place.server):
                gone = deleted(self._source, held.id)
        except BeanstalkdError as error:
            self._let_go_again(held, new_id, error)
        else:
            if not gone:
                self._give_up(held, new_id, "its time to run ended in the midst of it")

    def _let_go_again(self, held: Held, new_id: int, error: BeanstalkdError) -> None:
        self._source.close()
        try:
            self._source = self._stack.enter_context(connect(self._place.server))
            with explained(self._place.server):
                for _ in range(LOOKS):
                    if delete_again(self._source, held.id, self._place.tube):
                        return
                    sleep(BETWEEN_LOOKS_S)
        except BeanstalkdError:
            raise BeanstalkdError(
                f"{error}; so it isn't known whether job {held.id} is still in {self._here}: job {new_id} of"
                f" {self._there} is the same, and becomes ready in {held.delay_s} s; look at both"
            ) from error
        self._give_up(held, new_id, f"{error}; and a worker has taken it meanwhile")

    def _give_up(self, held: Held, new_id: int, why: str) -> None:
        """The job stays; take back the copy. Raises RefusedError."""
        stays = f"job {held.id} stays in {self._here}: {why}"
        with suppress(BeanstalkdError), explained(self._to.server):
            if deleted(self._target, new_id):
                raise RefusedError(stays)
        raise RefusedError(
            f"{stays}; its copy, job {new_id} of {self._there}, couldn't be taken back, so there are two now"
        )

    def _finish(self, held: Held, new_id: int) -> None:
        """Make of the copy what the job was."""
        try:
            with explained(self._to.server):
                become(self._target, held, new_id)
        except BeanstalkdError as error:
            try:
                self._target = self._stack.enter_context(connect(self._to.server, use=self._to.tube))
                with explained(self._to.server):
                    become(self._target, held, new_id)
            except BeanstalkdError:
                raise BeanstalkdError(
                    f"{error}; job {held.id} is job {new_id} of {self._there} now, where it becomes"
                    f" ready in {held.delay_s} s"
                ) from error

    def _back(self, held: Held) -> str:
        """Give the job back as it was: a clause that says where it is."""
        stays = f"job {held.id} stays in {self._here}"
        try:
            give_back(self._source, replace(held.before, pri=held.pri))
        except greenstalk.NotFoundError:
            return f"{stays}: its time to run ended, so it is ready, or a worker has it"
        except greenstalk.BuriedError:
            return f"{stays}, buried for want of memory"
        except ANY_FAILURE:
            return self._back_after_break(held.before)
        return f"{stays}, {held.before.state} as before"

    def _back_after_break(self, before: JobNow) -> str:
        """Its connection has ended, and so beanstalkd has made it ready, whatever it was: make it that again."""
        self._source.close()
        name = f"job {before.id}"
        if before.state is State.READY:
            return f"{name} goes back to {self._here}, ready as before"
        with suppress(BeanstalkdError, RefusedError), connect(self._place.server) as client:
            if made_again(client, before, self._place.tube):
                return f"{name} stays in {self._here}, {before.state} as before"
        return f"{name} goes back to {self._here}, but may be ready now: it was {before.state}"

    def _took_back_lost(self, held: Held) -> bool:
        """Whether the copy whose id we never heard doesn't exist, or does no more."""
        self._target.close()
        with suppress(BeanstalkdError), connect(self._to.server, use=self._to.tube) as client:
            for _ in range(LOOKS):
                sleep(BETWEEN_LOOKS_S)
                try:
                    job = client.peek_delayed()
                except greenstalk.NotFoundError:
                    continue
                if job.body != held.body or not is_copy(client, job.id, held):
                    return False  # it may wait behind this one, and nobody lists jobs
                client.delete(job.id)
                return True
            return True
        return False
