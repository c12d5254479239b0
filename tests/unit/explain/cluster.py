"""A kube-apiserver for tests: responses by path, and 404 for any other path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.clock import Instant
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError

Json = dict[str, Any]

METRICS = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop"
HPAS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
EVENTS = "/api/v1/namespaces/shop/events"
DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/orders"
APISERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


@dataclass
class Cluster:
    """Used like app.kube.client.Kubernetes."""

    answers: Mapping[tuple[str, str], Json | int]
    """(path, labelSelector or continue token) to the object, or to the status of an error."""
    clock_ahead_s: float = 0.0
    server: str = "https://k"
    asked: list[tuple[str, str]] = field(default_factory=list)
    pages = Kubernetes.pages
    field_selectors: list[str] = field(default_factory=list)

    def server_time(self, now: Instant) -> datetime:
        return datetime.fromtimestamp(now.unix_s - self.clock_ahead_s, UTC)

    def request(self, method: str, path: str, *, query: Mapping[str, str | int] | None = None, **_: object) -> Json:
        assert method == "GET"
        asked = query or {}
        key = path, str(asked.get("labelSelector") or asked.get("continue", ""))
        self.asked.append(key)
        if "fieldSelector" in asked:
            self.field_selectors.append(str(asked["fieldSelector"]))
        answer = self.answers.get(key, {"items": []} if path == EVENTS else 404)
        if isinstance(answer, int):
            raise KubernetesError(
                f"https://k answered GET {path} with {answer}: no; general advice", status=answer, reason="No"
            )
        return answer


def listed(*hpas: Json) -> Json:
    return {"kind": "HorizontalPodAutoscalerList", "items": list(hpas)}


def event(
    reason: str,
    message: str,
    component: str = "beanscale",
    *,
    created: str = "2026-10-12T08:00:00Z",
    kind: str = "Normal",
) -> Json:
    """Return an Event about an HPA, as client-go and beanscale write it."""
    return {
        "metadata": {"namespace": "shop", "name": f"orders.{reason}", "creationTimestamp": created},
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "lastTimestamp": created,
        "count": 1,
    }


def deployment(wanted: int, present: int, ready: int) -> Json:
    return {"spec": {"replicas": wanted}, "status": {"replicas": present, "readyReplicas": ready}}


def apiservice(available: str, reason: str = "Passed", message: str = "all checks passed") -> Json:
    condition = {"type": "Available", "status": available, "reason": reason, "message": message}
    return {
        "spec": {"service": {"namespace": "beanscale", "name": "beanscale-server"}},
        "status": {"conditions": [condition]},
    }
