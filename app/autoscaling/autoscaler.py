"""A HorizontalPodAutoscaler as values: what decides, and what it says about itself."""

from dataclasses import dataclass, field
from enum import StrEnum

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
    last_seen: int | None = None
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

    wanted: int
    """spec.replicas."""
    present: int
    """status.replicas."""
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
