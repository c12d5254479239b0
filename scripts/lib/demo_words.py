"""The demo in words: an autoscaler's conditions, a line for each change, what was proven, why it got stuck. Pure."""

from enum import Enum
from fractions import Fraction

from scripts.lib.demo_story import Condition, Milestones, Observation, Scaling

_REASONS = {
    "SucceededGetScale": "found its deployment",
    "SucceededRescale": "just changed the number of pods",
    "ReadyForNewScale": "may change the number of pods at any time",
    "ScaleDownStabilized": "would take pods away, but waits: more were needed a moment ago",
    "ScaleUpStabilized": "would add pods, but waits: fewer were enough a moment ago",
    "ValidMetricFound": "reads its metric",
    "DesiredWithinRange": "may have as many pods as it wants",
    "TooManyReplicas": "wants more pods than it may have (maxReplicas)",
    "TooFewReplicas": "wants fewer pods than it must have (minReplicas)",
    "ScaleUpLimit": "adds pods no faster than its scaleUp policy lets it",
    "ScaleDownLimit": "takes pods away no faster than its scaleDown policy lets it",
    "ScalingDisabled": "rests, because somebody scaled its deployment to 0",
}
"""Reasons of the HPA controller (kubernetes/pkg/controller/podautoscaler); others come with a message worth reading."""


class Step(Enum):
    """Where a step of the proof stands, by the mark that people see."""

    REACHED = "✓"
    LEFT_OUT = "-"
    AWAITED = "…"


def in_words(condition: Condition) -> str:
    """What the autoscaler means, as the rest of a sentence about it."""
    return _REASONS.get(condition.reason) or f"says: {condition.message or condition.reason}"


def in_order(condition: Condition) -> bool:
    """Whether it is as it should be; ScalingLimited is good to know, whichever way."""
    return condition.holds or condition.kind == "ScalingLimited"


def lines(before: Observation | None, seen: Observation) -> list[str]:
    """What is different from `before`: figures in one line, then what the autoscaler says, then troubles."""
    changed = [] if before and figures(before) == figures(seen) else [figures(seen)]
    known = () if before is None else (*map(in_words, before.conditions), *before.troubles)
    says = [f"the autoscaler {in_words(each)}" for each in seen.conditions if in_words(each) not in known]
    return [
        f"{seen.at_s:6.1f} s  {line}"
        for line in (*changed, *says, *(each for each in seen.troubles if each not in known))
    ]


def figures(seen: Observation) -> str:
    return (
        f"jobs: {shown(seen.ready)} ready, {shown(seen.reserved)} reserved; metric: {shown(seen.metric)};"
        f" the autoscaler sees {shown(seen.seen)} a pod, wants {pods(seen.desired)}; {pods(seen.pods)} ready"
    )


def shown(value: int | Fraction | None) -> str:
    """`12`, `0.4`, or `?` for what couldn't be had."""
    return "?" if value is None else f"{float(value):g}" if isinstance(value, Fraction) else str(value)


def pods(number: int | None) -> str:
    return f"{shown(number)} pod{'' if number == 1 else 's'}"


def told(scaling: Scaling) -> str:
    """What the autoscaler was told, after words about jobs."""
    ratio = shown(scaling.jobs_per_pod)
    return f"a pod for every {'one' if ratio == '1' else ratio}, {scaling.least} to {pods(scaling.most)}"


def progress(scaling: Scaling, put: int, reached: Milestones) -> list[tuple[str, Step, float | None]]:
    """What is to be proven, in order; each with the second when it came true.

    A step can be left out: where pods start slowly, the jobs are done before all of them are ready.
    """
    peak = reached.peak if reached.wanted_s is not None else scaling.pods_for(put)
    steps = [
        (f"the autoscaler wants {pods(peak)}", reached.wanted_s),
        (f"{pods(peak)} ready", reached.ready_s),
        (f"all {put} jobs done", reached.done_s),
        (f"back to {pods(scaling.least)}", reached.back_s),
    ]
    last = max((number for number, (_, when) in enumerate(steps) if when is not None), default=-1)
    return [(what, _state(number, when, last), when) for number, (what, when) in enumerate(steps)]


def _state(number: int, when: float | None, last: int) -> Step:
    if when is not None:
        return Step.REACHED
    return Step.LEFT_OUT if number < last else Step.AWAITED


def proven(scaling: Scaling, put: int, reached: Milestones) -> str:
    """`20 jobs put → the autoscaler wants 10 pods after 4.2 s → …`"""
    parts = [f"{what} after {when:.1f} s" for what, _, when in progress(scaling, put, reached) if when is not None]
    return " → ".join([f"{put} jobs put", *parts])


def stuck(scaling: Scaling, put: int, reached: Milestones, last: Observation) -> str:
    """Why the demo gave up: the step that didn't come, and what is known about it."""
    missing = next(what for what, state, _ in progress(scaling, put, reached) if state is Step.AWAITED)
    wrong = [f"the autoscaler {in_words(each)}" for each in last.conditions if not in_order(each)]
    reasons = [*last.troubles, *wrong] or [figures(last)]
    return f"nothing changed for {scaling.patience_s:.0f} s while waiting for “{missing}”: {'; '.join(reasons)}"
