"""A beanscale beside a real kube-apiserver: `scripts/test kubernetes` starts that and enters its network."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.beanstalkd.conftest import Beanstalkd, beanstalkd

__all__ = ["beanstalkd"]

VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"


@dataclass(frozen=True)
class Beanscale:
    """A running `beanscale serve`, outside the cluster, with a certificate in memory."""

    port: int
    process: subprocess.Popen[str]

    def client(self, certificate: tuple[Path, Path] | None = None, **headers: str) -> httpx.Client:
        """An HTTPS client that shows a client certificate, or none."""
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE  # its CA is in its memory alone
        if certificate:
            tls.load_cert_chain(*certificate)
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", verify=tls, headers=headers, timeout=10, trust_env=False
        )


@contextmanager
def serving(*options: str) -> Iterator[Beanscale]:
    """Start one, wait until it is ready, end it."""
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--bind", "127.0.0.1", "--port", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        server = Beanscale(port, process)
        try:
            wait_until_ready(server)
            yield server
        finally:
            process.terminate()
            process.wait(15)


def wait_until_ready(server: Beanscale) -> None:
    deadline = time.monotonic() + 20
    with server.client() as client:
        while True:
            assert server.process.poll() is None, server.process.stderr.read() if server.process.stderr else ""
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


@pytest.fixture
def server(beanstalkd: Beanstalkd) -> Iterator[Beanscale]:
    with serving("--beanstalkd", f"eu={beanstalkd.host}:{beanstalkd.port}") as started:
        yield started


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
