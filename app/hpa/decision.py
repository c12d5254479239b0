"""What an autoscaler does at its next look, step by step.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler,
computeReplicasForMetrics, normalizeDesiredReplicas, normalizeDesiredReplicasWithBehaviors). Two things that it goes by
are in its memory only: its earlier wishes (stabilisation) and when it changed how many pods (policies). Where they
count the answer is the likely one, between bounds.

What an autoscaler's way from a metric to a number of pods is told in.

What one metric wishes for: the controller's formula and its tolerance.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/replica_calculator.go
(GetExternalPerPodMetricReplicas, GetExternalMetricReplicas, getUsageRatioReplicaCount). It calculates in float64 and
so does this: a ratio at the edge of the tolerance falls to the same side.

How far an autoscaler may move in one look: the policies of spec.behavior, or Kubernetes' older rules without it.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go
(calculateScaleUpLimitWithScalingRules, calculateScaleDownLimitWithBehaviors, calculateScaleUpLimit).

What counts although no object shows it: the controller's earlier wishes, and its changes of the last seconds.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go (stabilizeRecommendation,
stabilizeRecommendationWithBehaviors, getReplicasChangePerPeriod). Its conditions summarize a part of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.hpa.autoscaler import Autoscaler, Metric, Policy, Scale, ScalingRules, Target, TargetKind
from app.quantity import plain


class Stage(StrEnum):
    """The parts of the way, in their order."""

    DISABLED = "switched off"
    """The workload was scaled to 0 by somebody else."""
    BOUNDS = "bounds"
    """The pods that there are, are more than maxReplicas or fewer than minReplicas: no metric is asked."""
    FORMULA = "formula"
    TOLERANCE = "tolerance"
    HIGHEST = "highest"
    """Of several metrics' wishes."""
    ERROR = "error"
    """A metric without value."""
    STABILIZATION = "stabilisation"
    POLICY = "policy"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the way."""

    stage: Stage
    before: int
    """Pods."""
    after: int
    sentence: str
    metric: str = ""
    """Whose, in formula, tolerance and error."""


def pods(number: int) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} pod{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`45 s`, `5 min`, `1 min 30 s`, `2 h`, `3 h 20 min`: two units at most."""
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    shown = [(number, unit) for number, unit in parts if number]
    first = parts.index(shown[0]) if shown else 3
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"


MOST_PODS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Total:
    """The metric has a value: the sum of its items."""

    amount: int
    """Thousandths."""


@dataclass(frozen=True, slots=True)
class Missing:
    """It has none; the controller calls it invalid."""

    why: str
    """A clause."""


@dataclass(frozen=True, slots=True)
class NotQueried:
    """It isn't ours to ask; what the autoscaler saw at its last look must do."""


type Observed = Total | Missing | NotQueried


@dataclass(frozen=True, slots=True)
class Wish:
    """What one metric says."""

    steps: tuple[Step, ...]
    pods: int | None
    """None: it has no value."""

    @property
    def decided_by(self) -> Step:
        """Tolerance where that kept the number, else the formula."""
        *_, last = self.steps
        return last if last.before != last.after else self.steps[0]


def wish(autoscaler: Autoscaler, metric: Metric, scale: Scale, seen: Observed) -> Wish:
    """What `metric` says when it is `seen` so."""
    match seen:
        case Total(amount) if metric.target.amount > 0:
            return _wishes[metric.target.kind](autoscaler, metric, scale, amount)
        case Missing(why):
            return _missing(metric, scale, why)
        case _:
            return _as_last_seen(autoscaler, metric, scale)


def _per_pod(autoscaler: Autoscaler, metric: Metric, scale: Scale, total: int) -> Wish:
    target = metric.target.amount
    wanted = min(math.ceil(float(total) / float(target)), MOST_PODS)
    formula = Step(
        Stage.FORMULA,
        scale.spec_replicas,
        wanted,
        f"{metric} is {plain(total)} and one pod is for {plain(target)}: {plain(total)} ÷ {plain(target)}"
        f" = {_quotient(total, target)}{'' if total % target == 0 else ', rounded up'} → {pods(wanted)}",
        str(metric),
    )
    if scale.status_replicas == 0:
        return Wish((formula,), wanted)  # nothing to compare with: dividing by no pods is outside of any tolerance
    ratio = float(total) / (float(target) * float(scale.status_replicas))
    return _within(autoscaler, metric, formula, scale.status_replicas, ratio)


def _whole(autoscaler: Autoscaler, metric: Metric, scale: Scale, total: int) -> Wish:
    target = metric.target.amount
    ratio = float(total) / float(target)
    if scale.spec_replicas == 0:
        wanted = min(math.ceil(ratio), MOST_PODS)
        sentence = (
            f"from 0 pods the ratio itself counts{'' if total % target == 0 else ', rounded up'} → {pods(wanted)}"
        )
        return Wish((_ratio_step(metric, scale, total, wanted, sentence),), wanted)
    if scale.status_replicas == 0:
        return _missing(metric, scale, "the workload has no pod yet whose readiness could be counted")
    ready = scale.status_replicas if scale.ready is None else scale.ready
    wanted = min(math.ceil(ratio * float(ready)), MOST_PODS)
    taken = "pods" if scale.ready is None else "ready pods"
    sentence = f"times {ready} {taken} = {_quotient(total * ready, target)}, rounded up → {pods(wanted)}"
    return _within(autoscaler, metric, _ratio_step(metric, scale, total, wanted, sentence), scale.spec_replicas, ratio)


def _ratio_step(metric: Metric, scale: Scale, total: int, wanted: int, rest: str) -> Step:
    target = metric.target.amount
    return Step(
        Stage.FORMULA,
        scale.spec_replicas,
        wanted,
        f"{metric} is {plain(total)} and should be {plain(target)} in all: {plain(total)} ÷ {plain(target)}"
        f" = {_quotient(total, target)}; {rest}",
        str(metric),
    )


def _within(autoscaler: Autoscaler, metric: Metric, formula: Step, kept: int, ratio: float) -> Wish:
    """The formula's number, or `kept` where the metric is near enough to its target."""
    lowest, highest = 1.0 - autoscaler.down.tolerance, 1.0 + autoscaler.up.tolerance
    if not lowest <= ratio <= highest:
        return Wish((formula,), formula.after)
    if formula.after == kept:
        return Wish((formula,), kept)
    tolerance = Step(
        Stage.TOLERANCE,
        formula.after,
        kept,
        f"that is {ratio:.4g} times what {pods(kept)} are for, within the tolerance of {lowest:g} to {highest:g}:"
        f" {pods(kept)} will do",
        str(metric),
    )
    return Wish((formula, tolerance), kept)


def _missing(metric: Metric, scale: Scale, why: str) -> Wish:
    step = Step(Stage.ERROR, scale.spec_replicas, scale.spec_replicas, f"{metric} has no value: {why}", str(metric))
    return Wish((step,), None)


def _as_last_seen(autoscaler: Autoscaler, metric: Metric, scale: Scale) -> Wish:
    """About what the controller makes of a metric of another source: it counts pods one by one, and we can't."""
    if metric.last_value is None or metric.target.amount == 0:
        return _missing(metric, scale, f"the autoscaler saw none of this {metric.source} metric at its last look")
    ratio = float(metric.last_value) / float(metric.target.amount)
    from_zero = metric.target.kind is TargetKind.VALUE and scale.spec_replicas == 0
    wanted = min(math.ceil(ratio if from_zero else ratio * float(scale.status_replicas)), MOST_PODS)
    formula = Step(
        Stage.FORMULA,
        scale.spec_replicas,
        wanted,
        f"{metric.source} metric {metric} was {ratio:.4g} times its target at the autoscaler's last look:"
        f" about {pods(wanted)}",
        str(metric),
    )
    return _within(autoscaler, metric, formula, scale.status_replicas, ratio)


def _quotient(dividend: int, divisor: int) -> str:
    shown = f"{dividend / divisor:.4g}"
    return str(dividend // divisor) if dividend % divisor == 0 else shown


_wishes = {TargetKind.AVERAGE_VALUE: _per_pod, TargetKind.VALUE: _whole}


def scale_up_limit(autoscaler: Autoscaler, current: int) -> int:
    """The most pods that it may go to, if none came or went within the policies' periods."""
    if not autoscaler.has_behavior:
        return max(2 * current, 4)
    return max(_limit(autoscaler.up, current, _grown, {"Max": max, "Min": min}), current)


def scale_down_limit(autoscaler: Autoscaler, current: int) -> int:
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


def stabilised(autoscaler: Autoscaler, scale: Scale, wished: int) -> Step | None:
    """What its earlier wishes make of this one, most likely; None where they don't count."""
    current = scale.spec_replicas
    if _goes_on_growing(autoscaler, scale, wished):
        return _further(autoscaler, current, wished)
    if wished == current or _window_s(autoscaler, upwards=wished > current) == 0:
        return None
    limit = "ScaleUpLimit" if wished > current else "ScaleDownLimit"
    if autoscaler.reports("ScalingLimited", limit):
        return _over(autoscaler, current, wished)
    return _held(autoscaler, current, wished)


def possible(autoscaler: Autoscaler, scale: Scale, wished: int, now_unix_s: float) -> frozenset[int]:
    """Numbers between which its memory may lead it, before policies and limits as the object shows them."""
    current = scale.spec_replicas
    numbers = {wished}
    if wished != current and (
        _window_s(autoscaler, upwards=wished > current)
        or changed_lately(autoscaler, now_unix_s, upwards=wished > current)
    ):
        numbers.add(current)
    if not autoscaler.has_behavior and (_grew_as_fast_as_it_may(autoscaler) or current != autoscaler.desired):
        numbers.add(scale_up_limit(autoscaler, current))
    return frozenset(numbers)


def changed_lately(autoscaler: Autoscaler, now_unix_s: float, *, upwards: bool) -> bool:
    """Whether an earlier change may use up some of what the policies allow now."""
    if autoscaler.scaled_at_s is None or not earlier_changes_count(autoscaler, upwards=upwards):
        return False
    rules = autoscaler.up if upwards else autoscaler.down
    return now_unix_s - autoscaler.scaled_at_s <= longest_period_s(rules)


def _window_s(autoscaler: Autoscaler, *, upwards: bool) -> int:
    if upwards:
        return autoscaler.up.window_s if autoscaler.has_behavior else 0
    return autoscaler.down.window_s


def _goes_on_growing(autoscaler: Autoscaler, scale: Scale, wished: int) -> bool:
    return (
        not autoscaler.has_behavior
        and _grew_as_fast_as_it_may(autoscaler)
        and wished < scale_up_limit(autoscaler, scale.spec_replicas)
    )


def _grew_as_fast_as_it_may(autoscaler: Autoscaler) -> bool:
    """Then it wished for more than it has now, at its last look."""
    return autoscaler.reports("ScalingLimited", "ScaleUpLimit")


def _further(autoscaler: Autoscaler, current: int, wished: int) -> Step:
    sentence = (
        f"at its last look it wished for more pods than it may add at once, and without `behavior` the highest wish of"
        f" the last {duration(autoscaler.down.window_s)} counts: it goes on growing"
    )
    return Step(Stage.STABILIZATION, wished, scale_up_limit(autoscaler, current), sentence)


def _over(autoscaler: Autoscaler, current: int, wished: int) -> Step:
    upwards = wished > current
    window = duration(_window_s(autoscaler, upwards=upwards))
    beyond = "above" if upwards else "below"
    sentence = f"every wish of the last {window} was {beyond} {pods(current)}, so stabilisation is over"
    return Step(Stage.STABILIZATION, wished, wished, sentence)


def _held(autoscaler: Autoscaler, current: int, wished: int) -> Step:
    upwards = wished > current
    which, beyond, reported = (
        ("lowest", "above", "ScaleUpStabilized") if upwards else ("highest", "below", "ScaleDownStabilized")
    )
    sentence = (
        f"of the last {duration(_window_s(autoscaler, upwards=upwards))} the {which} wish counts (stabilisation), so it"
        f" stays at {pods(current)} until all wishes of that time were {beyond} that"
    )
    if autoscaler.reports("AbleToScale", reported):
        sentence += f"; the autoscaler says so itself ({reported})"
    return Step(Stage.STABILIZATION, wished, current, sentence)


@dataclass(frozen=True, slots=True)
class Decision:
    """The way and where it ends."""

    steps: tuple[Step, ...]
    decided_by: Step
    """The last step that changed the number of pods, or else the wish that it stayed with."""
    pods: int
    """That it goes to, as far as can be told."""
    lowest: int
    highest: int
    """Bounds, as its memory isn't to be seen; both `pods` where nothing there counts."""


def decide(autoscaler: Autoscaler, scale: Scale, seen: Sequence[Observed], now_unix_s: float) -> Decision:
    """The way from the metrics, `seen` in the order of the autoscaler's, to the number of pods."""
    early = _without_metrics(autoscaler, scale)
    if early is not None:
        return _settled((early,), early)
    wishes = [wish(autoscaler, metric, scale, one) for metric, one in zip(autoscaler.metrics, seen, strict=True)]
    steps = tuple(step for one in wishes for step in one.steps)
    wished = [one for one in wishes if one.pods is not None]
    highest = max((one.pods or 0 for one in wished), default=0)
    if len(wished) < len(wishes) and (not wished or highest < scale.spec_replicas):
        blocked = _blocked(wishes, scale, highest)
        return _settled((*steps, blocked), blocked)
    winner = next(one for one in wished if one.pods == highest)
    if len(wishes) > 1:
        chosen = f"of several metrics' wishes the highest counts: that of {winner.decided_by.metric}"
        steps = (*steps, Step(Stage.HIGHEST, highest, highest, chosen))
    further = _normalised(autoscaler, scale, winner.decided_by, now_unix_s)
    return replace(further, steps=(*steps, *further.steps))


def with_target(autoscaler: Autoscaler, position: int, target: Target) -> Autoscaler:
    """The same with another target of one metric: `decide` then tells what the answer would be."""
    metrics = list(autoscaler.metrics)
    metrics[position] = replace(metrics[position], target=target)
    return replace(autoscaler, metrics=tuple(metrics))


def _settled(steps: tuple[Step, ...], last: Step) -> Decision:
    return Decision(steps, last, last.after, last.after, last.after)


def _without_metrics(autoscaler: Autoscaler, scale: Scale) -> Step | None:
    current = scale.spec_replicas
    if current == 0:
        return None if _may_leave_zero(autoscaler) else Step(Stage.DISABLED, 0, 0, _switched_off(autoscaler))
    if current > autoscaler.maximum:
        sentence = f"{pods(current)} are more than maxReplicas, whatever the metrics say"
        return Step(Stage.BOUNDS, current, autoscaler.maximum, sentence)
    if current < autoscaler.minimum:
        sentence = f"{pods(current)} are fewer than minReplicas, whatever the metrics say"
        return Step(Stage.BOUNDS, current, autoscaler.minimum, sentence)
    return None


def _may_leave_zero(autoscaler: Autoscaler) -> bool:
    scaled_to_zero = autoscaler.condition("ScaledToZero")
    if scaled_to_zero is not None:
        return scaled_to_zero.holds
    # Before 1.36 there was no such condition, and minReplicas 0 was enough.
    active = autoscaler.condition("ScalingActive")
    rested = autoscaler.minimum == 0 and autoscaler.scale.spec_replicas == 0
    return rested and active is not None and active.holds


def _switched_off(autoscaler: Autoscaler) -> str:
    if autoscaler.minimum:
        return "the workload was scaled to 0 by hand, which switches its autoscaler off until it has a pod again"
    return (
        "the workload has 0 pods, and not because this autoscaler scaled it to 0: that switches the autoscaler off"
        " until there is a pod again"
    )


def _blocked(wishes: Sequence[Wish], scale: Scale, highest: int) -> Step:
    missing = [one.steps[0].metric for one in wishes if one.pods is None]
    if len(missing) == len(wishes):
        sentence = f"without any metric's value the autoscaler leaves the {pods(scale.spec_replicas)} alone"
    else:
        sentence = (
            f"{pods(highest)} would be fewer than now, and while {', '.join(missing)} has no value the autoscaler"
            " never scales down"
        )
    return Step(Stage.ERROR, scale.spec_replicas, scale.spec_replicas, sentence)


def _normalised(autoscaler: Autoscaler, scale: Scale, wished: Step, now_unix_s: float) -> Decision:
    """From the wish that counts through what holds it back."""
    number = wished.after
    steps = [wished]
    held = stabilised(autoscaler, scale, number)
    if held is not None:
        steps.append(held)
    slowed = _paced(autoscaler, scale.spec_replicas, steps[-1].after, now_unix_s)
    if slowed is not None:
        steps.append(slowed)
    steps.append(_limited(autoscaler, steps[-1].after))
    decider = next((step for step in reversed(steps[1:]) if step.before != step.after), wished)
    reachable = _reachable(autoscaler, scale, number, now_unix_s)
    return Decision(tuple(steps[1:]), decider, steps[-1].after, min(reachable), max(reachable))


def _reachable(autoscaler: Autoscaler, scale: Scale, wished: int, now_unix_s: float) -> list[int]:
    current = scale.spec_replicas
    reachable = [
        max(scale_down_limit(autoscaler, current), min(number, scale_up_limit(autoscaler, current)))
        for number in possible(autoscaler, scale, wished, now_unix_s)
    ]
    if changed_lately(autoscaler, now_unix_s, upwards=wished > current):
        reachable.append(wished)  # policies count from the pods at their period's start, which may have been more
    return [max(autoscaler.minimum, min(number, autoscaler.maximum)) for number in reachable]


def _paced(autoscaler: Autoscaler, current: int, number: int, now_unix_s: float) -> Step | None:
    """The policies, where they allow less than minReplicas and maxReplicas do."""
    upwards = number > current
    if upwards:
        after = min(number, scale_up_limit(autoscaler, current))
        binds = after < min(number, autoscaler.maximum)
    else:
        after = max(number, scale_down_limit(autoscaler, current)) if number < current else number
        binds = after > max(number, autoscaler.minimum)
    if not binds:
        return None
    sentence = f"{in_words(autoscaler, current, upwards=upwards)} → {pods(after)}"
    if upwards and after == 0 and autoscaler.up.select != "Disabled":
        sentence += ": percent of nothing is nothing, only a policy of type Pods leads away from 0"
    if changed_lately(autoscaler, now_unix_s, upwards=upwards):
        sentence += ", more or less by what it has changed within that time already"
    return Step(Stage.POLICY, number, after, sentence)


def _limited(autoscaler: Autoscaler, number: int) -> Step:
    low, high = autoscaler.minimum, autoscaler.maximum
    if number > high:
        return Step(Stage.LIMITS, number, high, f"maxReplicas is {high}")
    if number < low:
        return Step(Stage.LIMITS, number, low, f"minReplicas is {low}")
    return Step(Stage.LIMITS, number, number, f"{number} is within minReplicas {low} and maxReplicas {high}")
