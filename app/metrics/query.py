"""A query for a metric, what it is evaluated against, and its result: values or an error.

All of the package builds on it, except rules and selectors, which it uses.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from app.beanstalkd.reading import Snapshot
from app.clock import Instant
from app.metrics.rules import Rules
from app.metrics.selector import EVERYTHING, Selector
from app.quantity import milli, parse_quantity

_NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """Which metric a client requests."""

    metric: str
    """In any case: client-go requests it in lower case, however the HPA's author wrote it."""
    namespace: str
    """The autoscaler's namespace."""
    selector: Selector = EVERYTHING


class EvaluationContext(NamedTuple):
    """The readings and rules that a query is evaluated against."""

    snapshot: Snapshot
    now: Instant
    max_age_s: float
    """Maximum age of a reading in seconds."""
    rules: Rules = _NO_RULES
    hold_s: float = 0.0
    """Seconds beyond `max_age_s` for which a rule (`onFailure: {hold: …}`) accepts the last good reading."""

    @property
    def limit_s(self) -> float:
        """The greatest age, in seconds, at which a reading is accepted."""
        return self.max_age_s + self.hold_s


class MetricValue(NamedTuple):
    """One item of a result."""

    metric_name: str
    labels: Mapping[str, str]
    quantity: str
    """A Kubernetes quantity."""
    answered_at: Instant
    """Time of beanstalkd's reply; of several readings the oldest."""
    window_s: int | None = None
    """Window of a rate in whole seconds, of several the longest; None if it isn't a rate."""
    held_s: float | None = None
    """Seconds for which `onFailure: {hold: …}` has kept this value beyond its maximum age; None if it is fresh."""


def total(values: Iterable[MetricValue]) -> int:
    """Return the sum in thousandths, each value rounded up, as an autoscaler adds them."""
    return sum(milli(parse_quantity(value.quantity)) for value in values)


class WantedTubes(NamedTuple):
    """Tubes to read every second, by exact name."""

    tubes: Sequence[str] = ()
    ages: Sequence[str] = ()
    """Those of which the next job's age is needed too."""


class MetricError(Exception):
    """Why a metric has no value; `str()` is a sentence for the HPA's status."""

    reason: ClassVar[str]
    """Of the Kubernetes `Status` (k8s.io/apimachinery/pkg/apis/meta/v1, StatusReason)."""


class UnknownMetricError(MetricError):
    """The metric, or a label value that the selector requires, doesn't exist or can't be accessed."""

    reason = "NotFound"

    def __init__(self, message: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.near = near
        """Names of similar metrics."""


class AmbiguousMetricError(MetricError):
    """The name matches several tubes."""

    reason = "Conflict"


class TooManyTubesError(MetricError):
    """The query covers more tubes than the limit."""

    reason = "BadRequest"


class SameServerError(MetricError):
    """Two configured servers are the same beanstalkd: its jobs would be counted twice."""

    reason = "Conflict"


class NoValueError(MetricError):
    """A valid query has no value at the moment: the case for a rule's `onFailure`."""

    reason = "ServiceUnavailable"

    def __init__(self, message: str, age_s: float | None = None) -> None:
        super().__init__(message)
        self.age_s = age_s
        """Age in seconds of the reading that is too old; None for other causes."""


class StaleReadingError(NoValueError):
    """A server in scope has no reading, or none that is recent enough."""


class InvalidReadingError(NoValueError):
    """A field that the metric needs has no valid value in a server's reply about a tube."""


class TooFewReadingsError(NoValueError):
    """A rate needs readings over a longer time, or an age its first one."""


class NoResultError(NoValueError):
    """The formula has no result for these numbers."""
