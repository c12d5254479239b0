"""Whether to change the number of a workload's pods now, and if not, why not. Pure.

Up: to the HPA controller's next decision, computed by the same code as explanations. To 0 and from 0: what no HPA does
before Kubernetes 1.37. Scaling down to 1 remains with the controller.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from app.hpa.autoscaler import SYNC_PERIOD_S, Autoscaler, Scale, TargetKind
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
    found = obstacles(situation.autoscaler)
    if not situation.autoscaler.options.active:
        return Plan(None, found)
    by_spec = frozenset(each.reason for each in found)
    missing = situation.reading.missing
    result: Change | Obstacle | None
    if situation.scale.spec_replicas == 0:
        result = _from_zero(situation)
    else:
        result = _to_zero(situation, by_spec) or _up(situation, by_spec)
    if isinstance(result, Change):
        return Plan(result, found)
    if missing is not None and result is None:
        result = Obstacle("no_value", f"{missing.why}; it is scaled again once there is a value")
    return Plan(None, found if result is None else (*found, result))


def _from_zero(situation: Situation) -> Change | None:
    """Return the change if there is work. Without scale-to-zero, what someone else scaled to 0 stays there."""
    autoscaler, observed, tubes = situation.autoscaler, situation.reading.observed, situation.tubes
    options = autoscaler.options
    is_active = any(isinstance(one, Total) and one.amount > options.activation for one in observed)
    if not is_active or tubes is None or not tubes.takeable:
        return None
    ours = tuple(_FOREIGN if isinstance(one, NotQueried) else one for one in observed)
    decision: Decision | None = None
    if options.idle_s is not None and autoscaler.minimum == 1:
        decision = decide_from_zero(autoscaler, ours, situation.now_unix_s)
    elif options.immediate:
        decision = decide(autoscaler, Scale(0, 0), ours, situation.now_unix_s, situation.changes)
    if decision is None or decision.pods == 0:
        return None
    return Change(Direction.FROM_ZERO, decision.pods, decision.decided_by.sentence)


def _to_zero(situation: Situation, by_spec: frozenset[str]) -> Change | Obstacle | None:
    idle_s, tubes, observed = situation.autoscaler.options.idle_s, situation.tubes, situation.reading.observed
    if idle_s is None or situation.scale.spec_replicas != 1 or by_spec & {"minimum", "other_metric"}:
        return None
    if any(isinstance(one, NotQueried) for one in observed):
        return Obstacle(
            "other_metric",
            "beanscale doesn't serve one of its metrics, which may need a pod; correct its name or remove it, or remove"
            " beanscale/scale-to-zero",
        )
    if tubes is None or tubes.waiting or situation.idle_for_s < idle_s:
        return None
    return Change(Direction.TO_ZERO, 0, f"no job was ready, reserved, put or deleted for {duration(idle_s)}")


def _up(situation: Situation, by_spec: frozenset[str]) -> Change | Obstacle | None:
    autoscaler, scale = situation.autoscaler, situation.scale
    if not autoscaler.options.immediate or by_spec & {"disabled", "stabilization"}:
        return None

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
    by_sync = once_per_sync(autoscaler)
    decision = decide(by_sync, scale, observed, situation.now_unix_s, situation.changes)
    if decision.pods > scale.spec_replicas and decision.recommendation is not None:
        return Change(Direction.UP, decision.pods, decision.decided_by.sentence)
    if decision.decided_by.stage in {Stage.CONDITION, Stage.ERROR}:
        would = decide(without_status(by_sync), scale, observed, situation.now_unix_s, situation.changes)
        if would.pods > scale.spec_replicas and would.recommendation is not None:
            return Obstacle("condition", decision.decided_by.sentence)
    return None


def once_per_sync(autoscaler: Autoscaler) -> Autoscaler:
    """Return the HPA with policies over at least a sync: the controller scales only once per sync."""
    policies = tuple(replace(each, period_s=max(each.period_s, SYNC_PERIOD_S)) for each in autoscaler.up.policies)
    return replace(autoscaler, up=replace(autoscaler.up, policies=policies))
