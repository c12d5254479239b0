"""What listens on all addresses: clients of both IP versions can connect, and IPv4 clients where there is no IPv6."""

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import AF_INET6, create_connection, create_server

import pytest

LISTEN = Path(__file__).parents[2] / "scripts/lib/beanstalkd-listen"
BEANSCALE = [sys.executable, "-m", "app"]
NO_IPV6 = """
import subprocess, sys
subprocess.run("ip link set lo up; sysctl -qw net.ipv6.conf.all.disable_ipv6=1", shell=True, check=True)
sys.path.insert(0, sys.argv[1])
from tests.beanstalkd.test_listening import answering
print(answering(sys.argv[3:], int(sys.argv[2])))
"""


def commands(port: int) -> dict[str, list[str]]:
    return {
        "beanstalkd": [str(LISTEN), "-p", str(port)],
        "worker": [*BEANSCALE, "worker", "--beanstalkd=a=127.0.0.1:1", "--tube=a", f"--port={port}"],
        "console": [
            *(*BEANSCALE, "console", "--beanstalkd=a=127.0.0.1:1", f"--port={port}", "--bind=::"),
            *("--no-kubernetes", "--auth=none", "--force-open"),
        ],
    }


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connects(address: str, port: int) -> bool:
    with suppress(OSError), create_connection((address, port), timeout=5):
        return True
    return False


def answering(command: list[str], port: int, before: Callable[[], object] | None = None) -> list[str]:
    """Run the command and return the loopback addresses on which it accepts connections."""
    with subprocess.Popen(command, preexec_fn=before) as process:  # noqa: PLW1509 - a filter of the child's own
        deadline = time.monotonic() + 60
        while not connects("127.0.0.1", port):
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it doesn't listen"
            time.sleep(0.05)
        found = [address for address in ("127.0.0.1", "::1") if connects(address, port)]
        process.kill()
    return found


@pytest.mark.parametrize("program", ["beanstalkd", "worker", "console"])
def test_it_listens_on_both_ip_versions(program: str) -> None:
    port = free_port()
    assert answering(commands(port)[program], port) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("program", ["beanstalkd", "worker", "console"])
def test_it_listens_where_ipv6_is_disabled(program: str) -> None:
    """In a network of its own, without any IPv6 address."""
    port = free_port()
    unshare = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", NO_IPV6]
    done = subprocess.run(
        [*unshare, str(LISTEN.parents[2]), str(port), *commands(port)[program]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["['127.0.0.1']"], done.stderr


def refuse_ipv6_sockets() -> None:
    """Let the kernel refuse this process sockets of IPv6, as one without IPv6 does."""
    number = {"x86_64": 41, "aarch64": 198}[platform.machine()]  # of the system call `socket`
    load, equals, result = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EAFNOSUPPORT
    program = [
        *((load, 0, 0, 0), (equals, 0, 3, number)),
        *((load, 0, 0, 16), (equals, 0, 1, AF_INET6)),
        *((result, 0, 0, refuse), (result, 0, 0, allow)),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, filtered = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(seccomp, filtered, header, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.mark.parametrize("program", ["worker", "console"])
def test_it_listens_where_the_kernel_has_no_ipv6(program: str) -> None:
    port = free_port()
    assert answering(commands(port)[program], port, refuse_ipv6_sockets) == ["127.0.0.1"]


def test_the_filter_refuses_ipv6_only() -> None:
    """The proof that the test above can fail."""
    code = "import socket; socket.socket(socket.AF_INET); socket.socket(socket.AF_INET6)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, preexec_fn=refuse_ipv6_sockets, check=False
    )
    assert b"Address family not supported" in done.stderr
