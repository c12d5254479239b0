"""A real beanstalkd for each test that asks for one."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.beanstalkd.reading import TubeRef
from app.settings import Server
from tests.beanstalkd.jobs_there import Tubes


class Beanstalkd:
    """One beanstalkd process on a loopback port that it keeps over restarts; without a binlog a restart forgets all."""

    def __init__(self, binary: str, *options: str) -> None:
        self.host = "127.0.0.1"
        self.port = _free_port()
        self._binary, self._options = binary, options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self._binary, "-l", self.host, "-p", str(self.port), *self._options]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, "beanstalkd ended at once"
            assert time.monotonic() < deadline, "beanstalkd doesn't answer"
            time.sleep(0.01)

    def keep_jobs(self, folder: Path) -> None:
        """From its next start on, in a binlog there."""
        self._options = ("-b", str(folder), "-f0")

    def stop(self) -> None:
        """End it and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It accepts connections and answers nothing until `thaw`."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def drain(self) -> None:
        """From now on it takes no job."""
        assert self._process
        self._process.send_signal(signal.SIGUSR1)
        while b"draining: true" not in self._stats():
            time.sleep(0.01)

    def _stats(self) -> bytes:
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            connection.sendall(b"stats\r\nquit\r\n")
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"stats\r\n")
                return connection.recv(2) == b"OK"
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def beanstalkd() -> Iterator[Beanstalkd]:
    yield from running_beanstalkd()


@pytest.fixture
def server(beanstalkd: Beanstalkd) -> Server:
    return Server("main", beanstalkd.host, beanstalkd.port)


@pytest.fixture
def ref(server: Server) -> TubeRef:
    return TubeRef(server, "a")


@pytest.fixture
def tubes(server: Server) -> Iterator[Tubes]:
    looking = Tubes(server)
    yield looking
    looking.close()


def running_beanstalkd(*options: str) -> Iterator[Beanstalkd]:
    """One that answers, ended in the end."""
    binary = shutil.which("beanstalkd")
    assert binary, "beanstalkd isn't installed: apt-get install beanstalkd"
    server = Beanstalkd(binary, *options)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look up and read ten times as often."""
    monkeypatch.setattr("app.beanstalkd.server.LOOKUP_PERIOD_S", 0.1)
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 0.1)
