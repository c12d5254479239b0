"""How far an autoscaler may move in one look: the policies of spec.behavior, or Kubernetes' older rules without it.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go
(calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors, calculateScaleUpLimit).
"""

import math
from collections.abc import Callable
from dataclasses import replace

from app.autoscaling.autoscaler import Autoscaler, Policy, ScalingRules
from app.autoscaling.steps import duration, pods


def ceiling(autoscaler: Autoscaler, current: int) -> int:
    """The most pods that it may go to, if none came or went within the policies' periods."""
    if not autoscaler.has_behavior:
        return max(2 * current, 4)
    return max(_limit(autoscaler.up, current, _grown, {"Max": max, "Min": min}), current)


def floor(autoscaler: Autoscaler, current: int) -> int:
    """The fewest, likewise."""
    if not autoscaler.has_behavior:
        return 0
    return min(_limit(autoscaler.down, current, _shrunk, {"Max": min, "Min": max}), current)


def _limit(
    rules: ScalingRules,
    current: int,
    proposed: Callable[[Policy, int], int],
    select: dict[str, Callable[..., int]],
) -> int:
    if rules.select == "Disabled":
        return current
    return select[rules.select](proposed(policy, current) for policy in rules.policies)


def _grown(policy: Policy, current: int) -> int:
    if policy.kind == "Pods":
        return current + policy.value
    return math.ceil(float(current) * (1 + float(policy.value) / 100))


def _shrunk(policy: Policy, current: int) -> int:
    if policy.kind == "Pods":
        return current - policy.value
    return int(float(current) * (1 - float(policy.value) / 100))


def in_words(autoscaler: Autoscaler, current: int, *, upwards: bool) -> str:
    """`the policies of scaleUp allow 4 pods in 15 s or 100 % of 3 pods in 15 s, whichever is more`."""
    rules, direction = (autoscaler.up, "scaleUp") if upwards else (autoscaler.down, "scaleDown")
    if not autoscaler.has_behavior:
        return "without `behavior` Kubernetes at most doubles the pods, or goes to 4"
    if rules.select == "Disabled":
        return f"{direction}.selectPolicy Disabled forbids it"
    parts = " or ".join(
        f"{pods(policy.value) if policy.kind == 'Pods' else f'{policy.value} % of {pods(current)}'}"
        f" in {duration(policy.period_s)}"
        for policy in rules.policies
    )
    which = "" if len(rules.policies) == 1 else f", whichever is {'more' if rules.select == 'Max' else 'less'}"
    return f"the policies of {direction} allow {parts}{which}"


def earlier_changes_count(autoscaler: Autoscaler, *, upwards: bool) -> bool:
    """Whether a change within the policies' periods may leave less to change now."""
    rules = autoscaler.up if upwards else autoscaler.down
    to_nothing = (
        not upwards
        and rules.select == "Max"
        and Policy("Percent", 100, 0) in {replace(policy, period_s=0) for policy in rules.policies}
    )
    return autoscaler.has_behavior and rules.select != "Disabled" and not to_nothing


def longest_period_s(rules: ScalingRules) -> int:
    """How long a change counts."""
    return max((policy.period_s for policy in rules.policies), default=0)
