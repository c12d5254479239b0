"""What the demo saw, and what it proves: pure, time is a field.

A run is a tuple of observations, oldest first. Everything that is shown or said is worked out from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

type Json = Mapping[str, Any]

_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9}
"""Of ten, by the suffix of a quantity."""

_STABILIZATION_S = 300
"""How long an autoscaler that says nothing about it waits before it scales in (autoscaling/v2, HPAScalingRules)."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the autoscaler was told."""

    metric: str
    jobs_per_pod: Fraction
    least: int
    """Pods, as `most` is."""
    most: int
    patience_s: float
    """Without any change for so long, something is wrong."""

    @property
    def tube(self) -> str:
        return self.metric.removeprefix("tube-")

    def pods_for(self, jobs: int) -> int:
        """What the autoscaler makes of so many jobs: each pod is to have at most `jobs_per_pod`."""
        return min(self.most, max(self.least, ceil(jobs / self.jobs_per_pod)))


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the autoscaler's conditions, its type in `kind`."""

    kind: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at everything. None: it couldn't be had, and `troubles` says why."""

    at_s: float
    """Since the jobs were put."""
    ready: int | None
    """Jobs in the tube as beanstalkd itself counts them, as `reserved` and `deleted` are."""
    reserved: int | None
    deleted: int | None
    """Since they were put; below 0 after a restart of beanstalkd, which begins to count anew."""
    metric: int | None
    """The value through kube-apiserver."""
    seen: Fraction | None
    """The metric as the autoscaler saw it last: jobs a pod."""
    desired: int | None
    """Pods that the autoscaler wants."""
    pods: int | None
    """Pods of the deployment that are ready."""
    conditions: tuple[Condition, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def jobs(self) -> int | None:
        return None if self.ready is None or self.reserved is None else self.ready + self.reserved


@dataclass(frozen=True, slots=True)
class Milestones:
    """When something came true for the first time, in seconds since the jobs were put."""

    wanted_s: float | None = None
    """The autoscaler wants as many pods as the jobs need."""
    peak: int = 0
    """The most pods that it wanted."""
    ready_s: float | None = None
    """All of those were ready."""
    done_s: float | None = None
    """No job was left."""
    back_s: float | None = None
    """As few pods as at the beginning."""


def scaling(autoscaler: Json) -> Scaling:
    """Read the spec of the chart's autoscaling/v2 object: one external metric, with a target per pod."""
    spec = autoscaler["spec"]
    external = spec["metrics"][0]["external"]
    scale_down = (spec.get("behavior") or {}).get("scaleDown") or {}
    return Scaling(
        metric=external["metric"]["name"],
        jobs_per_pod=quantity(external["target"]["averageValue"]),
        least=spec.get("minReplicas", 1),
        most=spec["maxReplicas"],
        patience_s=90.0 + scale_down.get("stabilizationWindowSeconds", _STABILIZATION_S),
    )


def quantity(text: str) -> Fraction:
    """A Kubernetes quantity in decimal notation, `12`, `400m`, as a number."""
    power = _POWERS.get(text[-1:])
    return Fraction(text) if power is None else Fraction(f"{text[:-1]}e{power}")


def seen_by(autoscaler: Json) -> Fraction | None:
    """Jobs a pod in status.currentMetrics; None while it has none, and for the senseless one that it has at 0 pods."""
    current = (autoscaler.get("status") or {}).get("currentMetrics") or ()
    values = [quantity(each["external"]["current"]["averageValue"]) for each in current if each.get("external")]
    return values[0] if values and values[0] >= 0 else None


def conditions_of(autoscaler: Json) -> tuple[Condition, ...]:
    found = (autoscaler.get("status") or {}).get("conditions") or ()
    return tuple(
        Condition(each["type"], each["status"] == "True", each.get("reason", ""), each.get("message", ""))
        for each in found
    )


def at_rest(scaling: Scaling, seen: Observation) -> bool:
    """Nothing to do, and no more pods than that needs."""
    return seen.jobs == 0 and seen.desired == seen.pods == scaling.least


def milestones(scaling: Scaling, put: int, run: Iterable[Observation]) -> Milestones:
    """What came true when, after `put` jobs were put at second 0."""
    wanted = ready = done = back = None
    peak = 0
    for seen in run:
        if seen.jobs is None or seen.desired is None or seen.pods is None:
            continue
        enough = max(scaling.pods_for(seen.jobs), min(scaling.least + 1, scaling.pods_for(put)))
        if wanted is None and seen.desired >= enough:
            wanted = seen.at_s
        if seen.desired > peak:
            peak, ready = seen.desired, None
        if wanted is not None and ready is None and seen.pods >= peak:
            ready = seen.at_s
        if done is None and seen.jobs == 0 and not lost(put, seen):
            done = seen.at_s
        if back is None and done is not None and at_rest(scaling, seen):
            back = seen.at_s
    return Milestones(wanted, peak, ready, done, back)


def lost(put: int, seen: Observation) -> bool:
    """The tube is empty, though not all jobs were done: a beanstalkd without a binlog forgets them when it restarts."""
    return seen.jobs == 0 and seen.deleted is not None and seen.deleted < put


def quiet_s(run: Sequence[Observation]) -> float:
    """For how long nothing has changed that counts: jobs, pods wanted, pods ready. Seconds."""
    last = run[-1]
    for seen in reversed(run):
        if (seen.jobs, seen.desired, seen.pods) != (last.jobs, last.desired, last.pods):
            return last.at_s - seen.at_s
    return last.at_s - run[0].at_s
