"""What beanscale's scaler does for an HPA, by the HPA's annotations and spec, in words. Pure.

Whether a server's scaler runs at all (`scaling.enabled`) isn't in the HPA.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from app.hpa.autoscaler import Autoscaler
from app.hpa.obstacles import Obstacle
from app.hpa.options import IMMEDIATE, NO_OPTIONS, PAUSED, SCALE_TO_ZERO
from app.quantity import plain
from app.text import duration


def effective(autoscaler: Autoscaler, scaler_enabled: bool | None) -> Autoscaler:
    """Return the HPA without annotations if the server's scaler doesn't run: then they promise nothing.

    `scaler_enabled`: None if unknown.
    """
    return replace(autoscaler, options=NO_OPTIONS) if scaler_enabled is False else autoscaler


def scales_up(autoscaler: Autoscaler, found: Iterable[Obstacle]) -> bool:
    """Return whether beanscale scales up from 1 pod or more without waiting for the controller's sync."""
    return autoscaler.options.active and autoscaler.options.immediate and not _is_ineffective(IMMEDIATE, found)


def scales_to_zero(autoscaler: Autoscaler, found: Iterable[Obstacle]) -> bool:
    """Return whether beanscale scales to 0."""
    return scales_from_zero(autoscaler) and not _is_ineffective(SCALE_TO_ZERO, found)


def scales_from_zero(autoscaler: Autoscaler) -> bool:
    """Return whether beanscale scales up from 0 where the controller never does, whoever scaled to 0."""
    return autoscaler.options.active and autoscaler.options.idle_s is not None and autoscaler.minimum > 0


def _is_ineffective(annotation: str, found: Iterable[Obstacle]) -> bool:
    return any(each.annotation == annotation for each in found)


def describe_scaling(autoscaler: Autoscaler, found: Collection[Obstacle]) -> str:
    """Return what beanscale does for the HPA: clauses with `beanscale` as their subject; empty without annotations.

    `found`: what keeps it from doing what the annotations ask for.
    """
    options = autoscaler.options
    if not options.requested:
        return ""
    if options.errors:
        return "does nothing, because an annotation is invalid"
    if options.paused:
        return f"does nothing while it is paused (annotation {PAUSED})"
    clauses = []
    if scales_up(autoscaler, found):
        also = f", also from 0 once {awaited(autoscaler)}" if autoscaler.minimum == 0 else ""
        clauses.append(f"scales up within a second{also}")
    if scales_to_zero(autoscaler, found):
        idle = duration(options.idle_s or 0)
        clauses.append(f"scales to 0 after {idle} without jobs, and from 0 once {awaited(autoscaler)}")
    elif scales_from_zero(autoscaler):
        clauses.append(f"scales up from 0 once {awaited(autoscaler)}")
    return "; ".join(clauses) or "does nothing"


def awaited(autoscaler: Autoscaler) -> str:
    """Return what beanscale waits for before it scales up from 0: a clause."""
    activation = autoscaler.options.activation
    return f"a job is ready and a metric exceeds {plain(activation)}" if activation else "a job is ready"
