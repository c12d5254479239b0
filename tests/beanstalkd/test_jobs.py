"""One command at a time against a real beanstalkd: Beanstalkd, and against servers that only pretend."""

import socket
import threading
from collections.abc import Callable, Iterator

import greenstalk
import pytest

from app.beanstalkd.protocol import TubeNameError
from app.jobs.actions import job_stats, tube_counts
from app.jobs.client import BeanstalkdError, JobLostError, connect, keep_reserved, peek, peek_ready, reserve
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd


@pytest.fixture
def server(beanstalkd: Beanstalkd) -> Server:
    return Server("main", beanstalkd.host, beanstalkd.port)


type Pretend = Callable[[bytes], Server]


@pytest.fixture
def pretend() -> Iterator[Pretend]:
    """Starts a server that answers the first question with the bytes given and hangs up."""
    listeners: list[socket.socket] = []

    def answer_once(listener: socket.socket, answer: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    def start(answer: bytes) -> Server:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=answer_once, args=(listener, answer), daemon=True).start()
        return Server("pretender", *listener.getsockname())

    yield start
    for listener in listeners:
        listener.close()


def test_a_job_is_put_reserved_and_deleted(server: Server) -> None:
    with connect(server, use="t", watch="t") as client:
        put = client.put(b"\x00\xff binary")
        job = reserve(client, 0)
        assert job is not None
        assert (job.id, job.body) == (put, b"\x00\xff binary")
        with keep_reserved(job):
            client.delete(job)
        assert peek(client, put) is None


def test_a_reserve_that_times_out_returns_none(server: Server) -> None:
    with connect(server, watch="empty") as client:
        assert reserve(client, 0) is None
        assert peek_ready(client) is None


def test_a_job_reserved_by_another_client_is_lost(server: Server) -> None:
    with connect(server, use="t", watch="t") as owner, connect(server) as other:
        owner.put(b"")
        job = reserve(owner, 0)
        assert job is not None
        with (
            pytest.raises(JobLostError, match=rf"job {job.id} is no longer reserved by this client"),
            keep_reserved(job),
        ):
            other.delete(job)


def test_a_tube_name_that_contains_a_command_never_reaches_beanstalkd(server: Server) -> None:
    with pytest.raises(TubeNameError), connect(server, watch="t\r\npause-tube default 9"):
        pass


def test_a_name_of_digits_stays_a_name(server: Server) -> None:
    with connect(server, use="007") as client:
        assert client.using() == "007"


def test_a_beanstalkd_that_is_down_is_named_with_the_reason(server: Server, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    with pytest.raises(BeanstalkdError, match=f"^beanstalkd {server.address}: connection refused$"), connect(server):
        pass


def test_a_host_without_address_is_named() -> None:
    with pytest.raises(BeanstalkdError, match="DNS lookup failed"), connect(Server("x", "no.invalid", 11300)):
        pass


def test_one_that_never_replies_takes_no_longer_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Server("silent", *silent.getsockname())
        with pytest.raises(BeanstalkdError, match="timed out"), connect(server, 0.2, watch="t"):
            pass


def test_one_that_stops_between_two_commands_is_one_sentence(server: Server, beanstalkd: Beanstalkd) -> None:
    def ask_after_its_death() -> None:
        with connect(server, watch="t") as client:
            beanstalkd.stop()
            client.stats()

    with pytest.raises(BeanstalkdError, match=server.address):
        ask_after_its_death()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection"),
        (b"OK 10", "incomplete or invalid"),
        (b"OK 100\r\n---\nver", "incomplete or invalid"),
        (b"OK ten\r\n", "incomplete or invalid"),
        (b"\r\n", "incomplete or invalid"),
        (b"OK 9\r\n---\n\xff\xff: 1\r\n", "incomplete or invalid"),
        (b"HTTP/1.1 400 Bad Request\r\n", "unexpected reply"),
        (b"INTERNAL_ERROR\r\n", "internal error; see its log"),
        (b"OUT_OF_MEMORY\r\n", "out of memory"),
    ],
)
def test_any_unexpected_reply_is_one_sentence(pretend: Pretend, answer: bytes, said: str) -> None:
    server = pretend(answer)
    with pytest.raises(BeanstalkdError, match=said) as failure, connect(server, 60) as client:
        client.stats()
    assert str(failure.value).startswith(f"beanstalkd {server.address}: ")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("ask", [lambda client: job_stats(client, 1, "a"), lambda client: tube_counts(client, "a")])
def test_a_reply_without_a_field_is_one_sentence_too(
    pretend: Pretend, ask: Callable[[greenstalk.Client[bytes]], object]
) -> None:
    server = pretend(b"OK 10\r\n---\nid: 1\n\r\n")
    with (
        pytest.raises(BeanstalkdError, match="incomplete or invalid reply; check that it is a beanstalkd"),
        connect(server, 1) as client,
    ):
        ask(client)


def test_a_draining_beanstalkd_is_reported(pretend: Pretend) -> None:
    with pytest.raises(BeanstalkdError, match="draining"), connect(pretend(b"DRAINING\r\n"), 60) as client:
        client.put(b"")
