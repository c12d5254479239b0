"""The log of a process whose reader is gone."""

import signal
import socket
import subprocess
import sys

import httpx


def test_a_process_whose_log_is_closed_ends_at_the_first_signal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "console", "--no-kubernetes", f"--port={port}", "--beanstalkd=127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while "listening" not in process.stderr.readline():
                assert process.poll() is None
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == 200
            process.stderr.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
