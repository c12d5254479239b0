"""The HPA controller's next decision, step by step: formula, tolerance, scaling policies and limits. Pure.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go and replica_calculator.go. It
computes in float64, and so does this module: a ratio at the edge of the tolerance falls on the same side.

The controller also remembers its recommendations (stabilization) and scalings (policies) of the last minutes. No object
exposes them, so they are not simulated: where they matter, the HPA's conditions decide. Conditions also decide if they
show that the model lacks something: if, from the values of the last sync, it can't explain what that sync did.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.hpa.autoscaler import SYNC_PERIOD_S, Autoscaler, Metric, Scale, Target, TargetKind
from app.hpa.conditions import confirmed, had_conflict, reported
from app.hpa.scaling import awaited, scales_from_zero
from app.quantity import plain
from app.text import count, duration, listing

MAX_PODS = 2**31 - 1


class Stage(StrEnum):
    """The stages of a decision, in order."""

    CONDITION = "condition"
    """The HPA's conditions show that its pods don't change, whatever its metrics are; or it has none yet."""
    DISABLED = "disabled"
    """The workload has 0 pods, but not because of this HPA."""
    BOUNDS = "bounds"
    """More pods than maxReplicas or fewer than minReplicas: metrics are not evaluated."""
    FORMULA = "formula"
    TOLERANCE = "tolerance"
    HIGHEST = "highest"
    """The highest of several metrics' recommendations."""
    ERROR = "error"
    """A metric without a value."""
    STABILIZATION = "stabilization"
    POLICY = "policy"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a decision."""

    stage: Stage
    before: int
    """Pods."""
    after: int
    sentence: str
    metric: str = ""
    """The metric that a formula, tolerance or error step is about."""


@dataclass(frozen=True, slots=True)
class Total:
    """The metric has a value: the sum of its items."""

    amount: int
    """Thousandths."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The metric has no value; the controller calls it invalid."""

    why: str
    """A clause."""


@dataclass(frozen=True, slots=True)
class NotQueried:
    """The metric is not one of ours: its value at the last sync is used."""


type Observed = Total | Missing | NotQueried


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The number of pods that one metric recommends."""

    steps: tuple[Step, ...]
    pods: int | None
    """None: the metric has no value."""

    @property
    def decided_by(self) -> Step:
        """Return the tolerance step if it changed the number, else the formula."""
        return self.steps[-1] if self.steps[-1].before != self.steps[-1].after else self.steps[0]


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of pods at the next sync, and how it was computed."""

    steps: tuple[Step, ...]
    decided_by: Step
    """The last step that changed the number, or else the recommendation's."""
    pods: int
    recommendation: int | None = None
    """The highest recommendation; None if the metrics don't decide."""

    def change_from(self, current: int) -> str:
        """Return `1 pod now → 10`, `1 pod, no change`, or only `no change` if a condition decides."""
        if self.pods != current:
            return f"{pods(current)} now → {self.pods}"
        # the number may be of an earlier sync, and the workload may not exist any more
        return "no change" if self.decided_by.stage is Stage.CONDITION else f"{pods(current)}, no change"

    def verdict_from(self, current: int) -> str:
        """Return the change and the reason for it in one sentence, without a full stop."""
        return f"{self.change_from(current)}: {self.decided_by.sentence}"


def pods(number: int) -> str:
    """Return `1 pod` or `2 pods`."""
    return count(number, "pod")


type Changes = Sequence[tuple[float, int]]
"""Recent scalings, as (seconds ago, pods added)."""


def decide(
    autoscaler: Autoscaler,
    scale: Scale,
    observed: Sequence[Observed],
    now_unix_s: float,
    changes: Changes | None = None,
) -> Decision:
    """Return the decision for `scale`, with one observed value for each of the autoscaler's metrics, in their order.

    `changes` count for the scaling policies; None: the one that the HPA's status shows, with its age at the next sync.
    """
    current = scale.spec_replicas
    if autoscaler.is_outdated and not autoscaler.reports("AbleToScale", "FailedGetScale"):
        # Of another spec's conditions, only ScaledToZero still holds. A sync without a scale doesn't report its spec.
        kept = tuple(each for each in autoscaler.conditions if each.kind == "ScaledToZero")
        metrics = tuple(replace(metric, failed=False) for metric in autoscaler.metrics)
        autoscaler = replace(autoscaler, conditions=kept, metrics=metrics)
    decision = _model(autoscaler, scale, observed, now_unix_s, changes)
    if decision.pods == current:
        return decision
    sentence = reported(autoscaler, "AbleToScale")
    if not autoscaler.reports("AbleToScale", "FailedUpdateScale") or had_conflict(autoscaler):
        same = current == scale.status_replicas == autoscaler.scale.status_replicas == autoscaler.desired
        if not (current and same and autoscaler.reports("AbleToScale", *_EVALUATED)):
            return decision
        before = _model(autoscaler, scale, [NotQueried()] * len(observed), now_unix_s, changes)
        if before.pods == current:
            return decision
        sentence += f"; {reported(autoscaler, 'ScalingLimited')}"
        unready = any(metric.target.kind is TargetKind.VALUE for metric in autoscaler.metrics)
        sentence += "; pods that aren't ready don't count for its target" if unready and scale.ready is None else ""
    step = Step(Stage.CONDITION, decision.pods, current, sentence)
    return Decision((*decision.steps, step), step, current, decision.recommendation)


def decide_from_zero(autoscaler: Autoscaler, observed: Sequence[Observed], now_unix_s: float) -> Decision:
    """Return what the metrics ask for while the workload has 0 pods, as if the HPA itself had scaled it to 0.

    That is at least minReplicas. Stabilization and policies that allow nothing above 0 still allow that.
    """
    return _by_metrics(without_status(autoscaler), Scale(0, 0), observed, now_unix_s, ())


def without_status(autoscaler: Autoscaler) -> Autoscaler:
    """Return the HPA as if the controller had not synced it yet."""
    metrics = tuple(replace(metric, failed=False, last_value=None) for metric in autoscaler.metrics)
    return replace(autoscaler, conditions=(), metrics=metrics, scaled_at_s=None)


def _model(
    autoscaler: Autoscaler, scale: Scale, observed: Sequence[Observed], now_unix_s: float, changes: Changes | None
) -> Decision:
    """Return the decision by the model alone."""
    if early := _without_metrics(autoscaler, scale.spec_replicas):
        return Decision((early,), early, early.after)
    return _by_metrics(autoscaler, scale, observed, now_unix_s, changes)


def _by_metrics(
    autoscaler: Autoscaler, scale: Scale, observed: Sequence[Observed], now_unix_s: float, changes: Changes | None
) -> Decision:
    current = scale.spec_replicas
    each = [recommend(autoscaler, metric, scale, one) for metric, one in zip(autoscaler.metrics, observed, strict=True)]
    steps = [step for one in each for step in one.steps]
    numbers = [one.pods for one in each if one.pods is not None]
    highest = max(numbers, default=0)
    if len(numbers) < len(each) and (not numbers or highest < current):
        sentence = f"no metric has a value now, so the autoscaler keeps {pods(current)}"
        if numbers:
            missing = listing(one.steps[0].metric for one in each if one.pods is None)
            sentence = f"{pods(highest)} would be a scale-down, which is skipped while {missing} has no value"
        sentence += confirmed(autoscaler, "ScalingActive", *_NO_VALUE)
        blocked = Step(Stage.ERROR, current, current, sentence)
        return Decision((*steps, blocked), blocked, current)
    decided_by = next(one.decided_by for one in each if one.pods == highest)
    if len(each) > 1:
        sentence = f"the highest recommendation applies: {decided_by.metric}"
        steps.append(Step(Stage.HIGHEST, highest, highest, sentence))
    normalized = normalize(autoscaler, current, highest, now_unix_s, changes)
    decided_by = next((step for step in reversed(normalized) if step.before != step.after), decided_by)
    return Decision((*steps, *normalized), decided_by, normalized[-1].after, highest)


_EVALUATED = ("ReadyForNewScale", "ScaleDownStabilized", "ScaleUpStabilized")
"""Reasons of AbleToScale after a sync that evaluated the metrics and changed nothing."""
_NO_VALUE = (
    "FailedGetExternalMetric",
    "FailedGetResourceMetric",
    "FailedGetContainerResourceMetric",
    "FailedGetPodsMetric",
    "FailedGetObjectMetric",
    "InvalidMetricSourceType",
)
"""Reasons of ScalingActive if metrics without a value keep the pods as they are."""


def with_target(autoscaler: Autoscaler, position: int, target: Target) -> Autoscaler:
    """Return the autoscaler with another target for the metric at `position`, without what it did with the old one."""
    metrics = list(autoscaler.metrics)
    metrics[position] = replace(metrics[position], target=target)
    of_old = ("SucceededRescale", *_EVALUATED)
    kept = (each for each in autoscaler.conditions if each.kind != "ScalingLimited" and each.reason not in of_old)
    return replace(autoscaler, metrics=tuple(metrics), conditions=tuple(kept))


def _without_metrics(autoscaler: Autoscaler, current: int) -> Step | None:
    """Return what decides before metrics are evaluated; None if nothing does. The order is the controller's."""
    if autoscaler.reports("AbleToScale", "FailedGetScale"):
        return Step(Stage.CONDITION, current, current, reported(autoscaler, "AbleToScale"))
    if current == 0:
        return _at_zero(autoscaler)
    if current > autoscaler.maximum:
        sentence = f"{pods(current)} exceed maxReplicas, so metrics are not evaluated"
        return Step(Stage.BOUNDS, current, autoscaler.maximum, sentence)
    if current < autoscaler.minimum:
        sentence = f"minReplicas is more than {pods(current)}, so metrics are not evaluated"
        return Step(Stage.BOUNDS, current, autoscaler.minimum, sentence)
    return _by_selector(autoscaler, current)


def _at_zero(autoscaler: Autoscaler) -> Step | None:
    """Return the same for a workload with 0 pods."""
    to_zero, disabled = autoscaler.condition("ScaledToZero"), autoscaler.reports("ScalingActive", "ScalingDisabled")
    by_beanscale = f"beanscale scales it up once {awaited(autoscaler)}" if scales_from_zero(autoscaler) else ""
    if disabled:
        cause = by_beanscale or "not this autoscaler scaled the workload to 0"
        return Step(Stage.DISABLED, 0, 0, f"{reported(autoscaler, 'ScalingActive')}; {cause}")
    if not autoscaler.conditions:
        changed = " since its spec was changed" if autoscaler.is_outdated else ""
        return Step(Stage.CONDITION, 0, 0, f"the HPA controller hasn't synced this HPA yet{changed}")
    # Before Kubernetes 1.36 there was no ScaledToZero, and minReplicas 0 was enough.
    if not (to_zero.holds if to_zero else autoscaler.minimum == 0):
        sentence = "the workload has 0 pods, but not because of this autoscaler: its next sync disables scaling until"
        sentence += f" there is a pod; {by_beanscale}" if by_beanscale else " there is a pod"
        return Step(Stage.DISABLED, 0, 0, sentence)
    if not to_zero and autoscaler.scale.spec_replicas:
        sentence = f"the workload was scaled to 0 after the HPA's last sync, which left {pods(autoscaler.desired)}"
        return Step(Stage.CONDITION, 0, 0, sentence)
    return _by_selector(autoscaler, 0)


def _by_selector(autoscaler: Autoscaler, current: int) -> Step | None:
    """Return what keeps the pods if the controller doesn't know which they are."""
    if not autoscaler.reports("ScalingActive", "InvalidSelector", "AmbiguousSelector"):
        return None
    sentence = f"{reported(autoscaler, 'ScalingActive')}; so metrics are not evaluated"
    return Step(Stage.CONDITION, current, current, sentence)


def recommend(autoscaler: Autoscaler, metric: Metric, scale: Scale, observed: Observed) -> Recommendation:
    """Return what one metric recommends."""
    current, present, target, name = scale.spec_replicas, scale.status_replicas, metric.target.amount, str(metric)
    lowest, highest = 1.0 - autoscaler.down.tolerance, 1.0 + autoscaler.up.tolerance
    from_zero = current == 0
    kept, of_pods = current, ""
    why = observed.why if isinstance(observed, Missing) else ""
    if isinstance(observed, Total) and metric.failed:
        why = "the HPA got none at its last sync; beanscale returns one now"
    elif isinstance(observed, Total) and target > 0:
        total = observed.amount
        sentence = f"{name} is {plain(total)}, target {plain(target)}"
        divided = f"{plain(total)} ÷ {plain(target)} = {_quotient(total, target)}"
        if metric.target.kind is TargetKind.AVERAGE_VALUE:
            from_zero, kept, of_pods = present == 0, present, f" of {pods(present)}"
            ratio = float(total) / (float(target) * float(present or 1))
            number = math.ceil(float(total) / float(target))
            sentence += f" per pod: {divided}{'' if total % target == 0 else ', rounded up'}"
        elif from_zero:
            ratio = float(total) / float(target)
            number = math.ceil(ratio)
            sentence += f" in total: {divided}, which is the number of pods from 0, rounded up"
        else:
            ratio = float(total) / float(target)
            ready, of = (present, "pods, if all are ready,") if scale.ready is None else (scale.ready, "ready pods")
            number = math.ceil(ratio * float(ready))
            sentence += f" in total: {divided}; times {ready} {of} = {_quotient(total * ready, target)}, rounded up"
            if present == 0 and not lowest <= ratio <= highest:
                why = "the workload has no pods yet, so their readiness is unknown"
    elif not why and metric.last_value is not None and target > 0:
        # Approximate unless External: the controller evaluates other types pod by pod, which isn't possible here.
        ratio, kept = float(metric.last_value) / float(target), present
        from_zero = from_zero and metric.target.kind is TargetKind.VALUE
        number = math.ceil(ratio if from_zero else ratio * float(present))
        sentence = f"{metric.source} metric {name} was {ratio:.4g} times its target at the last sync"
    else:
        why = why or f"the HPA had none of this {metric.source} metric at its last sync"
    if why:
        return Recommendation((Step(Stage.ERROR, current, current, f"{name} has no value: {why}", name),), None)
    number = min(number, MAX_PODS)
    formula = Step(Stage.FORMULA, current, number, f"{sentence} → {pods(number)}", name)
    if from_zero or number == kept or not lowest <= ratio <= highest:
        return Recommendation((formula,), number)
    sentence = f"{ratio:.4g} times the target{of_pods}, within tolerance ({lowest:g} to {highest:g}) → {pods(kept)}"
    return Recommendation((formula, Step(Stage.TOLERANCE, number, kept, sentence, name)), kept)


def _quotient(dividend: int, divisor: int) -> str:
    return str(dividend // divisor) if dividend % divisor == 0 else f"{dividend / divisor:.4g}"


def normalize(
    autoscaler: Autoscaler, current: int, recommendation: int, now_unix_s: float, changes: Changes | None
) -> list[Step]:
    """Return the steps from the highest recommendation to the next number of pods; at least one."""
    low, high = autoscaler.minimum, autoscaler.maximum
    stabilized = stabilize(autoscaler, current, recommendation)
    steps = [stabilized] if stabilized else []
    number = stabilized.after if stabilized else recommendation

    upwards = number > current
    rules, limited = (autoscaler.up, "ScaleUpLimit") if upwards else (autoscaler.down, "ScaleDownLimit")
    changed = (  # so recently that it counts for the policies
        number != current
        and autoscaler.scaled_at_s is not None
        and autoscaler.has_behavior
        and rules.select != "Disabled"
        and now_unix_s - autoscaler.scaled_at_s <= max(policy.period_s for policy in rules.policies)
    )
    rescaled = autoscaler.reports("AbleToScale", "SucceededRescale")
    if changes is None:
        changes = ()
        if rescaled and autoscaler.scaled_at_s is not None:  # then the status has the number of pods before and after
            ago_s = max(now_unix_s - autoscaler.scaled_at_s, SYNC_PERIOD_S)  # at the next sync
            changes = ((ago_s, autoscaler.desired - autoscaler.scale.status_replicas),)
    if changed and not rescaled and autoscaler.reports("ScalingLimited", limited):
        after = current  # a sync that met this limit and changed nothing shows that earlier changes have used it up
    elif upwards:
        after = min(number, scale_up_limit(autoscaler, current, changes))
    else:
        after = max(number, scale_down_limit(autoscaler, current, changes))
    if (after < min(number, high)) if upwards else (after > max(number, low)):
        sentence = _policies(autoscaler, current, upwards=upwards)
        if upwards and after == 0 and rules.select != "Disabled":
            sentence += "; a Percent policy can't scale up from 0, use a Pods policy"
        if changed:
            sentence += (
                f"; changes already made in that period {'have used that up' if after == current else 'count too'}"
            )
        sentence += f" → {pods(after)}{confirmed(autoscaler, 'ScalingLimited', limited)}"
        steps.append(Step(Stage.POLICY, number, after, sentence))
        number = after

    after, sentence = number, f"{number} is within minReplicas {low} and maxReplicas {high}"
    if number > high:
        after, sentence = high, f"maxReplicas is {high}{confirmed(autoscaler, 'ScalingLimited', 'TooManyReplicas')}"
    elif number < low:
        after, sentence = low, f"minReplicas is {low}{confirmed(autoscaler, 'ScalingLimited', 'TooFewReplicas')}"
    steps.append(Step(Stage.LIMITS, number, after, sentence))
    return steps


def stabilize(autoscaler: Autoscaler, current: int, recommendation: int) -> Step | None:
    """Return the step that keeps the number of pods, unless the HPA reports that stabilization no longer does."""
    if recommendation > current:
        window_s = autoscaler.up_window_s
        which, beyond, reason, over = "lowest", "above", "ScaleUpStabilized", ("ScaleUpLimit", "TooManyReplicas")
    else:
        window_s = autoscaler.down.window_s
        which, beyond, reason, over = "highest", "below", "ScaleDownStabilized", ("ScaleDownLimit", "TooFewReplicas")
    clamped = max(autoscaler.minimum, min(recommendation, autoscaler.maximum))
    unchanged = clamped == current and not autoscaler.reports("AbleToScale", reason)
    if recommendation == current or unchanged or not window_s or autoscaler.reports("ScalingLimited", *over):
        return None
    sentence = (
        f"stabilization uses the {which} recommendation of the last {duration(window_s)}: it stays at {pods(current)}"
        f" until all are {beyond} that{confirmed(autoscaler, 'AbleToScale', reason)}"
    )
    return Step(Stage.STABILIZATION, recommendation, current, sentence)


def _before(changes: Changes, period_s: float, current: int) -> int:
    """Return the pods at the start of a policy's period (getReplicasChangePerPeriod)."""
    return current - sum(added for ago_s, added in changes if ago_s < period_s)


def scale_up_limit(autoscaler: Autoscaler, current: int, changes: Changes) -> int:
    """Return the most pods that one sync may scale up to."""
    if not autoscaler.has_behavior:
        # The controller limits each sync. Whoever scales more often must not exceed that.
        return max(current, 2 * _before(changes, SYNC_PERIOD_S, current), 4)
    if autoscaler.up.select == "Disabled":
        return current
    proposed = []
    for policy in autoscaler.up.policies:
        start = _before(changes, policy.period_s, current)
        more = start + policy.value if policy.kind == "Pods" else math.ceil(start * (1 + policy.value / 100))
        # The controller computes in int32. Beyond that, Go's results are negative (for a percentage, on amd64).
        proposed.append(more if more <= MAX_PODS else -1)
    return max(current, (max if autoscaler.up.select == "Max" else min)(proposed))


def scale_down_limit(autoscaler: Autoscaler, current: int, changes: Changes) -> int:
    """Return the fewest pods that one sync may scale down to."""
    if not autoscaler.has_behavior:
        return 0
    if autoscaler.down.select == "Disabled":
        return current
    proposed = []
    for policy in autoscaler.down.policies:
        start = _before(changes, policy.period_s, current)
        proposed.append(start - policy.value if policy.kind == "Pods" else int(start * (1 - policy.value / 100)))
    return min(current, (min if autoscaler.down.select == "Max" else max)(proposed))


def _policies(autoscaler: Autoscaler, current: int, *, upwards: bool) -> str:
    rules, direction = (autoscaler.up, "scaleUp") if upwards else (autoscaler.down, "scaleDown")
    if not autoscaler.has_behavior:
        return "without `behavior`, one sync at most doubles the pods, or scales to 4"
    if rules.select == "Disabled":
        return f"{direction}.selectPolicy is Disabled"
    allowed = [
        f"{pods(policy.value) if policy.kind == 'Pods' else f'{policy.value}% of {pods(current)}'}"
        f" in {duration(policy.period_s)}"
        for policy in rules.policies
    ]
    which = "" if len(allowed) == 1 else f", whichever is {'more' if rules.select == 'Max' else 'less'}"
    return f"the policies of {direction} allow {listing(allowed, 'or')}{which}"
