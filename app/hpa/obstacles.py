"""What in an HPA's own spec keeps beanscale from doing what its annotations ask for. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args

from app.hpa.autoscaler import EXTERNAL, Autoscaler, TargetKind
from app.hpa.options import IMMEDIATE, SCALE_TO_ZERO
from app.text import duration

type Reason = Literal[
    "condition",
    "conflict",
    "denied",
    "disabled",
    "forbidden",
    "internal",
    "invalid_annotation",
    "minimum",
    "no_value",
    "not_found",
    "other_metric",
    "readiness",
    "shared_target",
    "stabilization",
    "unavailable",
]
REASONS: tuple[Reason, ...] = get_args(Reason.__value__)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why beanscale doesn't do what an annotation asks for."""

    reason: Reason
    """As in the label of beanscale_scaler_rejections_total."""
    sentence: str
    """Cause and fix, without a full stop."""
    annotation: str = ""
    """The annotation that has no effect; empty: none has one."""


def obstacles(autoscaler: Autoscaler) -> tuple[Obstacle, ...]:
    """Return the obstacles, those first that matter most; none for an HPA without annotations, or while paused."""
    options = autoscaler.options
    found = [Obstacle("invalid_annotation", each) for each in options.errors]
    if not options.active:
        return tuple(found)
    foreign = sorted({metric.source for metric in autoscaler.metrics if metric.source != EXTERNAL})
    if options.idle_s is not None and autoscaler.minimum != 1:
        fix = "remove the annotation" if autoscaler.minimum == 0 else "set minReplicas to 1"
        by = ", so Kubernetes itself scales to 0" if autoscaler.minimum == 0 else ""
        what = f"{SCALE_TO_ZERO} requires minReplicas 1, but it is {autoscaler.minimum}{by}; {fix}"
        found.append(Obstacle("minimum", what, SCALE_TO_ZERO))
    if options.idle_s is not None and foreign:
        what = f"{SCALE_TO_ZERO} requires that every metric is of beanscale, but one is of type {foreign[0]}"
        what = f"{what}, which has no value at 0 pods; remove the metric or the annotation"
        found.append(Obstacle("other_metric", what, SCALE_TO_ZERO))
    if not options.immediate:
        return tuple(found)
    if autoscaler.up.select == "Disabled":
        what = f"behavior.scaleUp.selectPolicy is Disabled, so nothing scales up; remove it, or {IMMEDIATE}"
        found.append(Obstacle("disabled", what, IMMEDIATE))
    elif autoscaler.up_window_s:
        window = f"behavior.scaleUp.stabilizationWindowSeconds is {autoscaler.up_window_s}"
        what = f"{window}, so the HPA waits for {duration(autoscaler.up_window_s)} before it scales up"
        found.append(Obstacle("stabilization", f"{what}; set it to 0, or remove {IMMEDIATE}", IMMEDIATE))
    external = [metric for metric in autoscaler.metrics if metric.source == EXTERNAL]
    if not external:
        what = f"none of the HPA's metrics is external; add one of beanscale, or remove {IMMEDIATE}"
        found.append(Obstacle("other_metric", what, IMMEDIATE))
    elif all(metric.target.kind is TargetKind.VALUE for metric in external):
        what = "with a target of type Value, the HPA multiplies by the ready pods, which beanscale doesn't know"
        found.append(Obstacle("readiness", f"{what}; use averageValue, or remove {IMMEDIATE}", IMMEDIATE))
    return tuple(found)
