"""A HorizontalPodAutoscaler (autoscaling/v2) as values, parsed from the JSON that kube-apiserver returns. Pure.

Defaults are Kubernetes' own (pkg/apis/autoscaling/v2/defaults.go). They apply where `behavior` leaves something out; an
HPA without any `behavior` follows older rules (`has_behavior`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.hpa.options import ScalingOptions, parse_options
from app.quantity import MAX_MILLI, milli, parse_quantity

type Json = Mapping[str, Any]

EXTERNAL = "External"
SYNC_PERIOD_S = 15
"""Default of kube-controller-manager's --horizontal-pod-autoscaler-sync-period."""
TOLERANCE = 0.1
"""Default of kube-controller-manager's --horizontal-pod-autoscaler-tolerance."""
DOWN_WINDOW_S = 300
"""Default of kube-controller-manager's --horizontal-pod-autoscaler-downscale-stabilization."""
MAX_METRICS = 100
"""Of an HPA with annotations of beanscale: each is evaluated every second."""
MAX_TEXT = 2**15
"""Characters of its target, and of its metrics' names and selectors. Kubernetes limits neither."""


class TargetKind(StrEnum):
    """The number that a metric's target is compared with."""

    AVERAGE_VALUE = "AverageValue"
    """The metric's total, divided by the number of pods."""
    VALUE = "Value"
    """The metric's total."""
    UTILIZATION = "Utilization"
    """Percent of the pods' resource requests."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a metric."""

    kind: TargetKind
    amount: int
    """Thousandths; for Utilization, percent."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of spec.metrics."""

    source: str
    """`External`, `Resource`, `ContainerResource`, `Pods` or `Object`."""
    name: str
    selector: str
    """In the syntax of a `labelSelector` query parameter; empty: everything."""
    target: Target
    last_value: int | None = None
    """Value in status.currentMetrics, in the target's unit; None if the last sync got none."""
    failed: bool = False
    """True if the last sync queried this metric and got no value."""

    def __str__(self) -> str:
        """Return `tube-orders` or `beanstalkd_tube_jobs{tube=orders}`."""
        return f"{self.name}{{{self.selector}}}" if self.selector else self.name


@dataclass(frozen=True, slots=True)
class Policy:
    """The change that one scaling policy allows within a period."""

    kind: str
    """`Pods` or `Percent`."""
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """spec.behavior.scaleUp or scaleDown."""

    policies: tuple[Policy, ...]
    select: str
    """`Max`, `Min` or `Disabled`."""
    window_s: int
    """stabilizationWindowSeconds."""
    tolerance: float


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of status.conditions."""

    kind: str
    """`AbleToScale`, `ScalingActive`, `ScalingLimited` or `ScaledToZero`."""
    holds: bool
    """Status is True."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Workload:
    """spec.scaleTargetRef."""

    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        """Return `Deployment/orders`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Scale:
    """The workload's pod counts."""

    spec_replicas: int
    status_replicas: int
    ready: int | None = None
    """None: unknown."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """spec and status of a HorizontalPodAutoscaler."""

    namespace: str
    name: str
    workload: Workload
    minimum: int
    maximum: int
    metrics: tuple[Metric, ...]
    up: ScalingRules
    down: ScalingRules
    has_behavior: bool
    """False: no spec.behavior, so `up` doesn't apply, and of `down` only window and tolerance."""
    conditions: tuple[Condition, ...]
    """Empty until the first sync."""
    scale: Scale
    """As of the last sync, after its change if it made one."""
    desired: int
    """status.desiredReplicas, as of the last sync."""
    scaled_at_s: float | None
    """Unix seconds of status.lastScaleTime."""
    is_outdated: bool
    """True if the spec has changed since the sync that the status is of."""
    options: ScalingOptions
    """Invalid if the HPA is too large for them."""
    uid: str
    """Tells it from an earlier HPA of the same name; empty only in an object that kube-apiserver didn't return."""

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type."""
        return next((condition for condition in self.conditions if condition.kind == kind), None)

    def reports(self, kind: str, *reasons: str) -> bool:
        """Return whether the last sync set the condition of that type, for one of these reasons."""
        condition = self.condition(kind)
        return condition is not None and condition.reason in reasons and kind not in self.left_over

    @property
    def text_length(self) -> int:
        """The number of characters that its author chose freely."""
        of_metrics = sum(len(metric.name) + len(metric.selector) for metric in self.metrics)
        return len(self.workload.api_version) + len(str(self.workload)) + of_metrics

    @property
    def left_over(self) -> frozenset[str]:
        """Types of the conditions that are of an earlier sync, because the last one ended before it set them."""
        able = self.condition("AbleToScale")
        return _LEFT_OVER.get(able.reason if able else "", frozenset())

    @property
    def status(self) -> object:
        """Return what the last sync reported, to compare with that of another version of the HPA."""
        values = tuple((metric.last_value, metric.failed) for metric in self.metrics)
        return self.conditions, self.scale, self.desired, self.scaled_at_s, values

    @property
    def up_window_s(self) -> int:
        """The stabilization window for scaling up, in seconds."""
        return self.up.window_s if self.has_behavior else 0

    @property
    def knows_pods(self) -> bool:
        """True if `scale` and `desired` are of the last sync: there was one, and it could read the workload's scale."""
        synced = bool(self.conditions or self.desired or self.scale.status_replicas)
        return synced and not self.reports("AbleToScale", "FailedGetScale")


_UP = ScalingRules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)), "Max", 0, TOLERANCE)
_DOWN = ScalingRules((Policy("Percent", 100, 15),), "Max", DOWN_WINDOW_S, TOLERANCE)
_AMOUNTS = {
    TargetKind.AVERAGE_VALUE: "averageValue",
    TargetKind.VALUE: "value",
    TargetKind.UTILIZATION: "averageUtilization",
}
"""Kind to JSON key, in the order in which the controller looks for them."""
_OPERATORS = {
    "In": "{key} in ({values})",
    "NotIn": "{key} notin ({values})",
    "Exists": "{key}",
    "DoesNotExist": "!{key}",
}
_LEFT_OVER = {
    "FailedGetScale": frozenset({"ScalingActive", "ScalingLimited"}),
    "SucceededGetScale": frozenset({"ScalingLimited"}),
}
"""Reason of AbleToScale to the conditions that such a sync doesn't set: without pods to read, it evaluates no metric;
without a value, or with scaling disabled, it applies no limit."""
_UNQUOTED = re.compile(r"[A-Za-z0-9./_-]*")


def parse_hpa(hpa: Json) -> Autoscaler:
    """Return the HPA as values. `hpa` is an object that kube-apiserver has validated; its status may be empty."""
    spec, status = hpa["spec"], hpa.get("status") or {}
    reference, behavior = spec["scaleTargetRef"], spec.get("behavior")
    current, desired = status.get("currentReplicas") or 0, status.get("desiredReplicas") or 0
    scaled_at, observed = status.get("lastScaleTime"), status.get("observedGeneration")
    conditions = tuple(
        Condition(each["type"], each["status"] == "True", each.get("reason", ""), each.get("message", ""))
        for each in status.get("conditions") or ()
    )
    # currentMetrics has the order of spec.metrics, with an empty entry for a metric that failed. It is empty if the
    # last sync evaluated no metrics.
    metrics, last = spec.get("metrics") or (), status.get("currentMetrics") or ()
    autoscaler = Autoscaler(
        namespace=hpa["metadata"].get("namespace", "default"),
        name=hpa["metadata"]["name"],
        workload=Workload(reference.get("apiVersion", ""), reference["kind"], reference["name"]),
        minimum=spec.get("minReplicas", 1),
        maximum=spec["maxReplicas"],
        metrics=tuple(
            _metric(metric, last[position] if position < len(last) else {}) for position, metric in enumerate(metrics)
        ),
        up=_rules((behavior or {}).get("scaleUp") or {}, _UP),
        down=_rules((behavior or {}).get("scaleDown") or {}, _DOWN),
        has_behavior=behavior is not None,
        conditions=conditions,
        # A sync that rescales reports in currentReplicas the number before.
        scale=Scale(desired if any(each.reason == "SucceededRescale" for each in conditions) else current, current),
        desired=desired,
        scaled_at_s=datetime.fromisoformat(scaled_at).timestamp() if scaled_at else None,
        # Before 1.36 the controller doesn't report observedGeneration.
        is_outdated=observed is not None and observed < hpa["metadata"].get("generation", 0),
        options=parse_options(hpa["metadata"].get("annotations") or {}),
        uid=hpa["metadata"].get("uid", ""),
    )
    return _without_excess(autoscaler) if autoscaler.options.requested else autoscaler


def _without_excess(autoscaler: Autoscaler) -> Autoscaler:
    """Return the HPA with invalid options if it is too large for them."""
    number, length = len(autoscaler.metrics), autoscaler.text_length
    if number > MAX_METRICS:
        error = f"the HPA has {number:,} metrics, but with annotations of beanscale at most {MAX_METRICS}"
    elif length > MAX_TEXT:
        error = f"the HPA's target and metrics have {length:,} characters, but with annotations of beanscale at most"
        error += f" {MAX_TEXT:,}"
    else:
        return autoscaler
    error += "; remove metrics, or the annotations"
    options = replace(autoscaler.options, errors=(*autoscaler.options.errors, error))
    return replace(autoscaler, options=options)


def _metric(metric: Json, last: Json) -> Metric:
    source = metric["type"]
    key = source[:1].lower() + source[1:]
    content = metric[key]
    named = content.get("metric") or content
    amounts = ((kind, _amount(kind, content["target"])) for kind in _AMOUNTS)
    target = next((Target(kind, amount) for kind, amount in amounts if amount is not None), None)
    target = target or Target(TargetKind(content["target"]["type"]), 0)
    current = (last.get(key) or {}).get("current") if last.get("type") == source else None
    value = _amount(target.kind, current or {})
    failed = "type" in last and not last["type"]
    return Metric(source, named["name"], selector_text(named.get("selector")), target, value, failed)


def _amount(kind: TargetKind, values: Json) -> int | None:
    amount = values.get(_AMOUNTS[kind])
    if amount is None or kind is TargetKind.UTILIZATION:
        return amount
    thousandths = milli(parse_quantity(str(amount)))
    # At 0 pods the controller divides by 0: the status shows the lowest int64, on ARM the highest.
    return thousandths if 0 <= thousandths < MAX_MILLI else None


def selector_text(selector: Json | None) -> str:
    """Return a LabelSelector as a `labelSelector` (apimachinery's LabelSelectorAsSelector), sorted by key and value.

    kube-apiserver accepts any text as key, operator or value of an HPA's selector. What isn't valid there stays invalid
    in the result, so that parsing it fails.
    """

    def word(text: str) -> str:
        """Quote text that could be parsed as more than one word. No valid selector has quotes."""
        return text if _UNQUOTED.fullmatch(text) else f"'{text}'"

    labels = ((selector or {}).get("matchLabels") or {}).items()
    parts = [(key, f"{word(key)}={word(value)}") for key, value in labels]
    for expression in (selector or {}).get("matchExpressions") or ():
        key, operator = word(expression["key"]), expression["operator"]
        values = ",".join(map(word, sorted(expression.get("values") or ())))
        form = _OPERATORS.get(operator)
        parts.append((expression["key"], form.format(key=key, values=values) if form else f"{key} '{operator}'"))
    return ",".join(text for _, text in sorted(parts))


def _rules(rules: Json, default: ScalingRules) -> ScalingRules:
    policies = rules.get("policies")
    tolerance = rules.get("tolerance")
    return ScalingRules(
        policies=default.policies
        if policies is None
        else tuple(Policy(policy["type"], policy["value"], policy["periodSeconds"]) for policy in policies),
        select=rules.get("selectPolicy") or default.select,
        window_s=rules.get("stabilizationWindowSeconds", default.window_s),
        tolerance=default.tolerance if tolerance is None else float(parse_quantity(str(tolerance))),
    )
