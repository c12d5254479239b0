"""One observation of everything that the demo shows: the tube, the metric, the HPA, its pods."""

import select
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import greenstalk

from app.kube.client import Kubernetes, Query
from app.kube.errors import KubernetesError
from scripts.lib.demo_progress import Observation, Scaling, parse_conditions, parse_per_pod

JOB_TTR_S = 60
"""After this time, beanstalkd releases the job of a worker that died."""
TIMEOUT_S = 5.0
"""To connect, and for each reply."""
_FORWARDING = "Forwarding from 127.0.0.1:"


class BeanstalkdError(Exception):
    """beanstalkd, or `kubectl port-forward` to it, failed; `str()` is the cause."""


@dataclass(frozen=True, slots=True)
class Tube:
    """Jobs in one tube."""

    ready: int
    reserved: int
    deleted: int
    """So far."""


class Beanstalkd:
    """The release's beanstalkd through `kubectl port-forward`, which works wherever kubectl does."""

    def __init__(self, kubectl: Sequence[str], namespace: str, service: str) -> None:
        self._command = (*kubectl, "--namespace", namespace, "port-forward", f"service/{service}", ":11300")
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    def put(self, tube: str, jobs: int) -> None:
        """Put `jobs` jobs. Raises BeanstalkdError."""
        with self._connected(use=tube) as client:
            for position in range(1, jobs + 1):
                client.put(f"hello, I am job {position} of {jobs}".encode(), ttr=JOB_TTR_S)

    def tube(self, name: str) -> Tube:
        """Return the tube's counts; all 0 if it doesn't exist. Raises BeanstalkdError."""
        with self._connected() as client:
            try:
                stats = client.stats_tube(name)
            except greenstalk.NotFoundError:
                return Tube(0, 0, 0)
            return Tube(int(stats["current-jobs-ready"]), int(stats["current-jobs-reserved"]), int(stats["cmd-delete"]))

    @contextmanager
    def _connected(self, use: str = "default") -> Iterator[greenstalk.Client[bytes]]:
        if self._process is None or self._process.poll() is not None:  # kubectl ends with the pod that it forwards to
            self.close()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            self._port = _forwarded_port(self._process)
        try:
            with (
                socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S) as connected,
                greenstalk.Client(connected, encoding=None, use=use) as client,
            ):
                yield client
        except (OSError, greenstalk.Error, AssertionError, ValueError) as error:  # the last two: an incomplete reply
            raise BeanstalkdError(f"beanstalkd failed: {error or type(error).__name__}") from error

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None


def _forwarded_port(process: subprocess.Popen[str], timeout_s: float = 10.0) -> int:
    assert process.stdout  # noqa: S101 - started with a pipe
    line = process.stdout.readline() if select.select([process.stdout], [], [], timeout_s)[0] else "timed out"
    if not line.startswith(_FORWARDING):
        raise BeanstalkdError(f"kubectl port-forward: {line.strip() or 'it ended without a message'}")
    return int(line.removeprefix(_FORWARDING).split()[0])


class Cluster:
    """One HPA, and the Deployment of the same name. Its methods raise KubernetesError."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, name: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._name = name

    def hpa(self) -> dict[str, Any]:
        return self._get("/apis/autoscaling/v2", f"horizontalpodautoscalers/{self._name}")

    def deployment(self) -> dict[str, Any]:
        return self._get("/apis/apps/v1", f"deployments/{self._name}")

    def scalings(self) -> dict[str, str]:
        """Return the messages of beanscale's Events about the HPA's scaling, by uid, oldest first."""
        query = {"fieldSelector": f"involvedObject.name={self._name},reason=Scaled"}
        found = self._get("/api/v1", "events", query)["items"]
        ours = [each for each in found if (each.get("source") or {}).get("component") == "beanscale"]
        ours.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))  # times have whole seconds
        return {each["metadata"]["uid"]: each["message"] for each in ours}

    def metric(self, name: str) -> int:
        return sum(int(item["value"]) for item in self._get("/apis/external.metrics.k8s.io/v1beta1", name)["items"])

    def _get(self, group: str, resource: str, query: Query | None = None) -> dict[str, Any]:
        return self._kubernetes.request("GET", f"{group}/namespaces/{self._namespace}/{resource}", query=query)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the demo shows."""

    cluster: Cluster
    beanstalkd: Beanstalkd
    scaling: Scaling

    def observe(self, at_s: float, deleted_before: int = 0) -> Observation:
        """Return the current state; unknown values are None, with their cause in `errors`."""
        errors: list[str] = []

        def attempt[T](read: Callable[[], T]) -> T | None:
            try:
                return read()
            except (KubernetesError, BeanstalkdError) as error:
                errors.append(str(error))
                return None

        tube = attempt(lambda: self.beanstalkd.tube(self.scaling.tube))
        hpa = attempt(self.cluster.hpa) or {}
        deployment = attempt(self.cluster.deployment)
        return Observation(
            at_s=at_s,
            ready=tube.ready if tube else None,
            reserved=tube.reserved if tube else None,
            deleted=tube.deleted - deleted_before if tube else None,
            metric=attempt(lambda: self.cluster.metric(self.scaling.metric)),
            per_pod=parse_per_pod(hpa),
            desired=hpa.get("status", {}).get("desiredReplicas"),
            pods=deployment and deployment.get("status", {}).get("readyReplicas", 0),
            replicas=deployment and deployment["spec"]["replicas"],
            current=hpa.get("status", {}).get("currentReplicas"),
            conditions=parse_conditions(hpa),
            errors=tuple(errors),
        )
