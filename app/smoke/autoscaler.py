"""The last link: the HorizontalPodAutoscaler sees the metric and scales by it."""

from collections.abc import Mapping
from typing import Any

from app.hpa.conditions import hint_for
from app.kube.checks import CheckFailedError, ask
from app.kube.client import Kubernetes
from app.settings import ObjectName

type Json = Mapping[str, Any]


def scales(kubernetes: Kubernetes, hpa: ObjectName) -> str:
    """The autoscaler is active and has a value of each external metric. Raises CheckFailedError."""
    path = f"/apis/autoscaling/v2/namespaces/{hpa.namespace}/horizontalpodautoscalers/{hpa.name}"
    fixes = {
        403: "this account must be allowed to get that HorizontalPodAutoscaler: in the chart by the RoleBinding"
        f" RELEASE-smoke of namespace {hpa.namespace}",
        404: f"is it switched on (helloWorld.autoscaling.enabled)? kubectl -n {hpa.namespace} get hpa",
        None: "does kube-apiserver run? kubectl get --raw /readyz?verbose",
    }
    return judge(ask(kubernetes, path, fixes), hpa)


def judge(autoscaler: Json, hpa: ObjectName) -> str:
    """What an autoscaling/v2 object says about itself, in words. Raises CheckFailedError."""
    wanted = [metric["external"] for metric in autoscaler["spec"].get("metrics") or () if metric["type"] == "External"]
    if not wanted:
        raise _broken(hpa, "asks for no external metric", "give it one: tube-NAME", final=True)
    status = autoscaler.get("status") or {}
    _check_conditions(status, hpa)
    if not status.get("currentReplicas") and autoscaler["spec"].get("minReplicas") == 0:
        return f"{hpa} is active and rests at 0 replicas"  # there it divides by no pods and shows a senseless number
    values = {metric["metric"]["name"]: _value(metric["current"]) for metric in _current(status)}
    for name in (external["metric"]["name"] for external in wanted):
        if values.get(name, "-").startswith("-"):
            raise _broken(hpa, f"has no value of {name} yet", hint_for("", hpa.namespace, hpa.name))
    seen = ", ".join(f"{name} is {value}" for name, value in values.items())
    replicas = status.get("currentReplicas", 0)
    return f"{hpa} is active and sees: {seen}; {replicas} replica{'' if replicas == 1 else 's'}"


def _check_conditions(status: Json, hpa: ObjectName) -> None:
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for name in ("AbleToScale", "ScalingActive"):
        condition = conditions.get(name)
        if condition is None:
            raise _broken(
                hpa,
                f"has no condition {name}: Kubernetes hasn't worked on it yet (it does so every 15 s)",
                "does kube-controller-manager run? kubectl -n kube-system get pod",
            )
        if condition["status"] != "True":
            reason = condition.get("reason", "")
            raise _broken(
                hpa, f"doesn't scale: {condition.get('message') or reason}", hint_for(reason, hpa.namespace, hpa.name)
            )


def _current(status: Json) -> list[Json]:
    # while a metric fails, its entry has an empty type and no content
    return [metric["external"] for metric in status.get("currentMetrics") or () if metric.get("external")]


def _value(current: Json) -> str:
    """`0 a pod` or `0`; begins with a '-' where it isn't known: jobs are never negative."""
    if "averageValue" in current:
        return f"{current['averageValue']} a pod"
    return str(current.get("value", "-"))


def _broken(hpa: ObjectName, what: str, fix: str, *, final: bool = False) -> CheckFailedError:
    return CheckFailedError(
        f"the autoscaler {hpa} {what}", fix.format(namespace=hpa.namespace, name=hpa.name), final=final
    )
