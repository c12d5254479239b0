"""What one metric wishes for: the controller's formula and its tolerance.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/replica_calculator.go
(GetExternalPerPodMetricReplicas, GetExternalMetricReplicas, getUsageRatioReplicaCount). It calculates in float64 and
so does this: a ratio at the edge of the tolerance falls to the same side.
"""

import math
from dataclasses import dataclass

from app.autoscaling.autoscaler import Autoscaler, Metric, Scale, TargetKind
from app.autoscaling.quantity import plain
from app.autoscaling.steps import Stage, Step, pods

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
class Elsewhere:
    """It isn't ours to ask; what the autoscaler saw at its last look must do."""


type Seen = Total | Missing | Elsewhere


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


def wish(autoscaler: Autoscaler, metric: Metric, scale: Scale, seen: Seen) -> Wish:
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
        scale.wanted,
        wanted,
        f"{metric} is {plain(total)} and one pod is for {plain(target)}: {plain(total)} ÷ {plain(target)}"
        f" = {_quotient(total, target)}{'' if total % target == 0 else ', rounded up'} → {pods(wanted)}",
        str(metric),
    )
    if scale.present == 0:
        return Wish((formula,), wanted)  # nothing to compare with: dividing by no pods is outside of any tolerance
    ratio = float(total) / (float(target) * float(scale.present))
    return _within(autoscaler, metric, formula, scale.present, ratio)


def _whole(autoscaler: Autoscaler, metric: Metric, scale: Scale, total: int) -> Wish:
    target = metric.target.amount
    ratio = float(total) / float(target)
    if scale.wanted == 0:
        wanted = min(math.ceil(ratio), MOST_PODS)
        sentence = (
            f"from 0 pods the ratio itself counts{'' if total % target == 0 else ', rounded up'} → {pods(wanted)}"
        )
        return Wish((_ratio_step(metric, scale, total, wanted, sentence),), wanted)
    if scale.present == 0:
        return _missing(metric, scale, "the workload has no pod yet whose readiness could be counted")
    ready = scale.present if scale.ready is None else scale.ready
    wanted = min(math.ceil(ratio * float(ready)), MOST_PODS)
    taken = "pods" if scale.ready is None else "ready pods"
    sentence = f"times {ready} {taken} = {_quotient(total * ready, target)}, rounded up → {pods(wanted)}"
    return _within(autoscaler, metric, _ratio_step(metric, scale, total, wanted, sentence), scale.wanted, ratio)


def _ratio_step(metric: Metric, scale: Scale, total: int, wanted: int, rest: str) -> Step:
    target = metric.target.amount
    return Step(
        Stage.FORMULA,
        scale.wanted,
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
    step = Step(Stage.ERROR, scale.wanted, scale.wanted, f"{metric} has no value: {why}", str(metric))
    return Wish((step,), None)


def _as_last_seen(autoscaler: Autoscaler, metric: Metric, scale: Scale) -> Wish:
    """About what the controller makes of a metric of another source: it counts pods one by one, and we can't."""
    if metric.last_seen is None or metric.target.amount == 0:
        return _missing(metric, scale, f"the autoscaler saw none of this {metric.source} metric at its last look")
    ratio = float(metric.last_seen) / float(metric.target.amount)
    from_zero = metric.target.kind is TargetKind.VALUE and scale.wanted == 0
    wanted = min(math.ceil(ratio if from_zero else ratio * float(scale.present)), MOST_PODS)
    formula = Step(
        Stage.FORMULA,
        scale.wanted,
        wanted,
        f"{metric.source} metric {metric} was {ratio:.4g} times its target at the autoscaler's last look:"
        f" about {pods(wanted)}",
        str(metric),
    )
    return _within(autoscaler, metric, formula, scale.present, ratio)


def _quotient(dividend: int, divisor: int) -> str:
    shown = f"{dividend / divisor:.4g}"
    return str(dividend // divisor) if dividend % divisor == 0 else shown


_wishes = {TargetKind.AVERAGE_VALUE: _per_pod, TargetKind.VALUE: _whole}
