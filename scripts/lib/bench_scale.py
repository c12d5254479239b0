"""How long scaling takes: the chart's autoscalers in the cluster, with and without the scaler, and jobs at ten points.

No pod runs, so that only the decisions are measured: the Deployments' pods have a scheduler that doesn't exist.
"""

import json
import math
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_report import Row, at_most
from bench_results import Bench, producer
from bench_servers import BenchError, ended, kubectl, output

RELEASE, NAMESPACE = "beanscale", "beanscale-bench"
JOBS, PODS = 20, 10
TRIALS = 10
SYNC_S = 15.0
"""Kubernetes' default sync period of the HPA controller, in which the trials are evenly spread."""
IDLE_S = 10.0
TIMEOUT_S = 60.0
RECORDED = {
    "KEDA 2.21, 15 s sync": 13.2,
    "reference server, 5 s sync": 16.7,
    "practo/worker-pod-autoscaler 1.6": 14.5,
    "practo/worker-pod-autoscaler 1.6, from 0 pods": 30.4,
}
"""20 jobs put until 10 pods, seconds, measured on a machine like this one."""
_CHART = str(Path(__file__).parents[2] / "chart")


def scale(_: Bench) -> list[Row]:
    """See scripts/bench --help."""
    put = f"{JOBS} jobs put until spec.replicas is {PODS}"
    ours = Row(f"{put}, p90", "s", at_most(1.5, "s"), p90, digits=1)
    plain = Row("the same HPA with immediate: false, p90", "s", aggregate=p90, digits=1)
    zero = Row("the same from 0 pods, p90", "s", at_most(1.5, "s"), p90, digits=1)
    idle = Row(f"last job deleted until 0 pods, idleFor {IDLE_S:g}s", "s", at_most(IDLE_S + 2, "s"), max, digits=1)
    with _installed() as source, _watched() as seen, ThreadPoolExecutor(4 * TRIALS) as pool:
        for number in range(TRIALS):  # after idleFor
            for kind in ("zero", "idle"):
                seen.wait(f"{kind}-{number}", 0)
        start = time.monotonic() + 1

        def up(kind: str, number: int, at_s: float) -> dict[str, float]:
            with producer(source, f"{kind}-{number}") as tube:
                time.sleep(max(0.0, start + at_s - time.monotonic()))
                began = time.monotonic()
                for _ in range(JOBS):
                    tube.put(b"")
            names = (kind, "plain") if kind == "up" else (kind,)
            return {each: seen.wait(f"{each}-{number}", PODS) - began for each in names}

        def down(number: int, at_s: float) -> float:
            with producer(source, f"idle-{number}") as tube:
                time.sleep(max(0.0, start + at_s - time.monotonic()))
                job = tube.put(b"")
                seen.wait(f"idle-{number}", 1)
                tube.delete(job)
                deleted = time.monotonic()
            return seen.wait(f"idle-{number}", 0) - deleted

        points = [number * SYNC_S / TRIALS for number in range(TRIALS)]
        ups = [pool.submit(up, "up", number, at_s) for number, at_s in enumerate(points)]
        zeros = [pool.submit(up, "zero", number, at_s + 0.5) for number, at_s in enumerate(points)]
        idles = [pool.submit(down, number, at_s + 1) for number, at_s in enumerate(points)]
        for number, (of_up, of_zero, of_idle) in enumerate(zip(ups, zeros, idles, strict=True)):
            both = of_up.result()
            ours.add("beanscale", both["up"])
            plain.add("beanscale", both["plain"])
            zero.add("beanscale", of_zero.result()["zero"])
            idle.add("beanscale", of_idle.result())
            up_s, alone_s, zero_s, idle_s = (row.samples["beanscale"][-1] for row in (ours, plain, zero, idle))
            print(
                f"trial {number + 1:2}: up after {up_s:.2f} s, by the controller alone after {alone_s:.2f} s;"
                f" from 0 after {zero_s:.2f} s, to 0 after {idle_s:.2f} s",
                flush=True,
            )
    if min(idle.samples["beanscale"]) < IDLE_S:
        raise BenchError(f"scaled to 0 only {min(idle.samples['beanscale']):.2f} s after the last job")
    recorded = [Row(title, "s", recorded=seconds, digits=1) for title, seconds in RECORDED.items()]
    return [ours, plain, zero, idle, *recorded]


def p90(samples: Sequence[float]) -> float:
    """Return the 90th percentile, by nearest rank."""
    return sorted(samples)[math.ceil(0.9 * len(samples)) - 1]


def _values() -> dict[str, Any]:
    def entry(name: str, tube: str, **more: Any) -> dict[str, Any]:
        base = {"name": name, "target": {"name": name}, "tube": tube, "jobsPerPod": JOBS // PODS, "maxReplicas": 20}
        return base | {"behavior": "prompt"} | more

    entries = []
    for number in range(TRIALS):
        to_zero = {"minReplicas": 0, "idleFor": f"{IDLE_S:g}s"}
        entries += [
            entry(f"up-{number}", f"up-{number}"),
            entry(f"plain-{number}", f"up-{number}", immediate=False),
            entry(f"zero-{number}", f"zero-{number}", **to_zero),
            entry(f"idle-{number}", f"idle-{number}", **to_zero),
        ]
    targets = [_deployment(each["name"]) for each in entries]
    off = {"enabled": False}
    return {"autoscalers": entries, "extraObjects": targets, "helloWorld": off, "console": off}


def _deployment(name: str) -> dict[str, Any]:
    labels = {"bench": name}
    container = {"name": "none", "image": "none"}
    pod = {"metadata": {"labels": labels}, "spec": {"schedulerName": "none", "containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


@contextmanager
def _installed() -> Iterator[tuple[str, int]]:
    """Install the chart. Yield the address of its beanstalkd."""
    try:
        # without --wait: the pods that never run would prevent it
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values:
            json.dump(_values(), values)
            values.flush()
            options = ("--namespace", NAMESPACE, "--create-namespace", "--values", values.name)
            output("helm", "install", RELEASE, _CHART, *options)
        for workload in ("statefulset/beanscale-beanstalkd", "deployment/beanscale-server"):
            kubectl("--namespace", NAMESPACE, "rollout", "status", workload, "--timeout=120s")
        kubectl("wait", "apiservice/v1beta1.external.metrics.k8s.io", "--for=condition=Available", "--timeout=60s")
        service = "jsonpath={.spec.clusterIP} {.spec.ports[0].port}"
        found = kubectl("--namespace", NAMESPACE, "get", "service", f"{RELEASE}-beanstalkd", f"--output={service}")
        address, port = found.split()
        yield address, int(port)
    finally:
        output("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=170s")


class Replicas:
    """spec.replicas of all Deployments, as soon as it changes. Thread-safe."""

    def __init__(self) -> None:
        self._now: dict[str, tuple[float, int]] = {}
        self._changed = threading.Condition()

    def note(self, lines: Iterator[str]) -> None:
        """Follow the output of a watch until it ends."""
        for name, replicas in map(str.split, lines):
            with self._changed:
                if self._now.get(name, (0.0, -1))[1] != int(replicas):
                    self._now[name] = time.monotonic(), int(replicas)
                    self._changed.notify_all()

    def wait(self, name: str, replicas: int) -> float:
        """Return when it became that number. Raise BenchError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._now.get(name, (0, -1))[1] == replicas, TIMEOUT_S):
                raise BenchError(f"{name} has {self._now.get(name, (0, None))[1]} replicas, not {replicas}")
            return self._now[name][0]


@contextmanager
def _watched() -> Iterator[Replicas]:
    replicas = Replicas()
    options = ("--watch", '--output=jsonpath={.metadata.name} {.spec.replicas}{"\\n"}')
    command = ["kubectl", "--namespace", NAMESPACE, "get", "deployments", *options]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as watch:
        threading.Thread(target=replicas.note, args=(watch.stdout,), daemon=True).start()
        yield replicas
