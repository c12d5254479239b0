"""The server logs once, also across a restart, that a real tube has no metric name."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import client

UNREACHABLE = """{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]}"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "rules").write_text("metrics: [{name: post, tubes: ['post/*'], value: ready}]", encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(UNREACHABLE, encoding="utf-8")
    return tmp_path


def test_a_tube_with_a_slash_is_logged_once(files: Path, beanstalkd: Beanstalkd) -> None:
    log, server = files / "log", f"--beanstalkd=eu={beanstalkd.host}:{beanstalkd.port}"
    options = f"--rules={files}/rules", f"--kubeconfig={files}/kubeconfig", f"--port={free_port()}"
    command = [sys.executable, "-m", "app", "serve", "--bind=127.0.0.1", server, *options]
    with log.open("wb") as written, subprocess.Popen(command, stderr=written) as process:
        try:
            for turn in range(2):
                with client(beanstalkd, "mail/eu"), client(beanstalkd, "post/eu"), client(beanstalkd, f"turn/{turn}"):
                    is_logged(log, f"turn/{turn}")
                beanstalkd.restart()
        finally:
            process.terminate()
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if "no metric" in line]
    assert sum("mail/eu" in line for line in lines) == 1
    assert len(lines) == 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_logged(log: Path, what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while what not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, f"the log doesn't tell of {what}"
        time.sleep(0.1)
