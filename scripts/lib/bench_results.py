"""The benchmarks on loopback: age, poll, start, load. Each returns its rows; programs are measured in turns."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import greenstalk
from bench_report import Row, Threshold, at_least_of_reference, at_most, at_most_of_reference
from bench_servers import ADMINISTRATOR, READER, VALUES, BenchError, Program, Server, beanstalkd, jobs, serving

TUBE = "bench"
ROUNDS = 3
MAX_IDLE_MB, MAX_BUSY_MB = 59.0, 61.0
_SWEEP = re.compile(rb"^beanscale_sweep_seconds\S* (\S+)$", re.MULTILINE)
_POLLED = re.compile(r"polled (\d+) tubes in ([0-9.]+)(ms|s)\b")


@dataclass(frozen=True)
class Bench:
    """Context of all benchmarks."""

    programs: Sequence[Program]
    """In the order of their turns."""
    pki: Path
    server_core: int
    seconds: int
    """Duration of each load."""

    @contextmanager
    def serving(self, program: Program, source: tuple[str, int]) -> Iterator[Server]:
        """Start a program on the servers' core; it polls the beanstalkd at `source`."""
        host, port = source
        with serving(program, f"{host}:{port}", self.pki, self.server_core) as server:
            yield server

    def turns(self, rounds: int = ROUNDS) -> Iterator[Program]:
        """Yield programs A B A B: temporary load on the machine affects both."""
        for _ in range(rounds):
            yield from self.programs


def age(bench: Bench) -> list[Row]:
    """See scripts/bench --help."""
    row = Row("age of a reading when served, 1,000 tubes", "s", at_most(1.2, "s"), max, digits=2)
    for program in bench.programs:
        with beanstalkd() as source, producer(source, TUBE) as put, bench.serving(program, source) as server:
            make_tubes(put, 1000)
            server.first_value(TUBE)
            for sample in _ages(server, put):
                row.add(program.name, sample)
    return [row]


def _ages(server: Server, put: greenstalk.Client[bytes]) -> Iterator[float]:
    """Yield, for each of 20 seconds, the maximum age of a reading served in it."""
    put_at = [time.monotonic()] * (put.stats_tube(TUBE)["current-jobs-ready"] + 1)
    with server.connected() as get:
        while jobs(get, TUBE) != len(put_at) - 1:  # readings older than the puts
            time.sleep(0.02)
        for _ in range(20):
            oldest, end = 0.0, time.monotonic() + 1
            while (now := time.monotonic()) < end:
                put_at.append(now)
                put.put(b"")
                counted = jobs(get, TUBE) or 0
                oldest = max(oldest, time.monotonic() - put_at[counted])
                time.sleep(0.02)
            yield oldest


def poll(bench: Bench) -> list[Row]:
    """See scripts/bench --help."""
    row = Row("one poll of 10,000 tubes", "s", at_most_of_reference(0.4), digits=2)
    with beanstalkd() as source, producer(source, TUBE) as put:
        make_tubes(put, 10_000)
        for program in bench.turns():
            with bench.serving(program, source) as server:
                for took_s in _polls(program, server, 3):
                    row.add(program.name, took_s)
    return [row]


def _polls(program: Program, server: Server, wanted: int) -> list[float]:
    """Return durations of polls, without the first, which this benchmark affects by reading the first value."""
    server.first_value(TUBE)
    deadline = time.monotonic() + 60
    polls: list[float] = []
    with server.connected() as get:
        while len(polls) <= wanted:
            if time.monotonic() > deadline:
                raise BenchError(f"{program.name} polled {len(polls)} times in a minute")
            time.sleep(0.5)
            polls = _logged_polls(server) if program.name == "peer" else _with_the_last_sweep(get, polls)
    return polls[1 : wanted + 1]


def _with_the_last_sweep(get: Callable[[str], bytes], polls: list[float]) -> list[float]:
    found = _SWEEP.search(get("/metrics"))
    took_s = float(found[1]) if found else 0.0
    return polls if not took_s or took_s in polls else [*polls, took_s]


def _logged_polls(server: Server) -> list[float]:
    found = _POLLED.findall(server.log.read_text())
    return [float(number) / (1000 if unit == "ms" else 1) for _, number, unit in found]


def start(bench: Bench) -> list[Row]:
    """See scripts/bench --help."""
    row = Row("start to first value", "s", at_most(1, "s"), max, digits=2)
    with beanstalkd() as source, producer(source, TUBE) as put:
        put.put(b"")
        for program in bench.programs:
            _started(bench, program, source)  # fills the page cache
        for program in bench.turns(5):
            row.add(program.name, _started(bench, program, source))
    return [row]


def _started(bench: Bench, program: Program, source: tuple[str, int]) -> float:
    began = time.monotonic()
    with bench.serving(program, source) as server:
        server.first_value(TUBE)
        return time.monotonic() - began


@dataclass(frozen=True)
class Load:
    """The result of one load."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """The server's CPU time per request."""
    resident_mb: float
    """The server's maximum memory."""


_LOADS: Sequence[tuple[str, int, Mapping[str, str], Mapping[str, Threshold]]] = (
    (
        "16 connections",
        16,
        ADMINISTRATOR,
        {"requests_per_s": at_least_of_reference(3), "p99_ms": at_most_of_reference(0.5)},
    ),
    ("1 connection", 1, ADMINISTRATOR, {"p50_ms": at_most_of_reference(0.6)}),
    ("16, access reviewed", 16, READER, {}),
)
"""Title, connections, user, thresholds."""
_COLUMNS = (
    ("requests_per_s", "requests per second", "", 0),
    ("p50_ms", "p50", "ms", 2),
    ("p99_ms", "p99", "ms", 2),
    ("cpu_us", "CPU per request", "µs", 0),
)
"""Field of Load, title, unit, digits."""


def load(bench: Bench) -> list[Row]:
    """See scripts/bench --help."""
    rows = {
        (title, name): Row(f"{title}: {column}", unit, thresholds.get(name), digits=digits)
        for title, _, _, thresholds in _LOADS
        for name, column, unit, digits in _COLUMNS
    }
    idle = Row("resident memory, idle", "MB", at_most(MAX_IDLE_MB, "MB"), max)
    busy = Row("resident memory under load", "MB", at_most(MAX_BUSY_MB, "MB"), max)
    with beanstalkd() as source, producer(source, TUBE) as put:
        put.put(b"")
        for program in bench.turns():
            with bench.serving(program, source) as server:
                server.first_value(TUBE)
                time.sleep(3)
                idle.add(program.name, server.resident_mb())
                for title, connections, user, _ in _LOADS:
                    measured = _measure(server, connections, user, bench.seconds)
                    for name, *_ in _COLUMNS:
                        rows[title, name].add(program.name, getattr(measured, name))
                    busy.add(program.name, measured.resident_mb)
    return [*rows.values(), idle, busy]


def _measure(server: Server, connections: int, user: Mapping[str, str], seconds: int) -> Load:
    certificate, key = map(str, server.certificate)
    command = [
        *("bombardier", "--print=result", "--format=json", "--latencies", "--insecure"),
        *(f"--connections={connections}", f"--duration={seconds}s", f"--cert={certificate}", f"--key={key}"),
        *(part for name, value in user.items() for part in ("--header", f"{name}: {value}")),
        f"https://127.0.0.1:{server.port}{VALUES}/tube-{TUBE}",
    ]
    used_s, resident_mb = server.cpu_s(), server.resident_mb()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        try:
            while client.poll() is None:
                time.sleep(0.2)
                resident_mb = max(resident_mb, server.resident_mb())
            result = json.loads(client.communicate()[0])["result"]
        finally:
            client.kill()
    return _parsed(result, server.cpu_s() - used_s, resident_mb)


def _parsed(result: Mapping[str, Any], used_s: float, resident_mb: float) -> Load:
    """Parse bombardier's report; its latencies are in microseconds."""
    refused = sum(result[kind] for kind in ("req1xx", "req3xx", "req4xx", "req5xx", "others"))
    if refused or not result["req2xx"]:
        raise BenchError(
            f"{refused} requests of {refused + result['req2xx']} failed under load: {result.get('errors')}"
        )
    latency = result["latency"]["percentiles"]
    return Load(
        result["req2xx"] / result["timeTakenSeconds"],
        latency["50"] / 1000,
        latency["99"] / 1000,
        used_s / result["req2xx"] * 1e6,
        resident_mb,
    )


@contextmanager
def producer(source: tuple[str, int], tube: str) -> Iterator[greenstalk.Client[bytes]]:
    """Yield a connection that uses `tube`, as soon as beanstalkd listens."""
    deadline = time.monotonic() + 5
    while True:
        try:
            client = greenstalk.Client(source, encoding=None, use=tube)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    with client:
        yield client


def make_tubes(put: greenstalk.Client[bytes], count: int) -> None:
    """Put one job in each of `count` tubes, including the producer's own."""
    for number in range(count - 2):  # and `default`, which always exists
        put.use(f"bench-{number:05}")
        put.put(b"")
    put.use(TUBE)
    put.put(b"")


BENCHMARKS: Mapping[str, Callable[[Bench], list[Row]]] = {"age": age, "poll": poll, "start": start, "load": load}
"""In the order of measurement."""
