"""How many pods an autoscaler should come to have under a load, look after look. Pure.

Told from outside, so with assumptions: the controller looks every 15 s (kube-controller-manager's default), a pod works
as soon as it is decided on, each pod finishes jobs at the pace at which one does now, and a job counts as one in the
metric. What the controller remembers (its wishes, its changes) is kept here, as it would keep it from now on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.hpa.autoscaler import Autoscaler, Condition, Scale
from app.hpa.decision import Observed, Total, decide, scale_down_limit, scale_up_limit

LOOK_EVERY_S = 15
"""--horizontal-pod-autoscaler-sync-period."""
FARTHEST_S = 3600
"""How far it is told."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is put, from its beginning."""

    jobs: int
    per_second: float
    delay_s: int = 0
    """Of each job: until then the metric doesn't count it."""

    def ready_by(self, after_s: float) -> int:
        """How many have become ready so long after the beginning."""
        return min(self.jobs, math.floor(max(0.0, after_s - self.delay_s) * self.per_second))


@dataclass(frozen=True, slots=True)
class Situation:
    """What the load comes upon."""

    autoscaler: Autoscaler
    seen: tuple[Observed, ...]
    """Of each of its metrics, now."""
    position: int
    """Of the metric that the load raises."""
    pace: float
    """Jobs that one pod finishes in a second; 0 where that isn't known."""


def predicted(situation: Situation, load: Load, begins_unix_s: float) -> tuple[tuple[float, int], ...]:
    """Unix seconds and pods at each look, until the load is done and the pods are back, or for FARTHEST_S seconds.

    None at all where the metric has no value now.
    """
    now = situation.seen[situation.position]
    if not isinstance(now, Total):
        return ()
    controller = Controller(situation.autoscaler)
    points = [(begins_unix_s, controller.pods)]
    done, present = 0.0, now.amount / 1000
    for second in range(1, FARTHEST_S + 1):
        waiting = present + load.ready_by(second) - done
        done += min(max(waiting, 0.0), controller.pods * situation.pace)
        if second % LOOK_EVERY_S == 0:
            total = max(0, round((present + load.ready_by(second) - done) * 1000))
            seen = tuple(Total(total) if at == situation.position else one for at, one in enumerate(situation.seen))
            points.append((begins_unix_s + second, controller.look(seen, begins_unix_s + second)))
            if load.ready_by(second) == load.jobs and total == 0 and controller.is_at_rest:
                break
    return tuple(points)


class Controller:
    """kube-controller-manager's part for one autoscaler, with the memory that it builds up from now on.

    Source: 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go, as in app.autoscaling.
    """

    def __init__(self, autoscaler: Autoscaler) -> None:
        self.pods = autoscaler.scale.spec_replicas
        self._autoscaler = autoscaler
        # what it says about itself is about its memory, but for whether it may leave 0 pods
        kept = [each for each in autoscaler.conditions if each.kind in {"ScaledToZero", "ScalingActive"}]
        self._bare = replace(autoscaler, conditions=tuple(kept))
        self._wishes: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    @property
    def is_at_rest(self) -> bool:
        """Whether it has the fewest pods that it may have."""
        return self.pods <= self._autoscaler.minimum

    def look(self, seen: Sequence[Observed], now_s: float) -> int:
        """The pods that it goes to."""
        self._wishes = self._wishes or [(now_s, self.pods)]
        decision = decide(self._bare, Scale(self.pods, self.pods), seen, now_s)
        wished = decision.recommendation
        if wished is None:
            return self._rescale(decision.pods, now_s)
        stable = self._stabilised(wished, now_s)
        self._wishes.append((now_s, wished))
        changes = [(now_s - at_s, change) for at_s, change in self._changes]
        limits = self._autoscaler
        if stable > self.pods:
            stable = min(stable, scale_up_limit(limits, self.pods, changes))
        elif stable < self.pods:
            stable = max(stable, scale_down_limit(limits, self.pods, changes))
        return self._rescale(max(limits.minimum, min(limits.maximum, stable)), now_s)

    def _stabilised(self, wished: int, now_s: float) -> int:
        highest = max([wished, *self._lately(self._autoscaler.down.window_s, now_s)])
        if not self._autoscaler.has_behavior:
            return highest
        lowest = min([wished, *self._lately(self._autoscaler.up.window_s, now_s)])
        return min(max(self.pods, lowest), highest)

    def _lately(self, seconds: int, now_s: float) -> list[int]:
        return [wished for at_s, wished in self._wishes if at_s > now_s - seconds]

    def _rescale(self, pods: int, now_s: float) -> int:
        if pods != self.pods:
            self._changes.append((now_s, pods - self.pods))
            if pods == 0:
                resting = (Condition("ScaledToZero", holds=True, reason="ScaledToZero", message=""),)
                self._bare = replace(self._bare, conditions=resting)
        self.pods = pods
        return pods
