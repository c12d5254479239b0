"""Whether to change the number of a workload's pods now, and if not, why not. Pure.

Up: to the HPA controller's next decision, computed by the same code as explanations. To 0 and from 0: what no HPA does
before Kubernetes 1.37. Scaling down to 1 remains with the controller.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from app.hpa.autoscaler import EXTERNAL, SYNC_PERIOD_S, Autoscaler, Scale, TargetKind
from app.hpa.decision import (
    Changes,
    Decision,
    Missing,
    NotQueried,
    Observed,
    Stage,
    Total,
    decide,
    decide_from_zero,
    without_status,
)
from app.hpa.obstacles import Obstacle, obstacles
from app.hpa.options import IMMEDIATE, SCALE_TO_ZERO
from app.scaler.reading import MetricReading, Tubes
from app.text import duration

_FOREIGN = Missing("it isn't beanscale's")
_UNREADY = Missing("the number of ready pods is unknown")


class Direction(StrEnum):
    """The kind of a change."""

    UP = "up"
    FROM_ZERO = "from_zero"
    TO_ZERO = "to_zero"


@dataclass(frozen=True, slots=True)
class Change:
    """The number of pods to set."""

    direction: Direction
    replicas: int
    why: str
    """A clause."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on."""

    autoscaler: Autoscaler
    scale: Scale
    reading: MetricReading
    tubes: Tubes | None
    """None: not known now, or not needed."""
    idle_for_s: float
    """For how long no job was ready, reserved, put or deleted in the tubes."""
    changes: Changes
    now_unix_s: float
    """On the cluster's clock."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now."""

    change: Change | None = None
    obstacles: tuple[Obstacle, ...] = ()
    """What keeps beanscale from doing what the annotations ask for."""


def make_plan(situation: Situation) -> Plan:
    """Return what to do."""
    autoscaler, reading = situation.autoscaler, situation.reading
    found = list(obstacles(autoscaler))
    if not autoscaler.options.active:
        return Plan(None, tuple(found))
    found += _unserved(situation)
    ineffective = frozenset(each.annotation for each in found)
    blocked: tuple[Obstacle, ...] = ()
    if situation.scale.spec_replicas == 0:
        change = _from_zero(situation)
    else:
        change = None if SCALE_TO_ZERO in ineffective else _to_zero(situation)
        if change is None and IMMEDIATE not in ineffective:
            change, blocked = _up(situation)
    if change is None and not blocked and reading.missing is not None:
        blocked = (Obstacle("no_value", f"{reading.missing.why}; it is scaled again once there is a value"),)
    return Plan(change, (*found, *blocked))


def _unserved(situation: Situation) -> Iterator[Obstacle]:
    """Yield what an annotation can't do because of metrics of another adapter, or of none."""
    options = situation.autoscaler.options
    pairs = zip(situation.autoscaler.metrics, situation.reading.observed, strict=True)
    external = [(metric, isinstance(one, NotQueried)) for metric, one in pairs if metric.source == EXTERNAL]
    unserved = [metric for metric, is_unserved in external if is_unserved]
    if options.idle_s is not None and unserved:
        what = f"beanscale doesn't serve the HPA's metric {unserved[0]}, which may need a pod"
        yield Obstacle("other_metric", f"{what}; correct or remove it, or remove {SCALE_TO_ZERO}", SCALE_TO_ZERO)
    if options.immediate and unserved and len(unserved) == len(external):
        what = f"beanscale serves none of the HPA's metrics, like {unserved[0]}"
        yield Obstacle("other_metric", f"{what}; correct the name, or remove {IMMEDIATE}", IMMEDIATE)


def _from_zero(situation: Situation) -> Change | None:
    """Return the change if there is work. Without scale-to-zero, what someone else scaled to 0 stays there."""
    autoscaler, reading, options = situation.autoscaler, situation.reading, situation.autoscaler.options
    if situation.tubes is None or not situation.tubes.takeable:
        return None
    exceeded = any(isinstance(one, Total) and one.amount > options.activation for one in reading.observed)
    ours = tuple(_FOREIGN if isinstance(one, NotQueried) else one for one in reading.observed)
    if options.idle_s is None or not autoscaler.minimum:
        if not (exceeded and options.immediate):
            return None
        decision = decide(autoscaler, Scale(0, 0), ours, situation.now_unix_s, situation.changes)
    elif exceeded:
        decision = decide_from_zero(autoscaler, ours, situation.now_unix_s)
    elif reading.missing is not None and not options.activation:
        # Some metrics have no number while no pod runs, such as the time until the jobs are done. Of those that include
        # another beanstalkd, which can't be read, it isn't known.
        return Change(Direction.FROM_ZERO, autoscaler.minimum, f"a job is ready, but {reading.missing.why}")
    else:
        return None
    return Change(Direction.FROM_ZERO, decision.pods, decision.decided_by.sentence) if decision.pods else None


def _to_zero(situation: Situation) -> Change | None:
    idle_s, tubes = situation.autoscaler.options.idle_s, situation.tubes
    if idle_s is None or situation.scale.spec_replicas != 1 or tubes is None or tubes.waiting:
        return None
    if situation.idle_for_s < idle_s or situation.autoscaler.reports("ScalingActive", "AmbiguousSelector"):
        return None  # another HPA may need the pod
    return Change(Direction.TO_ZERO, 0, f"no job was ready, reserved, put or deleted for {duration(idle_s)}")


def _up(situation: Situation) -> tuple[Change | None, tuple[Obstacle, ...]]:
    autoscaler, scale = situation.autoscaler, situation.scale
    if not autoscaler.options.immediate:
        return None, ()

    def usable(kind: TargetKind, one: Observed) -> Observed:
        """Return what counts here. What doesn't can only add pods: the highest recommendation applies."""
        if isinstance(one, NotQueried):
            return _FOREIGN
        # The controller multiplies a Value by the number of ready pods.
        return _UNREADY if kind is TargetKind.VALUE and isinstance(one, Total) else one

    observed = tuple(
        usable(metric.target.kind, one)
        for metric, one in zip(autoscaler.metrics, situation.reading.observed, strict=True)
    )
    # While pods start, end or are replaced, their number differs from what it will be at the controller's next sync.
    counts = dict.fromkeys((scale, Scale(scale.spec_replicas, scale.spec_replicas)))

    def lowest(of: Autoscaler) -> Decision:
        decisions = (decide(of, each, observed, situation.now_unix_s, situation.changes) for each in counts)
        return min(decisions, key=lambda decision: decision.pods)

    by_sync = once_per_sync(autoscaler)
    if situation.changes:
        # The averages of the last sync may be those of fewer pods. Then they don't show what the model lacks.
        metrics = tuple(replace(metric, last_value=None) for metric in by_sync.metrics)
        by_sync = replace(by_sync, metrics=metrics)
    decision = lowest(by_sync)
    if decision.pods > scale.spec_replicas and decision.recommendation is not None:
        return Change(Direction.UP, decision.pods, decision.decided_by.sentence), ()
    if decision.decided_by.stage in {Stage.CONDITION, Stage.ERROR}:
        would = lowest(without_status(by_sync))
        if would.pods > scale.spec_replicas and would.recommendation is not None:
            return None, (Obstacle("condition", decision.decided_by.sentence),)
    return None, ()


def once_per_sync(autoscaler: Autoscaler) -> Autoscaler:
    """Return the HPA with policies over at least a sync: the controller scales only once per sync."""
    policies = tuple(replace(each, period_s=max(each.period_s, SYNC_PERIOD_S)) for each in autoscaler.up.policies)
    return replace(autoscaler, up=replace(autoscaler.up, policies=policies))
