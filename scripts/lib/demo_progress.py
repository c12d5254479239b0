"""What the demo observed, which steps that proves, and both in words. Pure: time is a field.

A run is a sequence of observations, oldest first. Everything that is shown is computed from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import ceil
from typing import Any

type Json = Mapping[str, Any]

_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9}
"""Of ten, by the suffix of a quantity."""
_STABILIZATION_S = 300
"""Default stabilization window for scaling down (autoscaling/v2, HPAScalingRules)."""
_REASONS = {
    "SucceededGetScale": "found its Deployment",
    "SucceededRescale": "has just changed the number of pods",
    "ReadyForNewScale": "can scale now",
    "ScaleDownStabilized": "keeps its pods: a recommendation in the stabilization window was higher",
    "ScaleUpStabilized": "adds no pods: a recommendation in the stabilization window was lower",
    "ValidMetricFound": "has a metric value",
    "DesiredWithinRange": "is within minReplicas and maxReplicas",
    "TooManyReplicas": "wants more pods than maxReplicas allows",
    "TooFewReplicas": "wants fewer pods than minReplicas allows",
    "ScaleUpLimit": "adds pods as fast as its scaleUp policies allow",
    "ScaleDownLimit": "removes pods as fast as its scaleDown policies allow",
    "ScaledToZero": "has scaled its Deployment to 0",
    "NotScaledToZero": "hasn't scaled its Deployment to 0",
    "ScalingDisabled": "is disabled, because its Deployment was scaled to 0",
}
"""Reasons of the HPA controller (kubernetes/pkg/controller/podautoscaler); for others, its message is shown."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The spec of the HPA."""

    metric: str
    jobs_per_pod: Fraction
    min_pods: int
    max_pods: int
    timeout_s: float
    """Give up after this long without progress."""

    @property
    def tube(self) -> str:
        return self.metric.removeprefix("tube-")

    def pods_for(self, jobs: int) -> int:
        """Return the number of pods that the HPA computes for `jobs`."""
        return min(self.max_pods, max(self.min_pods, ceil(jobs / self.jobs_per_pod)))

    def __str__(self) -> str:
        ratio = shown(self.jobs_per_pod)
        return f"one pod per {'job' if ratio == '1' else f'{ratio} jobs'}, {self.min_pods} to {pods(self.max_pods)}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the HPA, its type in `kind`."""

    kind: str
    holds: bool
    reason: str
    message: str

    def __str__(self) -> str:
        """Return the rest of a sentence that begins with "the HPA"."""
        return _REASONS.get(self.reason) or f"reports: {self.message or self.reason}"

    def is_normal(self) -> bool:
        """Return whether there is nothing to do about it; some are normal in both states."""
        return self.holds or self.kind in {"ScalingLimited", "ScaledToZero"}


@dataclass(frozen=True, slots=True)
class Observation:
    """The state at one moment. None: unknown, and `errors` has the cause."""

    at_s: float
    """Since the jobs were put."""
    ready: int | None
    """Jobs in the tube as beanstalkd counts them; so are `reserved` and `deleted`."""
    reserved: int | None
    deleted: int | None
    """Since the jobs were put; below 0 after a restart of beanstalkd, which resets its counters."""
    metric: int | None
    """The value through kube-apiserver."""
    per_pod: Fraction | None
    """The metric in the HPA's status: jobs per pod."""
    desired: int | None
    """Pods that the HPA wants, as of its controller's last sync."""
    pods: int | None
    """Ready pods of the Deployment."""
    replicas: int | None
    """Pods that the Deployment should have: set by the HPA controller, or by beanscale before its sync."""
    current: int | None
    """Pods that the HPA controller found at its last sync."""
    conditions: tuple[Condition, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def jobs(self) -> int | None:
        return None if self.ready is None or self.reserved is None else self.ready + self.reserved

    def __str__(self) -> str:
        return (
            f"jobs: {shown(self.ready)} ready, {shown(self.reserved)} reserved; metric: {shown(self.metric)};"
            f" the HPA sees {shown(self.per_pod)} per pod, wants {pods(self.desired)};"
            f" Deployment: {pods(self.replicas)}, {shown(self.pods)} ready"
        )


@dataclass(frozen=True, slots=True)
class Milestones:
    """When each step was first observed, in seconds since the jobs were put; None: not yet."""

    scaled_s: float | None = None
    """The Deployment should have as many pods as the jobs need."""
    by_beanscale: bool = False
    """True if that was before the HPA controller's sync."""
    synced_s: float | None = None
    """The HPA controller's next sync; without beanscale, the earliest time of scaling."""
    peak: int = 0
    """The maximum number of pods that the Deployment should have."""
    ready_s: float | None = None
    """All of these are ready."""
    done_s: float | None = None
    """No job is left."""
    back_s: float | None = None
    """The minimum number of pods is left."""


class Step(Enum):
    """The state of a step, by its mark on the screen."""

    REACHED = "✓"
    SKIPPED = "-"
    PENDING = "…"


def parse_scaling(hpa: Json) -> Scaling:
    """Parse the spec of the chart's autoscaling/v2 object: one external metric, with a target per pod."""
    spec = hpa["spec"]
    external = spec["metrics"][0]["external"]
    scale_down = (spec.get("behavior") or {}).get("scaleDown") or {}
    return Scaling(
        metric=external["metric"]["name"],
        jobs_per_pod=parse_quantity(external["target"]["averageValue"]),
        min_pods=spec.get("minReplicas", 1),
        max_pods=spec["maxReplicas"],
        timeout_s=90.0 + scale_down.get("stabilizationWindowSeconds", _STABILIZATION_S),
    )


def parse_quantity(text: str) -> Fraction:
    """Parse a Kubernetes quantity in decimal notation: `12`, `400m`."""
    power = _POWERS.get(text[-1:])
    return Fraction(text) if power is None else Fraction(f"{text[:-1]}e{power}")


def parse_per_pod(hpa: Json) -> Fraction | None:
    """Parse jobs per pod from status.currentMetrics; None if there is none, or an invalid one as at 0 pods."""
    current = (hpa.get("status") or {}).get("currentMetrics") or ()
    values = [parse_quantity(each["external"]["current"]["averageValue"]) for each in current if each.get("external")]
    return values[0] if values and values[0] >= 0 else None


def parse_conditions(hpa: Json) -> tuple[Condition, ...]:
    found = (hpa.get("status") or {}).get("conditions") or ()
    return tuple(
        Condition(each["type"], each["status"] == "True", each.get("reason", ""), each.get("message", ""))
        for each in found
    )


def is_idle(scaling: Scaling, seen: Observation) -> bool:
    """Return whether there is no job, and the minimum number of pods."""
    return seen.jobs == 0 and seen.desired == seen.pods == scaling.min_pods


def jobs_lost(put: int, seen: Observation) -> bool:
    """Return whether the tube is empty with fewer than `put` deletions: beanstalkd restarted without a binlog."""
    return seen.jobs == 0 and seen.deleted is not None and seen.deleted < put


def milestones(scaling: Scaling, put: int, run: Iterable[Observation]) -> Milestones:
    """Return which steps were reached after `put` jobs were put at second 0. The first observation is from before."""
    scaled = synced = ready = done = back = first = None
    peak = 0
    by_beanscale = False
    for seen in run:
        if seen.jobs is None or seen.desired is None or seen.pods is None or seen.replicas is None:
            continue
        status = (seen.current, seen.desired, seen.per_pod)
        first = first or status
        if synced is None and status != first:
            synced = seen.at_s
        enough = max(scaling.pods_for(seen.jobs), min(scaling.min_pods + 1, scaling.pods_for(put)))
        if scaled is None and seen.replicas >= enough:
            scaled, by_beanscale = seen.at_s, synced is None
        if seen.replicas > peak:
            peak, ready = seen.replicas, None
        if scaled is not None and ready is None and seen.pods >= peak:
            ready = seen.at_s
        if done is None and seen.jobs == 0 and not jobs_lost(put, seen):
            done = seen.at_s
        if back is None and done is not None and is_idle(scaling, seen):
            back = seen.at_s
    return Milestones(scaled, by_beanscale, synced, peak, ready, done, back)


def unchanged_s(run: Sequence[Observation]) -> float:
    """Return for how many seconds jobs, desired pods and ready pods are unchanged."""
    last = run[-1]
    for seen in reversed(run):
        if (seen.jobs, seen.desired, seen.replicas, seen.pods) != (last.jobs, last.desired, last.replicas, last.pods):
            return last.at_s - seen.at_s
    return last.at_s - run[0].at_s


def steps(scaling: Scaling, put: int, reached: Milestones) -> list[tuple[str, Step, float | None]]:
    """Return the steps in order: description, state, and the second when it was reached.

    A step can be skipped: if pods start slowly, the jobs are done before all pods are ready. The HPA controller's sync
    is no condition of the others.
    """
    peak = reached.peak if reached.scaled_s is not None else scaling.pods_for(put)
    by = "" if reached.scaled_s is None else " by beanscale" if reached.by_beanscale else " by the HPA controller"
    synced = Step.PENDING if reached.synced_s is None else Step.REACHED
    ordered = [
        (f"scaled to {pods(peak)}{by}", reached.scaled_s),
        (f"{pods(peak)} ready", reached.ready_s),
        (f"all {put} jobs done", reached.done_s),
        (f"back to {pods(scaling.min_pods)}", reached.back_s),
    ]
    last = max((position for position, (_, when) in enumerate(ordered) if when is not None), default=-1)
    listed = [
        (what, Step.REACHED if when is not None else Step.SKIPPED if position < last else Step.PENDING, when)
        for position, (what, when) in enumerate(ordered)
    ]
    alone = reached.by_beanscale and reached.synced_s is not None
    meaning = "without beanscale, the HPA would have scaled" if alone else "the HPA controller's next sync"
    listed.insert(1, (meaning, synced, reached.synced_s))
    return listed


def changes(before: Observation | None, seen: Observation) -> list[str]:
    """Return a line for each difference from `before`: the numbers, then conditions, then errors."""
    changed = [] if before and str(before) == str(seen) else [str(seen)]
    known = () if before is None else (*map(str, before.conditions), *before.errors)
    conditions = [f"the HPA {each}" for each in seen.conditions if str(each) not in known]
    errors = [each for each in seen.errors if each not in known]
    return [f"{seen.at_s:6.1f} s  {line}" for line in (*changed, *conditions, *errors)]


def proof(scaling: Scaling, put: int, reached: Milestones) -> str:
    """Return e.g. `20 jobs put → scaled to 10 pods by beanscale after 0.9 s → …`."""
    parts = [f"{what} after {when:.1f} s" for what, _, when in steps(scaling, put, reached) if when is not None]
    return " → ".join([f"{put} jobs put", *parts])


def stuck(scaling: Scaling, put: int, reached: Milestones, last: Observation) -> str:
    """Return which step wasn't reached in time, and what is known about the cause."""
    ordered = steps(scaling, put, reached)
    missing = next(what for what, state, _ in (ordered[0], *ordered[2:]) if state is Step.PENDING)
    abnormal = [f"the HPA {each}" for each in last.conditions if not each.is_normal()]
    causes = [*last.errors, *abnormal] or [str(last)]
    return f"no progress for {scaling.timeout_s:.0f} s while waiting for “{missing}”: {'; '.join(causes)}"


def shown(value: int | Fraction | None) -> str:
    """Return `12`, `0.4`, or `?` for None."""
    return "?" if value is None else f"{float(value):g}" if isinstance(value, Fraction) else str(value)


def pods(count: int | None) -> str:
    return f"{shown(count)} pod{'' if count == 1 else 's'}"
