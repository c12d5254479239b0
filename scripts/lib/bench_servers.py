"""The measured servers: beanscale as in a pod, a reference server, and the beanstalkd that they poll."""

import http.client
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

VALUES = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
_AUDITED = {"Audit-Id": "0a4b5c6d-0000-4000-8000-000000000000"}  # each request of the aggregator has one
ADMINISTRATOR: Mapping[str, str] = _AUDITED | {"X-Remote-User": "beanscale-bench", "X-Remote-Group": "system:masters"}
READER: Mapping[str, str] = _AUDITED | {"X-Remote-User": "beanscale-bench-reader"}
"""This user requires access reviews; bench-access.yaml authorizes them."""
START_TIMEOUT_S = 20
RULES = "rules.yaml"
"""The rules file, in the mounted folder."""
MOUNTED = "/run/secrets/kubernetes.io/serviceaccount"
_ACCESS = Path(__file__).with_name("bench-access.yaml")

# The image's files as root file system, with a pod's credentials, only for this process; exec keeps the process id.
_IN_A_POD = """
root=$0 credentials=$1; shift
mount --bind /proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/secrets/kubernetes.io"
cp -r "$credentials" "$root/run/secrets/kubernetes.io/serviceaccount"
chown -R 65532 "$root/run/secrets"
exec chroot --userspec=65532:65532 "$root" env --ignore-environment "$@"
"""
_ENVIRONMENT = (
    "PATH=/opt/beanscale/bin:/usr/bin",  # the image's own
    "PYTHONUNBUFFERED=1",
    "KUBERNETES_SERVICE_HOST=127.0.0.1",
    "KUBERNETES_SERVICE_PORT=6443",
)


class BenchError(Exception):
    """The measurement failed; `str()` is a sentence."""


@dataclass(frozen=True)
class Program:
    """A server that can be started repeatedly."""

    name: str
    command: Callable[[int, str], list[str]]
    """Arguments: the port to listen on, and beanstalkd's address."""


@contextmanager
def beanscale(image: str, pki: Path, rules: str) -> Iterator[Program]:
    """Yield beanscale from its image, with the permissions and credentials of the chart's pod."""
    with _unpacked(image) as root, _credentials(pki) as credentials:
        Path(credentials, RULES).write_text(rules)
        yield Program(
            "beanscale",
            lambda port, tubes: [
                *("unshare", "--mount", "sh", "-ec", _IN_A_POD, root, credentials, *_ENVIRONMENT),
                *("beanscale", "serve", "--bind=127.0.0.1", f"--port={port}", f"--beanstalkd=bench={tubes}"),
            ],
        )


@contextmanager
def _unpacked(image: str) -> Iterator[str]:
    ctr = ("ctr", "--namespace=k8s.io", "images")
    with tempfile.TemporaryDirectory(prefix="beanscale-bench-") as folder:
        output(*ctr, "mount", image, folder)
        try:
            yield folder
        finally:
            output(*ctr, "unmount", "--rm", folder)


@contextmanager
def _credentials(pki: Path) -> Iterator[str]:
    kubectl("apply", f"--filename={_ACCESS}")
    try:
        with tempfile.TemporaryDirectory(prefix="beanscale-bench-") as folder:
            token = kubectl("create", "token", "beanscale-bench", "--namespace=beanscale-bench")
            Path(folder, "token").write_text(token.strip())
            Path(folder, "ca.crt").write_bytes((pki / "ca.crt").read_bytes())
            yield folder
    finally:
        kubectl("delete", "--ignore-not-found", f"--filename={_ACCESS}")


def peer(binary: str, certificates: str) -> Program:
    """Return the reference server, built on Kubernetes' libraries; it stores its serving certificate in a folder."""
    kubeconfig = os.environ["KUBECONFIG"]
    return Program(
        "peer",
        lambda port, tubes: [
            *(binary, f"--beanstalkd={tubes}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
            *(f"--{part}-kubeconfig={kubeconfig}" for part in ("lister", "authentication", "authorization")),
            f"--cert-dir={certificates}",
        ],
    )


def kubectl(*arguments: str) -> str:
    """Return kubectl's output. Raises BenchError."""
    return output("kubectl", *arguments)


def output(*command: str, timeout_s: float = 180) -> str:
    """Return a program's output. Raises BenchError with its error."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if ended.returncode:
        raise BenchError(f"{' '.join(command[:3])} failed: {ended.stderr.strip()}")
    return ended.stdout


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    pki: Path
    log: Path

    @cached_property
    def certificate(self) -> tuple[Path, Path]:
        """The aggregator's certificate and key, which authenticate a front proxy."""
        return self.pki / "front-proxy-client.crt", self.pki / "front-proxy-client.key"

    @contextmanager
    def connected(self) -> Iterator[Callable[[str], bytes]]:
        """Yield a function from a path to a response's body, over one connection. It raises OSError and BenchError."""
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE  # its CA is only in its memory
        tls.load_cert_chain(*self.certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=tls)

        def get(path: str) -> bytes:
            connection.request("GET", path, headers=dict(ADMINISTRATOR))
            response = connection.getresponse()
            body = response.read()
            if response.status != http.HTTPStatus.OK:
                raise BenchError(f"{path} returned {response.status}: {body.decode()}")
            return body

        try:
            yield get
        finally:
            connection.close()

    def first_value(self, tube: str) -> None:
        """Wait for the first response with a value."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with self.connected() as get:
                    if jobs(get, tube) is not None:
                        return
            except (OSError, http.client.HTTPException, BenchError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"no value after {START_TIMEOUT_S} s: {error}; {self.log.read_text()}") from error
            time.sleep(0.005)

    def resident_mb(self) -> float:
        """Return the current memory in 10⁶ bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    def max_resident_mb(self) -> float:
        """Return the maximum memory so far in 10⁶ bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Return the CPU time used so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def jobs(get: Callable[[str], bytes], tube: str) -> int | None:
    """Return the value served for a tube; None if there is none yet."""
    items: list[dict[str, Any]] = json.loads(get(f"{VALUES}/tube-{tube}"))["items"]
    return int(items[0]["value"].replace("k", "000")) if items else None


@contextmanager
def serving(program: Program, tubes: str, pki: Path, core: int) -> Iterator[Server]:
    """Run a program on one core."""
    with tempfile.TemporaryDirectory(prefix="beanscale-bench-") as folder:
        log, port = Path(folder, "log"), free_port()
        command = ["taskset", "--cpu-list", str(core), *program.command(port, tubes)]
        with log.open("wb") as file:
            process = start(command, file)
        with ended(process):
            yield Server(process, port, pki, log)


@contextmanager
def beanstalkd() -> Iterator[tuple[str, int]]:
    """Run an empty beanstalkd. Yield its host and port."""
    port = free_port()
    with ended(start(["beanstalkd", "-l", "127.0.0.1", "-p", str(port)], subprocess.DEVNULL)):
        yield "127.0.0.1", port


def start(command: list[str], log: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program with its output in a log."""
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


@contextmanager
def ended[Text: (str, bytes)](process: subprocess.Popen[Text]) -> Iterator[subprocess.Popen[Text]]:
    """Terminate the process on exit."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
