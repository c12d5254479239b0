"""What comes of a question: values, or one sentence why there are none."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from app.clock import Instant


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
