"""What comes of a question: values, or one sentence why there are none.

A question, and what every answer is computed from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from app.beanstalkd.reading import Snapshot
from app.clock import Instant
from app.metrics.rules import Glob, Rules
from app.metrics.selector import EVERYTHING, Selector

_NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks for."""

    metric: str
    """In any case: client-go asks in lower case whatever the HPA's author wrote."""
    namespace: str
    """Whose autoscaler asks."""
    selector: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is known, and what it is judged by."""

    snapshot: Snapshot
    now: Instant
    max_age_s: float
    """Seconds: an older reading is none."""
    rules: Rules = _NO_RULES
    hold_s: float = 0.0
    """Seconds beyond `max_age_s` for which a rule lets the last good reading count."""

    tellable: Glob | None = None
    """The tubes that an error may name; None: all."""

    @property
    def limit_s(self) -> float:
        """Seconds that a reading may be old."""
        return self.max_age_s + self.hold_s

    def told(self, tube: str) -> str:
        """A tube as errors name it."""
        return f"tube {tube!r}" if self.tellable is None or self.tellable.matches(tube) else "a tube"


class MetricValue(NamedTuple):
    """One item of an answer."""

    metric_name: str
    labels: Mapping[str, str]
    quantity: str
    """In Kubernetes' notation."""
    answered_at: Instant
    """When beanstalkd spoke: of several readings the oldest."""
    window_s: int | None = None
    """Of a rate: over so many whole seconds, of several the longest."""
    held_s: float | None = None
    """Where the last good reading counts beyond its time, because the rule says so: since so many seconds."""


class MetricError(Exception):
    """Why there is no value; `str()` is a sentence for the HPA's status."""

    reason: ClassVar[str]
    """Kubernetes' word for it (k8s.io/apimachinery/pkg/apis/meta/v1, StatusReason)."""


class UnknownMetricError(MetricError):
    """There is no metric of this name, or no value of a label that the selector demands, or none to be seen."""

    reason = "NotFound"

    def __init__(self, message: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.near = near
        """Names of metrics that may have been meant."""


class AmbiguousMetricError(MetricError):
    """The name means more than one tube."""

    reason = "Conflict"


class TooManyTubesError(MetricError):
    """The question is about more tubes than one answer may be about."""

    reason = "BadRequest"


class SameServerError(MetricError):
    """Two of the servers that the metric spans are one beanstalkd: its jobs would count twice."""

    reason = "Conflict"


class NoValueError(MetricError):
    """There is no number just now, through no fault of the question's: what a rule's `onFailure` is about."""

    reason = "ServiceUnavailable"

    def __init__(self, message: str, age_s: float | None = None) -> None:
        super().__init__(message)
        self.age_s = age_s
        """Of the reading that is too old; None where another thing is the matter."""


class StaleReadingError(NoValueError):
    """A server that the metric spans has no reading that is new enough."""


class TooFewReadingsError(NoValueError):
    """A rate needs two readings, an age one that was asked for; what is missing is on its way."""


class NoResultError(NoValueError):
    """The formula has no result for these numbers."""
