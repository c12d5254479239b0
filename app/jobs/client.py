"""greenstalk, where one command at a time is right: the hello-world worker, the smoke test, the console's actions.

greenstalk has no timeout and checks no tube name: it gets a connected socket that has one, and checked names.
After any error its connection isn't to be used again: `connect` closes it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import greenstalk

from app.beanstalkd.connection import describe_error
from app.beanstalkd.protocol import check_tube_name
from app.settings import Server

TIMEOUT_S = 5.0
"""For connecting, and for each answer beyond the time that a command itself may wait."""
DEFAULT_TUBE = greenstalk.DEFAULT_TUBE

type Client = greenstalk.Client[bytes]
type Job = greenstalk.Job[bytes]

ANY_FAILURE = (OSError, greenstalk.Error, AssertionError, ValueError)
"""All that greenstalk raises; the last two where an answer breaks off or makes no sense."""

_REFUSALS: dict[type[greenstalk.Error], str] = {
    greenstalk.BuriedError: "it is out of memory and buried the job",
    greenstalk.DrainingError: "it is draining (somebody sent SIGUSR1) and takes no job until it is restarted",
    greenstalk.InternalError: "it reports an internal error; its log says more",
    greenstalk.JobTooBigError: "the job is larger than its limit (option -z)",
    greenstalk.OutOfMemoryError: "it is out of memory, or of disk for its binlog",
    greenstalk.UnknownCommandError: "it doesn't know the command; is it a beanstalkd?",
}


class BeanstalkdError(Exception):
    """beanstalkd can't be reached or refuses; `str()` is a sentence that names the server."""


class JobLostError(Exception):
    """The job in hand isn't ours any more; `str()` is a sentence that names it."""


@contextmanager
def connect(
    server: Server, timeout_s: float = TIMEOUT_S, *, use: str = DEFAULT_TUBE, watch: str = DEFAULT_TUBE
) -> Iterator[Client]:
    """A connection that puts into `use` and reserves from `watch`, closed in the end.

    Raises TubeNameError, and BeanstalkdError for whatever goes wrong with beanstalkd while the connection is open.
    """
    check_tube_name(use)
    check_tube_name(watch)
    with (
        explained(server),
        socket.create_connection((server.host, server.port), timeout_s) as connected,
        greenstalk.Client(connected, encoding=None) as client,
    ):
        _choose_tubes(client, use, watch)
        yield client


def _choose_tubes(client: Client, use: str, watch: str) -> None:
    # not as arguments of Client: where one of these fails in there, its socket stays open
    if use != DEFAULT_TUBE:
        client.use(use)
    if watch != DEFAULT_TUBE:
        client.watch(watch)
        client.ignore(DEFAULT_TUBE)


def reserve(client: Client, wait_s: int) -> Job | None:
    """The next job, or None when none came within `wait_s` whole seconds (less than the connection's timeout)."""
    try:
        return client.reserve(timeout=wait_s)
    except greenstalk.TimedOutError:
        return None


def peek(client: Client, job_id: int) -> Job | None:
    """The job with that id, or None when there is none."""
    try:
        return client.peek(job_id)
    except greenstalk.NotFoundError:
        return None


def peek_ready(client: Client) -> Job | None:
    """The job of the used tube that would be reserved next, or None when none is ready."""
    try:
        return client.peek_ready()
    except greenstalk.NotFoundError:
        return None


@contextmanager
def in_hand(job: Job) -> Iterator[None]:
    """Touch and delete a reserved job in here. Raises JobLostError as soon as it isn't ours any more."""
    try:
        yield
    except greenstalk.NotFoundError as error:
        raise JobLostError(
            f"job {job.id} isn't ours any more: its time to run ended, or somebody deleted it"
        ) from error


@contextmanager
def explained(server: Server) -> Iterator[None]:
    """Whatever goes wrong with beanstalkd in here becomes a BeanstalkdError that names it; the innermost one counts."""
    try:
        yield
    except OSError as error:
        raise BeanstalkdError(f"beanstalkd {server.address}: {describe_error(error)}") from error
    except greenstalk.Error as error:
        raise BeanstalkdError(f"beanstalkd {server.address}: {_refusal(error)}") from error
    except (AssertionError, ValueError) as error:  # greenstalk's ways to say that an answer broke off or made no sense
        raise BeanstalkdError(
            f"beanstalkd {server.address}: its answer broke off or makes no sense; is it a beanstalkd?"
        ) from error


def _refusal(error: greenstalk.Error) -> str:
    if isinstance(error, greenstalk.UnknownResponseError):
        return f"it answered {error.status[:40]!r}, which no beanstalkd does here; is it one?"
    return _REFUSALS.get(type(error), f"it refused with {type(error).__name__}")
