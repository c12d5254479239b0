"""The real worker process against a real beanstalkd."""

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import greenstalk
import httpx
import pytest

from tests.beanstalkd.conftest import Beanstalkd

TUBE = "hello-world"


def command(**options: str | float) -> list[str]:
    named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "app", "worker", "--bind=127.0.0.1", f"--tube={TUBE}", *named]


class WorkerProcess:
    """One `beanscale worker`; its page on a loopback port, its log in a file."""

    def __init__(self, log: Path, server: str, seconds_per_job: float, environment: dict[str, str]) -> None:
        self._log = log
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command(beanstalkd=server, seconds_per_job=seconds_per_job, port=self.port),
                stderr=stderr,
                env=os.environ | environment,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def status(self, path: str) -> int:
        """The HTTP status, or 0 while nothing listens yet."""
        try:
            return self.get(path).status_code
        except httpx.ConnectError:
            return 0

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


type Start = Callable[..., WorkerProcess]
type Tube = Callable[[], greenstalk.Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    workers: list[WorkerProcess] = []

    def start_worker(server: str, seconds_per_job: float = 0.05, **environment: str) -> WorkerProcess:
        workers.append(WorkerProcess(tmp_path / f"worker-{len(workers)}.log", server, seconds_per_job, environment))
        until(lambda: workers[-1].status("/livez") == 200)
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.end()


@pytest.fixture
def server(beanstalkd: Beanstalkd) -> str:
    return f"{beanstalkd.host}:{beanstalkd.port}"


@pytest.fixture
def tube(beanstalkd: Beanstalkd) -> Tube:
    """Opens a client that puts into the worker's tube."""
    return lambda: greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use=TUBE)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def works_on(worker: WorkerProcess, job: int) -> bool:
    """Return whether the worker has the job. A worker that stops earlier releases it."""
    return any("job reserved" in line and f"job={job} " in line for line in worker.log.splitlines())


def is_there(client: greenstalk.Client, job: int) -> bool:
    try:
        client.stats_job(job)
    except greenstalk.NotFoundError:
        return False
    return True


def test_jobs_are_done_one_after_the_other_and_deleted(start: Start, server: str, tube: Tube) -> None:
    worker = start(server)
    with tube() as client:
        for _ in range(5):
            client.put(b"work")
        until(lambda: client.stats()["cmd-delete"] == 5)
        assert client.stats()["current-jobs-ready"] == 0
    until(lambda: "<dd>5</dd>" in worker.get("/").text)


def test_a_payload_is_neither_read_nor_logged(start: Start, server: str, tube: Tube) -> None:
    worker = start(server)
    with tube() as client:
        client.put(b"cos\nsystem\n(S'secret \x00\xff'\ntR.\r\n")
        until(lambda: client.stats()["cmd-delete"] == 1)
    assert "secret" not in worker.log
    assert "bytes=30" in worker.log


def test_at_sigterm_the_current_job_is_finished_and_the_others_stay(start: Start, server: str, tube: Tube) -> None:
    worker = start(server, seconds_per_job=2)
    with tube() as client:
        first, second = client.put(b"first"), client.put(b"second")
        until(lambda: works_on(worker, first))
        worker.process.terminate()
        until(lambda: "shutting down" in worker.log)
        assert worker.get("/").status_code == 200  # the page stays until the job is done
        assert worker.process.wait(60) == 0
        with pytest.raises(greenstalk.NotFoundError):
            client.peek(first)
        assert client.stats_job(second)["reserves"] == 0


def test_a_job_reserved_at_shutdown_is_done_or_released(start: Start, server: str, tube: Tube) -> None:
    worker = start(server)
    until(lambda: worker.status("/readyz") == 200)
    with tube() as client:
        while True:
            worker.process.send_signal(signal.SIGSTOP)
            job = client.put(b"late")
            if client.stats_job(job)["state"] == "reserved":
                break
            worker.process.send_signal(signal.SIGCONT)  # it was stopped between two questions for a job
            until(lambda: not is_there(client, job))  # noqa: B023 - awaited before it changes
        worker.process.terminate()
        worker.process.send_signal(signal.SIGCONT)
        assert worker.process.wait(60) == 0
        if works_on(worker, job):
            until(lambda: not is_there(client, job))
        else:
            until(lambda: client.stats_job(job)["state"] == "ready")


def test_an_idle_worker_stops_at_once(start: Start, server: str) -> None:
    worker = start(server)
    until(lambda: worker.status("/readyz") == 200)
    worker.process.terminate()
    assert worker.process.wait(60) == 0  # it would wait for ever for a job


def test_a_second_ctrl_c_stops_now_and_releases_the_job(start: Start, server: str, tube: Tube) -> None:
    worker = start(server, seconds_per_job=60)
    with tube() as client:
        job = client.put(b"long")
        until(lambda: works_on(worker, job))
        worker.process.send_signal(signal.SIGINT)
        until(lambda: "shutting down" in worker.log)
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(60) == -signal.SIGINT
        until(lambda: client.stats_job(job)["state"] == "ready")


def test_work_longer_than_the_time_to_run_keeps_the_job(start: Start, server: str, tube: Tube) -> None:
    worker = start(server, seconds_per_job=11)
    with tube() as client:
        client.put(b"slow", ttr=10)
        until(lambda: client.stats()["cmd-delete"] == 1)
        assert client.stats()["job-timeouts"] == 0
        assert client.stats()["cmd-touch"] > 5
    assert worker.log.count("job reserved") == 1


@pytest.fixture
def forgetful() -> Iterator[str]:
    """A stand-in that takes every job back after half a second: a silent worker's TTR is no clock in beanstalkd 1.12.

    (It often misses the end; beanstalkd#262, #380.)
    """
    answers = {
        b"watch": b"WATCHING 2",
        b"ignore": b"WATCHING 1",
        b"list-tubes-watched": b"OK 4\r\n---\n",
        b"reserve-with-timeout": b"RESERVED 7 1\r\nx",
        b"touch": b"NOT_FOUND",
    }

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(answers[line.split()[0]] + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield "{}:{}".format(*listener.server_address)
        listener.shutdown()


def test_a_job_that_timed_out_is_reported_lost_and_work_continues(start: Start, forgetful: str) -> None:
    worker = start(forgetful, seconds_per_job=0.2)
    until(lambda: worker.log.count("job reserved") > 2)
    assert "job 7 is no longer reserved by this client" in worker.log
    assert " lost</dd>" in worker.get("/").text
    assert worker.status("/readyz") == 200
    worker.process.kill()


def test_after_a_restart_of_beanstalkd_the_worker_reconnects_and_reports_the_lost_job(
    start: Start, server: str, beanstalkd: Beanstalkd, tube: Tube
) -> None:
    worker = start(server, seconds_per_job=8)
    with tube() as client:
        job = client.put(b"interrupted")
        until(lambda: works_on(worker, job))
    beanstalkd.stop()
    until(lambda: worker.status("/readyz") == 503)
    until(lambda: "connection refused" in worker.get("/readyz").text)
    assert worker.status("/livez") == 200
    beanstalkd.start()
    until(lambda: worker.status("/readyz") == 200)
    with tube() as client:
        client.put(b"after")
        until(lambda: client.stats()["cmd-delete"] == 1)
    assert f"while job {job} was in progress" in worker.log
    assert "Traceback" not in worker.log


def test_a_worker_whose_beanstalkd_never_replies_is_alive_but_not_ready(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = start(f"127.0.0.1:{silent.getsockname()[1]}")
        until(lambda: "timed out" in worker.get("/readyz").text)
        assert worker.status("/readyz") == 503
        assert worker.status("/livez") == 200


def test_the_page_shows_names_as_text(start: Start, server: str) -> None:
    worker = start(server, POD_NAME="<script>alert('pod')</script>")
    page = worker.get("/")
    assert "<script" not in page.text
    assert "&lt;script&gt;alert(&#x27;pod&#x27;)&lt;/script&gt;" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_port_in_use_is_one_sentence_and_status_2(start: Start, server: str) -> None:
    taken = start(server).port
    second = subprocess.run(
        command(beanstalkd=server, port=taken), capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"can't listen on 127.0.0.1 port {taken}" in second.stderr
