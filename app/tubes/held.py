"""A job in hand and its copy: each step of a move on one connection; carrying.py puts them together."""

from contextlib import suppress
from dataclasses import dataclass
from time import sleep

import greenstalk

from app.settings import Server
from app.tubes.acting import JobNow, RefusedError, State, job_now
from app.tubes.jobs import TIMEOUT_S, BeanstalkdError, Client, explained

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
