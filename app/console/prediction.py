"""Predict how many pods an autoscaler should have under a load, sync after sync. Pure.

The assumptions: the controller syncs every 15 s (kube-controller-manager's default), and between the syncs beanscale
scales up if an annotation asks for it. A pod works as soon as it is decided, each pod deletes jobs at the rate at which
one does now, and each job counts as one in the metric. The controller's history (recommendations and scalings) starts
with the prediction, because no object exposes the real one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.clock import Instant
from app.hpa.autoscaler import SYNC_PERIOD_S, Autoscaler, Condition, Scale
from app.hpa.decision import Observed, Total, decide, scale_down_limit, scale_up_limit
from app.scaler import plan
from app.scaler.history import LATER_S
from app.scaler.reading import MetricReading, Tubes

MAX_S = 3600
"""The longest prediction."""


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs put at a fixed rate."""

    jobs: int
    per_second: float
    delay_s: int = 0
    """Delay of each job: until it ends, the metric doesn't count the job."""

    def ready_by(self, after_s: float) -> int:
        """Return how many jobs have become ready `after_s` seconds after the start."""
        return min(self.jobs, math.floor(max(0.0, after_s - self.delay_s) * self.per_second))


@dataclass(frozen=True, slots=True)
class Situation:
    """The state before the load."""

    autoscaler: Autoscaler
    observed: tuple[Observed, ...]
    """The value of each of its metrics."""
    position: int
    """Position of the metric that the load raises."""
    deleted_per_pod: float
    """Jobs that one pod deletes per second; 0 if unknown."""


def predict(situation: Situation, load: Load, start_unix_s: float) -> tuple[tuple[float, int], ...]:
    """Return Unix seconds and pods at each sync, until the load is done and the pods are back, at most for MAX_S.

    Empty if the metric has no value now.
    """
    now = situation.observed[situation.position]
    if not isinstance(now, Total):
        return ()
    controller = Controller(situation.autoscaler)
    points = [(start_unix_s, controller.pods)]
    deleted, before = 0.0, now.amount / 1000
    for second in range(1, MAX_S + 1):
        waiting = before + load.ready_by(second) - deleted
        deleted += min(max(waiting, 0.0), controller.pods * situation.deleted_per_pod)
        total = max(0, round((before + load.ready_by(second) - deleted) * 1000))
        observed = list(situation.observed)
        observed[situation.position] = Total(total)
        if second % SYNC_PERIOD_S == 0:
            points.append((start_unix_s + second, controller.sync(observed, start_unix_s + second)))
            if load.ready_by(second) == load.jobs and total == 0 and controller.pods <= situation.autoscaler.minimum:
                break
        elif controller.scale_up(observed, start_unix_s + second):
            points.append((start_unix_s + second, controller.pods))
    return tuple(points)


class Controller:
    """The HPA controller for one autoscaler, with the history that it collects from now on.

    Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go, like app.hpa.decision.
    """

    def __init__(self, autoscaler: Autoscaler) -> None:
        self.pods = autoscaler.scale.spec_replicas
        # the other conditions describe the history; these say whether it may leave 0 pods
        kept = [each for each in autoscaler.conditions if each.kind in {"ScaledToZero", "ScalingActive"}]
        self._autoscaler = replace(autoscaler, conditions=tuple(kept))
        self._recommendations: list[tuple[float, int]] = []
        """Unix seconds and pods."""
        self._scalings: list[tuple[float, int]] = []
        """Unix seconds and pods added."""

    def sync(self, observed: Sequence[Observed], now_s: float) -> int:
        """Return the number of pods that one sync decides on."""
        autoscaler, current = self._autoscaler, self.pods
        if not self._recommendations:
            self._recommendations.append((now_s, current))
        decision = decide(autoscaler, Scale(current, current), observed, now_s)
        number = decision.pods
        if decision.recommendation is not None:
            # Without `behavior`, the controller limits each sync, whenever the last one was.
            changes = [(now_s - at_s, added) for at_s, added in self._scalings if autoscaler.has_behavior]
            number = self._stabilized(decision.recommendation, now_s)
            if number > current:
                number = min(number, scale_up_limit(autoscaler, current, changes))
            elif number < current:
                number = max(number, scale_down_limit(autoscaler, current, changes))
            number = max(autoscaler.minimum, min(autoscaler.maximum, number))
        if number != current:
            self._scalings.append((now_s, number - current))
            if number == 0:
                scaled_to_zero = Condition("ScaledToZero", holds=True, reason="ScaledToZero", message="")
                self._autoscaler = replace(autoscaler, conditions=(scaled_to_zero,))
        self.pods = number
        return number

    def scale_up(self, observed: Sequence[Observed], now_s: float) -> bool:
        """Scale up between two syncs, if beanscale does; return whether it did. Each value means ready jobs."""
        autoscaler, current = self._autoscaler, self.pods
        if not autoscaler.options.active or current >= autoscaler.maximum:
            return False
        changes = [(now_s - at_s - LATER_S, added) for at_s, added in self._scalings if added > 0]
        pairs = zip(observed, autoscaler.metrics, strict=True)
        totals = [(each.amount, metric.target.amount) for each, metric in pairs if isinstance(each, Total)]
        if all(total <= current * target for total, target in totals):
            return False
        takeable = any(total for total, _ in totals)
        at = Instant(now_s, now_s)
        tubes = Tubes((), waiting=takeable, takeable=takeable, oldest_at=at, newest_at=at)
        scale, reading = Scale(current, current), MetricReading(tuple(observed), ())
        change = plan.make_plan(plan.Situation(autoscaler, scale, reading, tubes, 0.0, changes, now_s)).change
        if change is None or change.replicas <= current:
            return False
        self._scalings.append((now_s, change.replicas - current))
        self.pods = change.replicas
        return True

    def _stabilized(self, recommendation: int, now_s: float) -> int:
        """Return what the recommendations in the stabilization windows make of this one, and record it."""
        up, down = (
            [recommendation, *(pods for at_s, pods in self._recommendations if at_s > now_s - rules.window_s)]
            for rules in (self._autoscaler.up, self._autoscaler.down)
        )
        self._recommendations.append((now_s, recommendation))
        if not self._autoscaler.has_behavior:
            return max(down)
        return min(max(self.pods, min(up)), max(down))
