"""What a HorizontalPodAutoscaler says about itself, in plain words, and what to do about it.

The reasons are kube-controller-manager's: 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.hpa.autoscaler import Autoscaler, Condition

LOOK = "kubectl -n {namespace} describe hpa {name}"

_TARGET = "the workload of its scaleTargetRef isn't there: kubectl -n {namespace} get hpa {name} -o yaml"
_PODS = "the workload's selector must name its own pods only: kubectl -n {namespace} get hpa {name} -o yaml"

FIXES: Mapping[str, str] = {
    "FailedGetExternalMetric": "is that metric's name right (tube-NAME)? If so, may the autoscaler's account read it?"
    " kubectl get clusterrolebinding | grep metrics-reader",
    "FailedGetScale": _TARGET,
    "FailedUpdateScale": "may anybody scale that workload? kubectl -n {namespace} describe hpa {name}",
    "InvalidSelector": _PODS,
    "AmbiguousSelector": "several autoscalers would scale the same pods, keep one: kubectl -n {namespace} get hpa",
    "ScalingDisabled": "its workload was scaled to 0 by hand; scale it to 1 and it takes over",
    "TooManyReplicas": "if that many pods should run, raise maxReplicas",
    "ScaleUpLimit": "if it should grow faster, give it behavior.scaleUp with a policy that allows more",
}
"""Reason → what to do, for `str.format` with namespace and name."""

_WORDS: Mapping[str, str] = {
    "SucceededGetScale": "it can read how many pods the workload has",
    "SucceededRescale": "it has just changed the number of pods",
    "ReadyForNewScale": "nothing holds it back",
    "ScaleDownStabilized": "it holds the number up for now, as it wished for more within its stabilisation window",
    "ScaleUpStabilized": "it holds the number down for now, as it wished for fewer within its stabilisation window",
    "FailedGetScale": "it can't read how many pods the workload has",
    "FailedUpdateScale": "it can't change the number of pods",
    "ValidMetricFound": "it has a value to scale by",
    "InvalidSelector": "the workload's selector of pods is missing or wrong",
    "AmbiguousSelector": "the workload's pods are another autoscaler's too",
    "ScalingDisabled": "it is switched off, as somebody else scaled the workload to 0",
    "FailedGetExternalMetric": "it has no value of an external metric",
    "FailedGetResourceMetric": "it has no value of a resource metric (CPU or memory)",
    "FailedGetContainerResourceMetric": "it has no value of a container's CPU or memory",
    "FailedGetPodsMetric": "it has no value of a metric of the pods",
    "FailedGetObjectMetric": "it has no value of an object's metric",
    "DesiredWithinRange": "no limit is in its way",
    "TooFewReplicas": "minReplicas keeps it from fewer pods",
    "TooManyReplicas": "maxReplicas keeps it from more pods",
    "ScaleUpLimit": "it grows as fast as its policies allow, in several looks",
    "ScaleDownLimit": "it shrinks as fast as its policies allow, in several looks",
    "ScaledToZero": "it has scaled the workload to 0 itself, and will wake it",
    "NotScaledToZero": "its last change wasn't to 0 pods",
}

_GOOD = {"AbleToScale": True, "ScalingActive": True, "ScalingLimited": False}
"""Kind → the status of one that is no trouble; of others any is."""


@dataclass(frozen=True, slots=True)
class ConditionSummary:
    """One condition, for people."""

    condition: Condition
    words: str
    fix: str
    """Empty where there is nothing to do."""


def summarize(autoscaler: Autoscaler) -> tuple[ConditionSummary, ...]:
    """Each of its conditions."""
    return tuple(_told(autoscaler, condition) for condition in autoscaler.conditions)


def _told(autoscaler: Autoscaler, condition: Condition) -> ConditionSummary:
    words = _WORDS.get(condition.reason) or condition.message or condition.reason or "no reason given"
    trouble = condition.holds is not _GOOD.get(condition.kind, condition.holds)
    optional = condition.reason if condition.kind == "ScalingLimited" else None
    fix = what_to_do(condition.reason, autoscaler.namespace, autoscaler.name) if trouble else ""
    return ConditionSummary(condition, words, "" if optional and optional not in FIXES else fix)


def what_to_do(reason: str, namespace: str, name: str) -> str:
    """About a condition that isn't as it should be."""
    return FIXES.get(reason, LOOK).format(namespace=namespace, name=name)
