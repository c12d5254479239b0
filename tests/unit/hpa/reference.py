"""A reference HPA controller with its history of recommendations and changes, to compare decisions with.

It follows kube-controller-manager 1.37 for one External AverageValue metric, sync by sync.
"""

import math
from dataclasses import dataclass, field
from typing import Any

LONG_AGO = -1e9


@dataclass
class Controller:
    """The controller of one autoscaler; `sync` returns the workload's new number of pods."""

    minimum: int
    maximum: int
    target: int
    behavior: dict[str, Any] | None
    replicas: int
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    conditions: dict[str, tuple[bool, str]] = field(default_factory=dict)
    scaled_at: float | None = None

    def sync(self, total: float, now: float) -> int:
        self.recommendations = self.recommendations or [(now, self.replicas)]
        if self.replicas == 0 and not self.conditions.get("ScaledToZero", (False, ""))[0]:
            return 0
        if self.replicas > self.maximum:
            return self._rescale(self.maximum, now)
        if 0 < self.replicas < self.minimum:
            return self._rescale(self.minimum, now)
        latest = self._recommend(total)
        stable = self._stabilized(latest, now)
        self.recommendations.append((now, latest))
        return self._rescale(max(self.minimum, min(self.maximum, self._limited(stable, now))), now)

    def _recommend(self, total: float) -> int:
        if self.replicas and 0.9 <= float(total) / (float(self.target) * self.replicas) <= 1.0 + 0.1:
            return self.replicas
        return math.ceil(total / self.target)

    def _rules(self, direction: str) -> dict[str, Any]:
        defaults: dict[str, dict[str, Any]] = {
            "scaleUp": {
                "selectPolicy": "Max",
                "stabilizationWindowSeconds": 0,
                "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                ],
            },
            "scaleDown": {
                "selectPolicy": "Max",
                "stabilizationWindowSeconds": 300,
                "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
            },
        }
        return defaults[direction] | ((self.behavior or {}).get(direction) or {})

    def _within(self, seconds: float, now: float) -> list[int]:
        return [latest for at, latest in self.recommendations if at > now - seconds]

    def _stabilized(self, latest: int, now: float) -> int:
        if self.behavior is None:
            stable = max([latest, *self._within(300, now)])
            self.conditions["AbleToScale"] = (
                True,
                "ScaleDownStabilized" if stable != latest else "ReadyForNewScale",
            )
            return stable
        lowest = min([latest, *self._within(self._rules("scaleUp")["stabilizationWindowSeconds"], now)])
        highest = max([latest, *self._within(self._rules("scaleDown")["stabilizationWindowSeconds"], now)])
        stable = min(max(self.replicas, lowest), highest)
        direction = "ScaleUpStabilized" if latest >= self.replicas else "ScaleDownStabilized"
        self.conditions["AbleToScale"] = (True, direction if stable != latest else "ReadyForNewScale")
        return stable

    def _limited(self, stable: int, now: float) -> int:
        most, least = max(2 * self.replicas, 4), 0
        if self.behavior is not None:
            most = max(self.limit("scaleUp", now), self.replicas)
            least = min(self.limit("scaleDown", now), self.replicas)
        if stable > self.replicas and stable > min(most, self.maximum):
            self.conditions["ScalingLimited"] = (True, "ScaleUpLimit" if most < self.maximum else "TooManyReplicas")
            return most
        if stable < self.replicas and stable < max(least, self.minimum):
            self.conditions["ScalingLimited"] = (True, "ScaleDownLimit" if least > self.minimum else "TooFewReplicas")
            return least
        self.conditions["ScalingLimited"] = (False, "DesiredWithinRange")
        return stable

    def limit(self, direction: str, now: float) -> int:
        rules, proposals = self._rules(direction), []
        if rules["selectPolicy"] == "Disabled":
            return self.replicas
        for policy in rules["policies"]:
            start = self.replicas - sum(by for at, by in self.changes if at > now - policy["periodSeconds"])
            sign = 1 if direction == "scaleUp" else -1
            if policy["type"] == "Pods":
                proposals.append(start + sign * policy["value"])
            else:
                exact = float(start) * (1 + sign * float(policy["value"]) / 100)
                proposals.append(math.ceil(exact) if direction == "scaleUp" else int(exact))
        farthest = max if direction == "scaleUp" else min
        nearest = min if direction == "scaleUp" else max
        return (farthest if rules["selectPolicy"] == "Max" else nearest)(proposals)

    def _rescale(self, replicas: int, now: float) -> int:
        if replicas != self.replicas:
            self.changes.append((now, replicas - self.replicas))
            self.scaled_at = now
            self.conditions["AbleToScale"] = (True, "SucceededRescale")
            to_zero = replicas == 0 and self.minimum == 0
            self.conditions["ScaledToZero"] = (to_zero, "ScaledToZero" if to_zero else "NotScaledToZero")
        self.replicas = replicas
        return replicas
