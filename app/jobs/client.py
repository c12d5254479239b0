"""A beanstalkd client that sends one command at a time: for the worker, the smoke test and the console's actions.

It is greenstalk with what greenstalk lacks: a timeout, checked tube names, and one exception for all its failures.
After an error the connection is out of step with beanstalkd's replies, so `connect` closes it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import greenstalk

from app.beanstalkd.connection import describe_error
from app.beanstalkd.protocol import ProtocolError, check_tube_name
from app.settings import Server

TIMEOUT_S = 5.0
"""For connecting, and for each reply in addition to the time that the command itself may wait."""
DEFAULT_TUBE = greenstalk.DEFAULT_TUBE

type Client = greenstalk.Client[bytes]
type Job = greenstalk.Job[bytes]

ANY_FAILURE = (OSError, ProtocolError, greenstalk.Error, AssertionError, ValueError)
"""All that a connection raises; greenstalk raises the last two for an incomplete or invalid reply."""

_REJECTIONS: dict[type[greenstalk.Error], str] = {
    greenstalk.BuriedError: "it is out of memory and buried the job",
    greenstalk.DrainingError: "it is draining (it received SIGUSR1) and accepts no jobs until it is restarted",
    greenstalk.InternalError: "internal error; see its log",
    greenstalk.JobTooBigError: "the job exceeds its size limit (option -z)",
    greenstalk.OutOfMemoryError: "it is out of memory, or of disk space for its binlog",
    greenstalk.UnknownCommandError: "unknown command; check that it is a beanstalkd",
}


class BeanstalkdError(Exception):
    """beanstalkd can't be reached or rejects a command; `str()` is a clause that names the server."""


class JobLostError(Exception):
    """A job that this client reserved is no longer reserved by it; `str()` is a clause that names the job."""


@contextmanager
def connect(
    server: Server, timeout_s: float = TIMEOUT_S, *, use: str = DEFAULT_TUBE, watch: str = DEFAULT_TUBE
) -> Iterator[Client]:
    """Connect a client that puts into tube `use` and reserves from tube `watch`, and close it at the end.

    Raises TubeNameError, and BeanstalkdError for any failure of beanstalkd while the connection is open.
    """
    check_tube_name(use)
    check_tube_name(watch)
    with (
        translated_errors(server),
        socket.create_connection((server.host, server.port), timeout_s) as connected,
        greenstalk.Client(connected, encoding=None) as client,
    ):
        # not as arguments of Client: if one of these commands fails there, the socket stays open
        if use != DEFAULT_TUBE:
            client.use(use)
        if watch != DEFAULT_TUBE:
            client.watch(watch)
            client.ignore(DEFAULT_TUBE)
        yield client


@contextmanager
def translated_errors(server: Server) -> Iterator[None]:
    """Raise BeanstalkdError for any failure of this beanstalkd within the block."""
    try:
        yield
    except ANY_FAILURE as error:
        match error:
            case OSError():
                problem = describe_error(error)
            case ProtocolError():
                problem = str(error)
            case greenstalk.UnknownResponseError():
                problem = f"unexpected reply {error.status[:40]!r}; check that it is a beanstalkd"
            case greenstalk.Error():
                problem = _REJECTIONS.get(type(error), f"it rejected the command ({type(error).__name__})")
            case _:
                problem = "incomplete or invalid reply; check that it is a beanstalkd"
        raise BeanstalkdError(f"beanstalkd {server.address}: {problem}") from error


def reserve(client: Client, wait_s: int) -> Job | None:
    """Reserve the next job; None if none was ready within `wait_s` whole seconds."""
    try:
        return client.reserve(timeout=wait_s)
    except greenstalk.TimedOutError:
        return None


@contextmanager
def keep_reserved(job: Job) -> Iterator[None]:
    """Touch and delete a reserved job in this block. Raises JobLostError once this client no longer has it."""
    try:
        yield
    except greenstalk.NotFoundError as error:
        raise JobLostError(
            f"job {job.id} is no longer reserved by this client: its time to run ended, or another client deleted it"
        ) from error


def peek(client: Client, job_id: int) -> Job | None:
    """Return the job with this ID; None if there is none."""
    try:
        return client.peek(job_id)
    except greenstalk.NotFoundError:
        return None


def peek_ready(client: Client) -> Job | None:
    """Return the job of the used tube that would be reserved next; None if none is ready."""
    try:
        return client.peek_ready()
    except greenstalk.NotFoundError:
        return None
