"""How long the autoscaler takes: the chart, installed in the cluster with its own values, and 20 jobs."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import greenstalk
from bench_figures import Bench, producer
from bench_report import Row, at_most
from bench_servers import BenchError, ended, kubectl, output

RELEASE, NAMESPACE = "beanscale", "beanscale-bench"
WORKER = f"{RELEASE}-hello-world"
TUBE = "hello-world"
JOBS, PODS = 20, 10
OFFSETS_S = (0.2, 1.6, 3.0, 4.4)
"""When the jobs are put, from a look of the autoscaler: the next one is far or near."""
SYNC_S = 5.0
"""From one look of the autoscaler to the next."""
PEERS_RECORDED_S = 16.7
_CHART = str(Path(__file__).parents[2] / "chart")

Statuses = Iterator[Mapping[str, Any]]
"""The autoscaler's, each as soon as it changes."""


def hpa(_: Bench) -> list[Row]:
    """See scripts/bench --help."""
    row = Row("20 jobs put until the HPA wants 10 pods", "s", at_most(6.5, "s"), max, PEERS_RECORDED_S, 1)
    with _installed() as source:
        for offset_s in OFFSETS_S:
            with producer(source, TUBE) as tube:
                row.add("beanscale", _until_wanted(tube, offset_s))
                _rest(tube)
    return [row]


@contextmanager
def _installed() -> Iterator[tuple[str, int]]:
    """The address of the release's beanstalkd."""
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
    """Seconds from the first job's put to the autoscaler's wish for all pods."""
    with _watched() as statuses:
        # Two jobs are one pod's: they change nothing, and show when the autoscaler looks. They are there for two of its
        # looks; a single one, done in 5 s, could come and go between two.
        for _ in range(2):
            tube.put(b"")
        looked_at = _when(statuses, lambda status: _jobs_a_pod(status) in {"1", "2"} and _wanted(status) == 1)
        time.sleep(max(0.0, looked_at + offset_s - time.monotonic()))
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
    raise BenchError(f"the autoscaler doesn't get there; its last status: {json.dumps(last)}")


def _jobs_a_pod(status: Mapping[str, Any]) -> str | None:
    (metric,) = status.get("currentMetrics") or [{}]
    value: str | None = metric.get("external", {}).get("current", {}).get("averageValue")
    return value


def _wanted(status: Mapping[str, Any]) -> int:
    return int(status.get("desiredReplicas", 0))


def _rest(tube: greenstalk.Client[bytes]) -> None:
    """As freshly installed: a new autoscaler remembers nothing, so that nobody waits until this one has scaled in."""
    _ours("delete", "hpa", WORKER)
    # Its controller remembers by name how many pods it has added in the last seconds, and adds the fewer, until it has
    # looked for the autoscaler in vain.
    forgotten_at = time.monotonic() + SYNC_S + 2
    tube.watch(TUBE)
    deadline = time.monotonic() + 60
    while jobs := _waiting(tube):  # the others are in workers' hands, who finish them
        if time.monotonic() > deadline:
            raise BenchError(f"{jobs} jobs are still in workers' hands after a minute")
        try:
            tube.delete(tube.reserve(timeout=1))
        except greenstalk.TimedOutError:
            continue
    # Only now: its last look may still have been under way, and it would take the pods back.
    _ours("scale", "deployment", WORKER, "--replicas=1")
    time.sleep(max(0.0, forgotten_at - time.monotonic()))
    _helm("upgrade")


def _waiting(tube: greenstalk.Client[bytes]) -> int:
    stats = tube.stats_tube(TUBE)
    return int(stats["current-jobs-ready"] + stats["current-jobs-reserved"])
