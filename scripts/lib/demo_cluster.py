"""One look at everything that the demo shows: the tube, the metric, the autoscaler, its pods."""

import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import greenstalk

from app.jobs.client import BeanstalkdError, connect
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName, Server
from scripts.lib.demo_story import Observation, Scaling, conditions_of, seen_by

JOB_TTR_S = 60
"""A worker that dies gives its job back after so long."""
_FORWARDED = "Forwarding from 127.0.0.1:"


class ForwardError(Exception):
    """`kubectl port-forward` doesn't lead to the Service; `str()` is kubectl's own reason."""


@dataclass(frozen=True, slots=True)
class Tube:
    """Jobs in one tube."""

    ready: int
    reserved: int
    deleted: int
    """So far."""


class Beanstalkd:
    """The release's beanstalkd through `kubectl port-forward`, which works from wherever kubectl does."""

    def __init__(self, kubectl: Sequence[str], service: ObjectName) -> None:
        self._command = (
            *kubectl,
            "--namespace",
            service.namespace,
            "port-forward",
            f"service/{service.name}",
            ":11300",
        )
        self._process: subprocess.Popen[str] | None = None
        self._server: Server | None = None

    def put(self, tube: str, jobs: int) -> None:
        """Raises BeanstalkdError and ForwardError, as `counts` does."""
        with connect(self._forwarded(), use=tube) as client:
            for number in range(1, jobs + 1):
                client.put(f"hello, I am job {number} of {jobs}".encode(), ttr=JOB_TTR_S)

    def counts(self, tube: str) -> Tube:
        """beanstalkd forgets a tube that holds no job and that nobody watches: then all are 0."""
        with connect(self._forwarded()) as client:
            try:
                stats = client.stats_tube(tube)
            except greenstalk.NotFoundError:
                return Tube(0, 0, 0)
            return Tube(int(stats["current-jobs-ready"]), int(stats["current-jobs-reserved"]), int(stats["cmd-delete"]))

    def _forwarded(self) -> Server:
        """Where it can be reached; kubectl's forwarding ends with the pod that it led to, then it is begun anew."""
        if self._server is None or self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            self._server = Server("beanstalkd", "127.0.0.1", _port(self._process))
        return self._server

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = self._server = None


def _port(process: subprocess.Popen[str], timeout_s: float = 10.0) -> int:
    assert process.stdout  # noqa: S101 - it was started with a pipe
    said = process.stdout.readline() if select.select([process.stdout], [], [], timeout_s)[0] else "no answer in time"
    if not said.startswith(_FORWARDED):
        raise ForwardError(f"kubectl port-forward: {said.strip() or 'it ended without a word'}")
    return int(said.removeprefix(_FORWARDED).split()[0])


@contextmanager
def forwarded(kubectl: Sequence[str], service: ObjectName) -> Iterator[Beanstalkd]:
    """The beanstalkd behind a Service; nothing is left of it after this."""
    beanstalkd = Beanstalkd(kubectl, service)
    try:
        yield beanstalkd
    finally:
        beanstalkd.close()


class Cluster:
    """What kube-apiserver knows about one autoscaler and the deployment of the same name."""

    def __init__(self, kubernetes: Kubernetes, hpa: ObjectName) -> None:
        self._kubernetes = kubernetes
        self._hpa = hpa

    def autoscaler(self) -> dict[str, Any]:
        """Raises KubernetesError, as the others do."""
        return self._get("/apis/autoscaling/v2", f"horizontalpodautoscalers/{self._hpa.name}")

    def ready_pods(self) -> int:
        deployment = self._get("/apis/apps/v1", f"deployments/{self._hpa.name}")
        return int(deployment.get("status", {}).get("readyReplicas", 0))

    def metric(self, name: str) -> int:
        items = self._get("/apis/external.metrics.k8s.io/v1beta1", name)["items"]
        return sum(int(item["value"]) for item in items)

    def _get(self, group: str, resource: str) -> dict[str, Any]:
        return self._kubernetes.request("GET", f"{group}/namespaces/{self._hpa.namespace}/{resource}")


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the demo shows."""

    cluster: Cluster
    beanstalkd: Beanstalkd
    scaling: Scaling

    def look(self, at_s: float, deleted_before: int = 0) -> Observation:
        """One observation; what can't be had is None in it, and the reason among its troubles."""
        troubles: list[str] = []

        def tried[T](ask: Callable[[], T]) -> T | None:
            try:
                return ask()
            except (KubernetesError, BeanstalkdError, ForwardError) as error:
                troubles.append(str(error))
                return None

        tube = tried(lambda: self.beanstalkd.counts(self.scaling.tube))
        autoscaler = tried(self.cluster.autoscaler) or {}
        return Observation(
            at_s=at_s,
            ready=tube.ready if tube else None,
            reserved=tube.reserved if tube else None,
            deleted=tube.deleted - deleted_before if tube else None,
            metric=tried(lambda: self.cluster.metric(self.scaling.metric)),
            seen=seen_by(autoscaler),
            desired=autoscaler.get("status", {}).get("desiredReplicas"),
            pods=tried(self.cluster.ready_pods),
            conditions=conditions_of(autoscaler),
            troubles=tuple(troubles),
        )
