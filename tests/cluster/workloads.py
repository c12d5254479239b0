"""Workloads of a user's own, which only sleep, and the autoscalers that the chart makes for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.cluster.release import VERSION, Release

AT_ONCE = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]},
    "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]},
}
"""So that the number of pods shows the last sync's value."""


def restricted_pod(name: str, image: str, **more: Any) -> Mapping[str, Any]:
    """The spec of a pod as the restricted standard wants it, of an image that is there; it ends at once."""
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container | more],
    }


def sleeper(name: str) -> Mapping[str, Any]:
    """A Deployment that does nothing."""
    pod = restricted_pod("sleeper", f"beanscale:{VERSION}", command=["sleep", "infinity"])
    labels = {"sleeper": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def autoscaler(name: str, **chosen: Any) -> Mapping[str, Any]:
    """An entry of `autoscalers` for the sleeper of the same name: two jobs a pod, ten at most, and at once."""
    return {"name": name, "target": {"name": name}, "jobsPerPod": 2, "maxReplicas": 10, "behavior": AT_ONCE} | chosen


def wait_for_wanted(release: Release, names: Sequence[str], replicas: int, within_s: float = 120) -> None:
    """Until each of these autoscalers wants that many."""
    for name in names:
        release.wait(f"hpa/{name}", f"jsonpath={{.status.desiredReplicas}}={replicas}", within_s)
