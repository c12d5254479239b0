"""The check of the HPA: it is active, and has a value of each external metric."""

from collections.abc import Mapping
from typing import Any

from app.hpa.conditions import hint_for
from app.kube.checks import CheckFailedError, ask
from app.kube.client import Kubernetes
from app.settings import ObjectName
from app.text import count


def check_hpa(kubernetes: Kubernetes, hpa: ObjectName) -> str:
    """Return the HPA's status for people. Raise CheckFailedError if it doesn't scale by its external metrics."""
    path = f"/apis/autoscaling/v2/namespaces/{hpa.namespace}/horizontalpodautoscalers/{hpa.name}"
    hints = {
        403: "allow this account to get that HorizontalPodAutoscaler: the chart's RoleBinding RELEASE-smoke of"
        f" namespace {hpa.namespace} does",
        404: f"check that it is enabled (helloWorld.autoscaling.enabled): kubectl -n {hpa.namespace} get hpa",
        None: "check that kube-apiserver is healthy: kubectl get --raw /readyz?verbose",
    }
    return check_status(ask(kubernetes, path, hints), hpa)


def check_status(autoscaler: Mapping[str, Any], hpa: ObjectName) -> str:
    """Do the same for an autoscaling/v2 object."""
    spec, status = autoscaler["spec"], autoscaler.get("status") or {}
    queried = [metric["external"] for metric in spec.get("metrics") or () if metric["type"] == "External"]
    if not queried:
        raise CheckFailedError(f"the autoscaler {hpa} uses no external metric", "add one: tube-NAME", final=True)
    _check_conditions(status, hpa)
    if not status.get("currentReplicas") and spec.get("minReplicas") == 0:
        return f"{hpa} is active and at 0 replicas"  # then the controller divides by 0 pods and shows no usable value
    values = {}
    for metric in status.get("currentMetrics") or ():
        if external := metric.get("external"):  # a metric that fails has an entry with an empty type and no content
            current = external["current"]
            is_average = "averageValue" in current
            value = str(current["averageValue"] if is_average else current.get("value", "-"))
            if not value.startswith("-"):  # unknown: numbers of jobs are not negative
                values[external["metric"]["name"]] = f"{value} per pod" if is_average else value
    for external in queried:
        if external["metric"]["name"] not in values:
            raise CheckFailedError(
                f"the autoscaler {hpa} has no value of {external['metric']['name']} yet",
                hint_for("", hpa.namespace, hpa.name),
            )
    observed = ", ".join(f"{name} is {value}" for name, value in values.items())
    return f"{hpa} is active: {observed}; {count(status.get('currentReplicas', 0), 'replica')}"


def _check_conditions(status: Mapping[str, Any], hpa: ObjectName) -> None:
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for name in ("AbleToScale", "ScalingActive"):
        condition = conditions.get(name)
        if condition is None:
            raise CheckFailedError(
                f"the autoscaler {hpa} has no condition {name}: the HPA controller hasn't synced it yet"
                " (it does every 15 s)",
                "check that kube-controller-manager is running: kubectl -n kube-system get pod",
            )
        if condition["status"] != "True":
            reason = condition.get("reason", "")
            raise CheckFailedError(
                f"the autoscaler {hpa} doesn't scale: {condition.get('message') or reason}",
                hint_for(reason, hpa.namespace, hpa.name),
            )
