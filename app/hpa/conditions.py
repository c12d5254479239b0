"""The conditions that an HPA reports, explained, each with a hint if there is something to do. Pure.

The reasons are kube-controller-manager's: 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.hpa.autoscaler import Autoscaler, Condition
from app.hpa.scaling import awaited, scales_from_zero
from app.text import shortened

METRICS_READER = "kubectl get clusterrolebinding | grep metrics-reader"
"""Shows whether the HPA controller may read external metrics."""

_EXPLANATIONS: Mapping[str, str] = {
    "SucceededGetScale": "it can read the workload's scale",
    "SucceededRescale": "it has just changed the number of pods",
    "ReadyForNewScale": "it can scale now",
    "ScaleDownStabilized": "scale-down is on hold: a recommendation in the stabilization window was higher",
    "ScaleUpStabilized": "scale-up is on hold: a recommendation in the stabilization window was lower",
    "FailedGetScale": "it can't read the workload's scale",
    "FailedUpdateScale": "it can't change the workload's scale",
    "ValidMetricFound": "it has a metric value",
    "InvalidSelector": "the workload's pod selector is missing or invalid",
    "AmbiguousSelector": "another autoscaler selects the same pods",
    "ScalingDisabled": "it is disabled, because something else scaled the workload to 0",
    "InvalidMetricSourceType": "it has a metric of an unknown type",
    "FailedGetExternalMetric": "it has no value of an external metric",
    "FailedGetResourceMetric": "it has no value of a resource metric (CPU or memory)",
    "FailedGetContainerResourceMetric": "it has no value of a container's CPU or memory",
    "FailedGetPodsMetric": "it has no value of a pods metric",
    "FailedGetObjectMetric": "it has no value of an object metric",
    "DesiredWithinRange": "within minReplicas and maxReplicas",
    "TooFewReplicas": "minReplicas prevents fewer pods",
    "TooManyReplicas": "maxReplicas prevents more pods",
    "ScaleUpLimit": "scale-up is limited by its policies and takes several syncs",
    "ScaleDownLimit": "scale-down is limited by its policies and takes several syncs",
    "ScaledToZero": "it scaled the workload to 0 and will scale it up again",
    "NotScaledToZero": "its last change was not to 0 pods",
}
_HINTS: Mapping[str, str] = {
    "FailedGetExternalMetric": "check the metric name (tube-NAME), then the HPA controller's permission:"
    f" {METRICS_READER}",
    "FailedGetScale": "check that the workload in scaleTargetRef exists: kubectl -n {namespace} get hpa {name} -o yaml",
    "FailedUpdateScale": "check the permission to scale that workload: kubectl -n {namespace} describe hpa {name}",
    "InvalidSelector": "set the workload's selector to its own pods: kubectl -n {namespace} get hpa {name} -o yaml",
    "AmbiguousSelector": "keep one of the autoscalers that select the same pods: kubectl -n {namespace} get hpa",
    "ScalingDisabled": "scale the workload to 1 pod, and the autoscaler takes over",
    "TooManyReplicas": "raise maxReplicas if more pods should run",
    "ScaleUpLimit": "allow more in a behavior.scaleUp policy if it should scale up faster",
}
_CONFLICT = "the object has been modified"
"""In kube-apiserver's response to a change of an older version. Before 1.37, the controller repeats it at its next
sync."""
_MAX_QUOTED = 300
"""Characters of a condition's message."""
_HEALTHY = {"AbleToScale": True, "ScalingActive": True, "ScalingLimited": False}
"""Type to the status that needs no hint; other types never do."""


@dataclass(frozen=True, slots=True)
class ConditionSummary:
    """One condition for people."""

    condition: Condition
    words: str
    hint: str
    """Empty if there is nothing to do."""


def summarize(autoscaler: Autoscaler) -> tuple[ConditionSummary, ...]:
    """Return a summary of each condition. A ScalingLimited without a hint is normal operation."""
    summaries = []
    for condition in autoscaler.conditions:
        words = _EXPLANATIONS.get(condition.reason) or condition.message or condition.reason or "no reason given"
        hint = ""
        if condition.kind in autoscaler.left_over:
            words = f"at an earlier sync: {words}"
        elif condition.reason == "ScalingDisabled" and scales_from_zero(autoscaler):
            words = f"it is disabled while the workload has 0 pods; beanscale scales it up once {awaited(autoscaler)}"
        elif condition.reason == "FailedUpdateScale" and had_conflict(autoscaler):
            words = "something else changed the workload at the same moment, so the next sync tries again"
        elif condition.holds is not _HEALTHY.get(condition.kind, condition.holds) and (
            condition.kind != "ScalingLimited" or condition.reason in _HINTS
        ):
            hint = hint_for(condition.reason, autoscaler.namespace, autoscaler.name)
        summaries.append(ConditionSummary(condition, words, hint))
    return tuple(summaries)


def reported(autoscaler: Autoscaler, kind: str) -> str:
    """Return what the HPA reports in the condition of that type, in its own words: a clause."""
    condition = autoscaler.condition(kind)
    if condition is None:
        return f"the HPA reports no {kind}"
    message = " ".join(condition.message.split()) or _EXPLANATIONS.get(condition.reason, "")
    return f"the HPA reports {condition.reason}{f': {shortened(message, _MAX_QUOTED)}' if message else ''}"


def confirmed(autoscaler: Autoscaler, kind: str, *reasons: str) -> str:
    """Return `; confirmed by the HPA (REASON)` if its last sync reports one of these reasons, else an empty string."""
    condition = autoscaler.condition(kind)
    if condition is None or not autoscaler.reports(kind, *reasons):
        return ""
    return f"; confirmed by the HPA ({condition.reason})"


def had_conflict(autoscaler: Autoscaler) -> bool:
    """Return whether the last sync failed only because something else changed the workload at the same moment."""
    able = autoscaler.condition("AbleToScale")
    return able is not None and able.reason == "FailedUpdateScale" and _CONFLICT in able.message


def hint_for(reason: str, namespace: str, name: str) -> str:
    """Return what to do about a condition with this reason that isn't as it should be."""
    return _HINTS.get(reason, "kubectl -n {namespace} describe hpa {name}").format(namespace=namespace, name=name)
