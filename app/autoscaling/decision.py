"""What an autoscaler does at its next look, step by step.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go (reconcileAutoscaler,
computeReplicasForMetrics, normalizeDesiredReplicas, normalizeDesiredReplicasWithBehaviors). Two things that it goes by
are in its memory only: its earlier wishes (stabilisation) and when it changed how many pods (policies). Where they
count the answer is the likely one, between bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.autoscaling.autoscaler import Autoscaler, Scale, Target
from app.autoscaling.memory import changed_lately, possible, stabilised
from app.autoscaling.pace import ceiling, floor, in_words
from app.autoscaling.steps import Stage, Step, pods
from app.autoscaling.wish import Seen, Wish, wish


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


def decide(autoscaler: Autoscaler, scale: Scale, seen: Sequence[Seen], now_unix_s: float) -> Decision:
    """The way from the metrics, `seen` in the order of the autoscaler's, to the number of pods."""
    early = _without_metrics(autoscaler, scale)
    if early is not None:
        return _settled((early,), early)
    wishes = [wish(autoscaler, metric, scale, one) for metric, one in zip(autoscaler.metrics, seen, strict=True)]
    steps = tuple(step for one in wishes for step in one.steps)
    wished = [one for one in wishes if one.pods is not None]
    highest = max((one.pods or 0 for one in wished), default=0)
    if len(wished) < len(wishes) and (not wished or highest < scale.wanted):
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
    current = scale.wanted
    if current == 0:
        return None if _may_leave_zero(autoscaler) else Step(Stage.SWITCHED_OFF, 0, 0, _switched_off(autoscaler))
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
    rested = autoscaler.minimum == 0 and autoscaler.scale.wanted == 0
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
        sentence = f"without any metric's value the autoscaler leaves the {pods(scale.wanted)} alone"
    else:
        sentence = (
            f"{pods(highest)} would be fewer than now, and while {', '.join(missing)} has no value the autoscaler"
            " never scales down"
        )
    return Step(Stage.ERROR, scale.wanted, scale.wanted, sentence)


def _normalised(autoscaler: Autoscaler, scale: Scale, wished: Step, now_unix_s: float) -> Decision:
    """From the wish that counts through what holds it back."""
    number = wished.after
    steps = [wished]
    held = stabilised(autoscaler, scale, number)
    if held is not None:
        steps.append(held)
    slowed = _paced(autoscaler, scale.wanted, steps[-1].after, now_unix_s)
    if slowed is not None:
        steps.append(slowed)
    steps.append(_limited(autoscaler, steps[-1].after))
    decider = next((step for step in reversed(steps[1:]) if step.before != step.after), wished)
    reachable = _reachable(autoscaler, scale, number, now_unix_s)
    return Decision(tuple(steps[1:]), decider, steps[-1].after, min(reachable), max(reachable))


def _reachable(autoscaler: Autoscaler, scale: Scale, wished: int, now_unix_s: float) -> list[int]:
    current = scale.wanted
    reachable = [
        max(floor(autoscaler, current), min(number, ceiling(autoscaler, current)))
        for number in possible(autoscaler, scale, wished, now_unix_s)
    ]
    if changed_lately(autoscaler, now_unix_s, upwards=wished > current):
        reachable.append(wished)  # policies count from the pods at their period's start, which may have been more
    return [max(autoscaler.minimum, min(number, autoscaler.maximum)) for number in reachable]


def _paced(autoscaler: Autoscaler, current: int, number: int, now_unix_s: float) -> Step | None:
    """The policies, where they allow less than minReplicas and maxReplicas do."""
    upwards = number > current
    if upwards:
        after = min(number, ceiling(autoscaler, current))
        binds = after < min(number, autoscaler.maximum)
    else:
        after = max(number, floor(autoscaler, current)) if number < current else number
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
