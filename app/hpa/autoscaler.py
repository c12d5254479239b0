"""From the JSON of an autoscaling/v2 HorizontalPodAutoscaler, as kube-apiserver gives it, to values.

Defaults are Kubernetes' own: pkg/apis/autoscaling/v2/defaults.go; they differ from no `behavior` at all.

A HorizontalPodAutoscaler as values: what decides, and what it says about itself.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.quantity import MOST, milli, parse_quantity

EXTERNAL = "External"


class TargetKind(StrEnum):
    """What a metric's target is compared with."""

    AVERAGE_VALUE = "AverageValue"
    """The metric's total, shared by the pods."""
    VALUE = "Value"
    """The metric's total."""
    UTILIZATION = "Utilization"
    """Percent of what the pods request."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a metric should be."""

    kind: TargetKind
    amount: int
    """Thousandths; of Utilization, percent."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of spec.metrics."""

    source: str
    """`External`, `Resource`, `ContainerResource`, `Pods` or `Object`."""
    name: str
    selector: str
    """As a `labelSelector`; empty: everything."""
    target: Target
    last_value: int | None = None
    """What the status shows of it, in the target's unit; None where it had no value at the last look."""

    def __str__(self) -> str:
        """`tube-orders` or `beanstalkd_tube_jobs{tube=orders}`."""
        return f"{self.name}{{{self.selector}}}" if self.selector else self.name


@dataclass(frozen=True, slots=True)
class Policy:
    """How far the number of pods may move in a while."""

    kind: str
    """`Pods` or `Percent`."""
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """How to scale in one direction."""

    policies: tuple[Policy, ...]
    select: str
    """`Max`, `Min` or `Disabled`."""
    window_s: int
    """Stabilisation: whole seconds of earlier wishes that count too."""
    tolerance: float


@dataclass(frozen=True, slots=True)
class Condition:
    """One of status.conditions."""

    kind: str
    """`AbleToScale`, `ScalingActive`, `ScalingLimited`, `ScaledToZero`."""
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Workload:
    """What is scaled: spec.scaleTargetRef."""

    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        """`Deployment/orders`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Scale:
    """The workload's pods."""

    spec_replicas: int
    status_replicas: int
    ready: int | None = None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """spec and status of an autoscaling/v2 HorizontalPodAutoscaler."""

    namespace: str
    name: str
    workload: Workload
    minimum: int
    maximum: int
    metrics: tuple[Metric, ...]
    up: ScalingRules
    down: ScalingRules
    has_behavior: bool
    """Without spec.behavior Kubernetes goes by older rules of its own."""
    conditions: tuple[Condition, ...] = ()
    scale: Scale = field(default_factory=lambda: Scale(0, 0))
    """As it saw the workload at its last look."""
    desired: int = 0
    """What it decided then."""
    scaled_at_s: float | None = None
    """Unix time of its last change."""

    def condition(self, kind: str) -> Condition | None:
        """The one of that type."""
        return next((condition for condition in self.conditions if condition.kind == kind), None)

    def reports(self, kind: str, reason: str) -> bool:
        """Whether that condition has that reason."""
        condition = self.condition(kind)
        return condition is not None and condition.reason == reason


type Json = Mapping[str, Any]

TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance of kube-controller-manager, unless the cluster's owner set another."""
DOWN_WINDOW_S = 300
"""--horizontal-pod-autoscaler-downscale-stabilization, likewise."""
_UP = ScalingRules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)), "Max", 0, TOLERANCE)
_DOWN = ScalingRules((Policy("Percent", 100, 15),), "Max", DOWN_WINDOW_S, TOLERANCE)
_OPERATORS = {
    "In": "{key} in ({values})",
    "NotIn": "{key} notin ({values})",
    "Exists": "{key}",
    "DoesNotExist": "!{key}",
}
_PLAIN = re.compile(r"[A-Za-z0-9./_-]*")
"""What keys and values are made of."""


def parse_hpa(hpa: Json) -> Autoscaler:
    """An object that kube-apiserver has validated; its status may be empty still."""
    spec, status = hpa["spec"], hpa.get("status") or {}
    reference, behavior = spec["scaleTargetRef"], spec.get("behavior")
    current = status.get("currentReplicas") or 0
    return Autoscaler(
        namespace=hpa["metadata"].get("namespace", "default"),
        name=hpa["metadata"]["name"],
        workload=Workload(reference.get("apiVersion", ""), reference["kind"], reference["name"]),
        minimum=spec.get("minReplicas", 1),
        maximum=spec["maxReplicas"],
        metrics=_metrics(spec.get("metrics") or (), status.get("currentMetrics") or ()),
        up=_rules((behavior or {}).get("scaleUp"), _UP),
        down=_rules((behavior or {}).get("scaleDown"), _DOWN),
        has_behavior=behavior is not None,
        conditions=tuple(map(_condition, status.get("conditions") or ())),
        scale=Scale(current, current),
        desired=status.get("desiredReplicas") or 0,
        scaled_at_s=_unix_s(status.get("lastScaleTime")),
    )


def selector_text(selector: Json | None) -> str:
    """A LabelSelector as a `labelSelector` (apimachinery's LabelSelectorAsSelector): by key, values sorted.

    kube-apiserver takes any text for a key, operator or value there; what makes no sense is none when it is parsed.
    """
    labels = ((selector or {}).get("matchLabels") or {}).items()
    conditions = (selector or {}).get("matchExpressions") or ()
    parts = [(key, f"{_word(key)}={_word(value)}") for key, value in labels]
    parts += [(condition["key"], _condition_text(condition)) for condition in conditions]
    return ",".join(text for _, text in sorted(parts))


def _condition_text(expression: Json) -> str:
    key, operator = _word(expression["key"]), expression["operator"]
    values = ",".join(map(_word, sorted(expression.get("values") or ())))
    if operator not in _OPERATORS:
        return f"{key} '{operator}' ({values})"
    return _OPERATORS[operator].format(key=key, values=values)


def _word(text: str) -> str:
    """In quotes, which no selector has, where it could be read as more than one word."""
    return text if _PLAIN.fullmatch(text) else f"'{text}'"


def _metrics(wanted: Sequence[Json], seen: Sequence[Json]) -> tuple[Metric, ...]:
    # currentMetrics has the order of spec.metrics, and an empty entry for one that failed; it is empty altogether
    # where the metrics weren't looked at
    padded = [*seen, *[{}] * len(wanted)]
    return tuple(_metric(metric, padded[position]) for position, metric in enumerate(wanted))


def _metric(metric: Json, seen: Json) -> Metric:
    source = metric["type"]
    content = metric[_field(source)]
    target = _target(content["target"])
    named = content.get("metric") or content
    current = (seen.get(_field(source)) or {}).get("current") if seen.get("type") == source else None
    return Metric(
        source=source,
        name=named["name"],
        selector=selector_text(named.get("selector")),
        target=target,
        last_value=_amount(target.kind, current or {}),
    )


def _field(source: str) -> str:
    return source[:1].lower() + source[1:]


def _target(target: Json) -> Target:
    for kind in (TargetKind.AVERAGE_VALUE, TargetKind.VALUE, TargetKind.UTILIZATION):  # as the controller looks
        amount = _amount(kind, target)
        if amount is not None:
            return Target(kind, amount)
    return Target(TargetKind(target["type"]), 0)


_FIELDS = {
    TargetKind.AVERAGE_VALUE: "averageValue",
    TargetKind.VALUE: "value",
    TargetKind.UTILIZATION: "averageUtilization",
}


def _amount(kind: TargetKind, values: Json) -> int | None:
    amount = values.get(_FIELDS[kind])
    if amount is None:
        return None
    if kind is TargetKind.UTILIZATION:
        return int(amount)
    thousandths = milli(parse_quantity(str(amount)))
    # At 0 pods the status shows what dividing by 0 leaves in an int64: the least there is, on ARM the most.
    return thousandths if 0 <= thousandths < MOST else None


def _rules(given: Json | None, default: ScalingRules) -> ScalingRules:
    given = given or {}
    policies = given.get("policies")
    tolerance = given.get("tolerance")
    window_s = given.get("stabilizationWindowSeconds")
    return ScalingRules(
        policies=default.policies if policies is None else tuple(map(_policy, policies)),
        select=given.get("selectPolicy") or default.select,
        window_s=default.window_s if window_s is None else window_s,
        tolerance=default.tolerance if tolerance is None else float(parse_quantity(str(tolerance))),
    )


def _policy(policy: Json) -> Policy:
    return Policy(policy["type"], policy["value"], policy["periodSeconds"])


def _condition(condition: Json) -> Condition:
    return Condition(
        condition["type"], condition["status"] == "True", condition.get("reason", ""), condition.get("message", "")
    )


def _unix_s(timestamp: str | None) -> float | None:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None
