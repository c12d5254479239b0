"""The check of the HPA: it is active, and has a value of each external metric."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from app.hpa.autoscaler import EXTERNAL, TargetKind, parse_hpa
from app.hpa.conditions import hint_for
from app.hpa.scaling import awaited, scales_from_zero
from app.kube.checks import CheckFailedError, ask
from app.kube.client import Kubernetes, object_path
from app.quantity import format_quantity
from app.settings import ObjectName
from app.text import count


def check_hpa(kubernetes: Kubernetes, hpa: ObjectName) -> str:
    """Return the HPA's status for people. Raise CheckFailedError if it doesn't scale by its external metrics."""
    path = object_path("/apis/autoscaling/v2", hpa.namespace, "horizontalpodautoscalers", hpa.name)
    hints = {
        403: "allow this account to get that HorizontalPodAutoscaler: the chart's RoleBinding RELEASE-smoke of"
        f" namespace {hpa.namespace} does",
        404: f"check that it is enabled (helloWorld.autoscaling.enabled): kubectl -n {hpa.namespace} get hpa",
        None: "check that kube-apiserver is healthy: kubectl get --raw /readyz?verbose",
    }
    return check_status(ask(kubernetes, path, hints), hpa)


def check_status(found: Mapping[str, Any], hpa: ObjectName) -> str:
    """Do the same for an autoscaling/v2 object."""
    autoscaler = parse_hpa(found)
    metrics = [metric for metric in autoscaler.metrics if metric.source == EXTERNAL]
    if not metrics:
        raise CheckFailedError(f"the autoscaler {hpa} uses no external metric", "add one: tube-NAME", final=True)
    for kind in ("AbleToScale", "ScalingActive"):
        condition = autoscaler.condition(kind)
        if condition is None:
            raise CheckFailedError(
                f"the autoscaler {hpa} has no condition {kind}: the HPA controller hasn't synced it yet"
                " (it does every 15 s)",
                "check that kube-controller-manager is running: kubectl -n kube-system get pod",
            )
        if condition.reason == "ScalingDisabled" and scales_from_zero(autoscaler):
            return f"{hpa} is at 0 replicas; beanscale scales it up once {awaited(autoscaler)}"
        if not condition.holds:
            raise CheckFailedError(
                f"the autoscaler {hpa} doesn't scale: {condition.message or condition.reason}",
                hint_for(condition.reason, hpa.namespace, hpa.name),
            )
    replicas = autoscaler.scale.status_replicas
    if not replicas and autoscaler.minimum == 0:
        return f"{hpa} is active and at 0 replicas"  # then the controller divides by 0 pods and shows no usable value
    observed = []
    for metric in metrics:
        if metric.last_value is None:
            raise CheckFailedError(
                f"the autoscaler {hpa} has no value of {metric} yet", hint_for("", hpa.namespace, hpa.name)
            )
        value = format_quantity(Fraction(metric.last_value, 1000))
        observed.append(f"{metric} is {value}{' per pod' if metric.target.kind is TargetKind.AVERAGE_VALUE else ''}")
    return f"{hpa} is active: {', '.join(observed)}; {count(replicas, 'replica')}"
