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

A job in hand and its copy: each step of a move on one connection; carrying.py puts them together.

A job moves to another tube, of the same beanstalkd or another one, and keeps its state, priority and times.

All raise TubeNameError, BeanstalkdError, and RefusedError where things aren't as they were shown; what they say tells
where the job is.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from time import sleep

import greenstalk

from app.beanstalkd.protocol import check_tube_name
from app.jobs.actions import (
    Done,
    Enough,
    GoneError,
    JobNow,
    Place,
    RefusedError,
    State,
    at_most,
    counting,
    in_tube,
    job_now,
    take,
)
from app.jobs.client import ANY_FAILURE, TIMEOUT_S, BeanstalkdError, Client, connect, explained
from app.settings import Server

STAGED_S = 31
"""The copy's delay, whole seconds: far longer than a move takes, and unusual enough to know our own copy by."""
LOOKS = 3
BETWEEN_LOOKS_S = 0.1
"""beanstalkd may take a moment to see that a connection has ended."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that is reserved for us, or to be copied."""

    before: JobNow
    """As it was until then."""
    body: bytes
    pri: int
    ttr_s: int

    @property
    def id(self) -> int:
        """Its own; a copy has another one."""
        return self.before.id

    @property
    def delay_s(self) -> int:
        """That its copy is put with, so that no worker sees it at once."""
        return max(self.before.time_left_s, 1) if self.before.state is State.DELAYED else STAGED_S


def put(target: Client, held: Held, delay_s: int, server: Server) -> int:
    """The copy's id. Raises BeanstalkdError; `was_refused` tells whether there surely is no copy then."""
    try:
        with explained(server):
            return int(target.put(held.body, held.pri, delay_s, held.ttr_s))
    except BeanstalkdError as error:
        if isinstance(error.__cause__, greenstalk.BuriedError) and error.__cause__.id is not None:
            with explained(server), suppress(greenstalk.NotFoundError):
                target.delete(error.__cause__.id)
        raise


def was_refused(error: BeanstalkdError) -> bool:
    """Whether beanstalkd itself said no."""
    return isinstance(error.__cause__, greenstalk.BeanstalkdError)


def bury(client: Client, job_id: int, pri: int) -> None:
    """Unless somebody has taken it."""
    with suppress(greenstalk.NotFoundError):
        client.bury(client.reserve_job(job_id), pri)


def become(target: Client, held: Held, new_id: int) -> None:
    """The copy becomes what the job was."""
    if held.before.state is State.BURIED:
        bury(target, new_id, held.pri)
    elif held.before.state is State.READY:
        with suppress(greenstalk.NotFoundError):  # somebody kicked it before us
            target.kick_job(new_id)


def give_back(source: Client, before: JobNow) -> None:
    """What is reserved on this connection becomes what it was. Raises greenstalk's NotFoundError and BuriedError."""
    job = greenstalk.Job(before.id, b"")
    if before.state is State.BURIED:
        source.bury(job, before.pri)
    else:
        source.release(job, before.pri, before.time_left_s if before.state is State.DELAYED else 0)


def deleted(client: Client, job_id: int) -> bool:
    """Whether it could be."""
    try:
        client.delete(job_id)
    except greenstalk.NotFoundError:
        return False
    return True


def delete_again(source: Client, job_id: int, tube: str) -> bool:
    """Whether the job is gone, now or since our first try."""
    if deleted(source, job_id):
        return True
    try:
        job_now(source, job_id, tube)
    except RefusedError:
        return True
    return False


def made_again(client: Client, before: JobNow, tube: str) -> bool:
    """Whether a job that became ready with the end of a connection is again what it was."""
    for _ in range(LOOKS):
        now = job_now(client, before.id, tube)
        if now.state is before.state:
            return True
        if now.state is State.READY:
            client.reserve_job(before.id)
            give_back(client, before)
            return True
        sleep(BETWEEN_LOOKS_S)
    return False


def is_copy(client: Client, job_id: int, held: Held) -> bool:
    """Whether a delayed job is the copy that we put a moment ago."""
    stats = client.stats_job(job_id)
    told = (stats["pri"], stats["ttr"], stats["delay"], stats["reserves"])
    return told == (held.pri, held.ttr_s, held.delay_s, 0) and stats["age"] <= TIMEOUT_S + 1


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


def move(place: Place, job_id: int, to: Place) -> Done:
    """One job."""
    with _moving(place, to) as mover:
        before, new_id = mover.move(job_id)
    where = named(to, place.server)
    return Done(
        f"job {job_id} of tube {place.tube} is job {new_id} of {where} now, {before.state} as before", id=new_id
    )


def move_some(place: Place, state: State, count: int, to: Place, enough: Enough) -> Done:
    """The next ones of that state; what workers take meanwhile is theirs."""
    with counting("moved", enough) as tally, in_tube(place) as (client, held), _moving(place, to) as mover:
        wanted = at_most(count, state, held, place.tube)
        more = tally.each(client, state, wanted, lambda job: mover.move(job.id))
    return tally.told(wanted, f"{state} ", f"of tube {place.tube} to {named(to, place.server)}", more=more)


def copy(place: Place, job_id: int, to: Place) -> Done:
    """A second job like it: buried where it is buried, delayed where it is delayed, else ready."""
    check_tube_name(place.tube)
    with connect(place.server) as source:
        before = job_now(source, job_id, place.tube)
        try:
            body = source.peek(job_id).body
        except greenstalk.NotFoundError:
            raise GoneError(f"job {job_id} isn't there any more") from None
    held = Held(before, body, before.pri, before.ttr_s)
    with connect(to.server, use=to.tube) as target:
        new_id = put(target, held, held.delay_s if before.state in {State.DELAYED, State.BURIED} else 0, to.server)
        if before.state is State.BURIED:
            bury(target, new_id, held.pri)
    return Done(f"job {job_id} of tube {place.tube} has a copy: job {new_id} of {named(to, place.server)}", id=new_id)


@contextmanager
def _moving(place: Place, to: Place) -> Iterator[Mover]:
    check_tube_name(place.tube)
    check_tube_name(to.tube)
    if place == to:
        raise RefusedError(f"it is in tube {place.tube} already; name another one")
    with ExitStack() as stack:
        yield Mover(place, to, stack)
