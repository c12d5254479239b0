"""A beanscale beside a real kube-apiserver: `scripts/test kubernetes` starts that and enters its network."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.beanstalkd.conftest import Beanstalkd, beanstalkd, running_beanstalkd

__all__ = ["beanstalkd"]

Pair = tuple[Path, Path]
"""Certificate and key."""
VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"


@dataclass(frozen=True)
class Beanscale:
    """A running `beanscale serve`, outside the cluster, with a certificate in memory."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, certificate: Pair | None = None, **headers: str) -> httpx.Client:
        """An HTTPS client that shows a client certificate, or none."""
        url = f"https://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, verify=client_tls(certificate), headers=headers, timeout=60, trust_env=False)

    def raw_get(self, path: str, certificate: Pair) -> tuple[int, Any]:
        """Status and JSON for a path that no client library has tidied up."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=client_tls(certificate))
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.load(answer)


def client_tls(certificate: Pair | None) -> ssl.SSLContext:
    """That shows a certificate, or none."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE  # its CA is in its memory alone
    if certificate:
        tls.load_cert_chain(*certificate)
    return tls


@contextmanager
def serving(*options: str, before: Sequence[str] = ()) -> Iterator[Beanscale]:
    """Start one, wait until it is ready, end it; nothing that a test does may have surprised it.

    `before`: the words before its command, a program that runs it.
    """
    port = free_port()
    command = [*before, sys.executable, "-m", "app", "serve", "--bind", "127.0.0.1", "--port", str(port), *options]
    # To a file, because an unread pipe would fill and block its writer.
    with tempfile.NamedTemporaryFile(suffix=".log") as log, subprocess.Popen(command, stderr=log) as process:
        server = Beanscale(port, process, Path(log.name))
        try:
            wait_until_ready(server)
            yield server
        finally:
            process.terminate()
            process.wait(60)
        assert not re.search('Traceback|"exception"', server.log.read_text())


def wait_until_ready(server: Beanscale) -> None:
    deadline = time.monotonic() + 90
    with server.client() as client:
        while True:
            assert server.process.poll() is None, server.log.read_text()
            try:
                if client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "beanscale doesn't get ready"
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def source() -> Iterator[Beanstalkd]:
    """The beanstalkd that `server` reads; a test that stops one takes `beanstalkd` and a server of its own."""
    yield from running_beanstalkd()


@pytest.fixture(scope="session")
def server(source: Beanstalkd) -> Iterator[Beanscale]:
    with serving("--beanstalkd", f"eu={source.host}:{source.port}") as started:
        yield started


@pytest.fixture(scope="session")
def attacked(source: Beanstalkd) -> Iterator[Beanscale]:
    """A server that logs every request and every error."""
    with serving("--beanstalkd", f"eu={source.host}:{source.port}", "--audit-log", "all") as started:
        yield started
        assert started.process.poll() is None


@pytest.fixture(scope="session")
def pki() -> Path:
    folder = os.environ.get("BEANSCALE_PKI")
    assert folder, "run by `scripts/test kubernetes`: it needs the cluster's keys"
    return Path(folder)


@pytest.fixture(scope="session")
def kubectl() -> str:
    found = shutil.which("kubectl")
    assert found
    return found


@dataclass
class Score:
    """How recorded requests were answered."""

    alike: int = 0
    different: int = 0
    deviating: int = 0


SCORE = pytest.StashKey[Score]()


@pytest.fixture(scope="session")
def score(request: pytest.FixtureRequest) -> Score:
    """Counted over all recordings, and printed at the end."""
    return request.config.stash.setdefault(SCORE, Score())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash.get(SCORE, None):
        terminalreporter.section("contract")
        terminalreporter.write_line(
            f"{found.alike + found.different} of {found.alike + found.different + found.deviating} recorded requests"
            f" answered as they shall be: {found.alike} alike, {found.different} otherwise as the design says"
        )
