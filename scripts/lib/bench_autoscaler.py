"""How long the HPA takes: the chart with its default values, installed in the cluster, and 20 jobs."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import greenstalk
from bench_report import Row, at_most
from bench_results import Bench, producer
from bench_servers import BenchError, ended, kubectl, output

RELEASE, NAMESPACE = "beanscale", "beanscale-bench"
WORKER = f"{RELEASE}-hello-world"
TUBE = "hello-world"
JOBS, PODS = 20, 10
OFFSETS_S = (0.2, 1.6, 3.0, 4.4)
"""When the jobs are put, after a sync of the HPA: long or shortly before the next one."""
SYNC_S = 5.0
"""Sync period of the HPA controller in scripts/cluster."""
REFERENCE_S = 16.7
_CHART = str(Path(__file__).parents[2] / "chart")

Statuses = Iterator[Mapping[str, Any]]
"""The HPA's status, at each change."""


def hpa(_: Bench) -> list[Row]:
    """See scripts/bench --help."""
    row = Row("20 jobs put until the HPA wants 10 pods", "s", at_most(6.5, "s"), max, REFERENCE_S, 1)
    with _installed() as source:
        for offset_s in OFFSETS_S:
            with producer(source, TUBE) as tube:
                row.add("beanscale", _until_wanted(tube, offset_s))
                _rest(tube)
    return [row]


@contextmanager
def _installed() -> Iterator[tuple[str, int]]:
    """Install the chart. Yield the address of its beanstalkd."""
    try:
        _helm("install", "--create-namespace")
        service = "jsonpath={.spec.clusterIP} {.spec.ports[0].port}"
        address, port = _ours("get", "service", f"{RELEASE}-beanstalkd", f"--output={service}").split()
        yield address, int(port)
    finally:
        output("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--ignore-not-found")
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def _helm(verb: str, *options: str) -> None:
    output("helm", verb, RELEASE, _CHART, "--namespace", NAMESPACE, "--wait", "--timeout=120s", *options)


def _ours(*arguments: str) -> str:
    return kubectl("--namespace", NAMESPACE, *arguments)


def _until_wanted(tube: greenstalk.Client[bytes], offset_s: float) -> float:
    """Return the seconds from the first put until the HPA wants all pods."""
    with _watched() as statuses:
        # Two jobs need one pod: they change nothing, but show when the HPA syncs. They last for two syncs. A single
        # job, done in 5 s, could start and end between two syncs.
        for _ in range(2):
            tube.put(b"")
        synced_at = _when(statuses, lambda status: _jobs_a_pod(status) in {"1", "2"} and _wanted(status) == 1)
        time.sleep(max(0.0, synced_at + offset_s - time.monotonic()))
        began = time.monotonic()
        for _ in range(JOBS):
            tube.put(b"")
        return _when(statuses, lambda status: _wanted(status) == PODS) - began


@contextmanager
def _watched() -> Iterator[Statuses]:
    options = ("--watch", "--request-timeout=90s", '--output=jsonpath={.status}{"\\n"}')
    command = ["kubectl", "--namespace", NAMESPACE, "get", "hpa", WORKER, *options]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as watch:
        yield (json.loads(line) for line in watch.stdout or () if line.strip())


def _when(statuses: Statuses, wanted: Callable[[Mapping[str, Any]], bool]) -> float:
    last: Mapping[str, Any] = {}
    for last in statuses:
        if wanted(last):
            return time.monotonic()
    raise BenchError(f"the HPA doesn't reach the expected state; its last status: {json.dumps(last)}")


def _jobs_a_pod(status: Mapping[str, Any]) -> str | None:
    (metric,) = status.get("currentMetrics") or [{}]
    value: str | None = metric.get("external", {}).get("current", {}).get("averageValue")
    return value


def _wanted(status: Mapping[str, Any]) -> int:
    return int(status.get("desiredReplicas", 0))


def _rest(tube: greenstalk.Client[bytes]) -> None:
    """Restore the state after the installation, with a new HPA: no wait until the old one has scaled down."""
    _ours("delete", "hpa", WORKER)
    # The HPA controller stores by name how many pods it added in the last seconds, and adds fewer, until a sync finds
    # that the HPA is deleted.
    forgotten_at = time.monotonic() + SYNC_S + 2
    tube.watch(TUBE)
    deadline = time.monotonic() + 60
    while jobs := _waiting(tube):  # the others are reserved, and workers finish them
        if time.monotonic() > deadline:
            raise BenchError(f"{jobs} jobs are still reserved after a minute")
        try:
            tube.delete(tube.reserve(timeout=1))
        except greenstalk.TimedOutError:
            continue
    # Only now: its last sync could still be in progress and would undo this.
    _ours("scale", "deployment", WORKER, "--replicas=1")
    time.sleep(max(0.0, forgotten_at - time.monotonic()))
    _helm("upgrade")


def _waiting(tube: greenstalk.Client[bytes]) -> int:
    stats = tube.stats_tube(TUBE)
    return int(stats["current-jobs-ready"] + stats["current-jobs-reserved"])
