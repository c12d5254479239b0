"""What one snapshot shows about the metrics of an HPA and about their tubes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from app.beanstalkd.protocol import InvalidFieldError
from app.clock import MONOTONIC, Instant
from app.hpa.autoscaler import EXTERNAL, Autoscaler
from app.hpa.decision import Missing, NotQueried, Observed, Total
from app.metrics.freshness import ServerReading
from app.metrics.metric import Metric
from app.metrics.query import (
    EvaluationContext,
    MetricError,
    MetricQuery,
    NoResultError,
    TooFewReadingsError,
    UnknownMetricError,
    WantedTubes,
)
from app.metrics.resolve import resolve
from app.metrics.rules import Fail, Rules
from app.metrics.selector import SelectorError, parse_selector
from app.quantity import milli, parse_quantity

type Counters = tuple[tuple[str, str, int, int], ...]
"""(id of the server, tube, jobs put, jobs deleted) of each tube. They differ if a tube or its server began anew."""


class Tubes(NamedTuple):
    """The tubes of all metrics of an HPA."""

    counters: Counters
    waiting: bool
    """A job is ready or reserved."""
    takeable: bool
    """A job is ready in a tube that isn't paused."""
    oldest_at: Instant
    """Time of the oldest reply that this is known by."""
    newest_at: Instant


@dataclass(frozen=True, slots=True)
class MetricReading:
    """The metrics of an HPA."""

    observed: tuple[Observed, ...]
    """One for each metric. NotQueried: it isn't beanscale's."""
    queried: tuple[Metric, ...]
    """Those that are beanscale's."""
    is_fresh: bool = True
    """False: a metric of beanscale's has no value for want of a fresh reading, or for an error in the query."""

    @property
    def wanted(self) -> WantedTubes:
        """The tubes to read every second."""
        each = [metric.wanted() for metric in self.queried]
        return WantedTubes([tube for one in each for tube in one.tubes], [tube for one in each for tube in one.ages])

    @property
    def missing(self) -> Missing | None:
        """The first metric of beanscale's without a value."""
        return next((each for each in self.observed if isinstance(each, Missing)), None)


def without_substitutes(rules: Rules) -> Rules:
    """Return the rules without `onFailure`: nothing is scaled by a value that isn't a reading."""
    return replace(rules, metrics={name: replace(rule, on_failure=Fail()) for name, rule in rules.metrics.items()})


def queries(autoscaler: Autoscaler) -> tuple[MetricQuery | str | None, ...]:
    """Return what each metric queries; None if it isn't external; text: why its selector is invalid."""
    found: list[MetricQuery | str | None] = []
    for metric in autoscaler.metrics:
        try:
            # client-go lowercases the name.
            query = MetricQuery(metric.name.lower(), autoscaler.namespace, parse_selector(metric.selector))
            found.append(query if metric.source == EXTERNAL else None)
        except SelectorError as error:
            found.append(f"its selector is invalid: {error}")
    return tuple(found)


def is_long(asked: Sequence[MetricQuery | str | None], context: EvaluationContext) -> bool:
    """Return whether reading the metrics could block an event loop."""
    return any(resolve(query, context).is_long for query in asked if isinstance(query, MetricQuery))


def read_metrics(asked: Sequence[MetricQuery | str | None], context: EvaluationContext) -> MetricReading:
    """Return the values that the HPA controller would get."""
    observed: list[Observed] = []
    queried: list[Metric] = []
    is_fresh = True
    for query in asked:
        if not isinstance(query, MetricQuery):
            observed.append(NotQueried() if query is None else Missing(query))
            is_fresh = is_fresh and query is None
            continue
        metric = resolve(query, context)
        try:
            values = metric.values()
        except UnknownMetricError:
            observed.append(NotQueried())
            continue
        except MetricError as error:
            observed.append(Missing(str(error)))
            is_fresh = is_fresh and isinstance(error, NoResultError | TooFewReadingsError)
        else:
            total = sum(milli(parse_quantity(value.quantity)) for value in values)
            observed.append(Total(total) if values else Missing("the response has no items"))
        queried.append(metric)
    return MetricReading(tuple(observed), tuple(queried), is_fresh)


def read_tubes(metrics: Sequence[Metric]) -> Tubes | None:
    """Return the tubes of all metrics, which are fresh; None if there are none, or they aren't known now."""
    if not metrics or any(state.failure for metric in metrics for state in metric.scope.servers):
        return None  # the values may still be recent enough, but what happened since isn't known
    tubes = {
        (server.reading.server_id, tube): server
        for metric in metrics
        for server in (ServerReading(state, state.reading) for state in metric.scope.servers if state.reading)
        for tube in metric.scope.tubes_of(server)
    }
    counters, waiting, takeable = [], False, False
    # Of a pattern, a listing shows which tubes there are.
    scopes = [metric.scope for metric in metrics]
    listed = (state.reading for scope in scopes if scope.named is None for state in scope.servers)
    times = [reading.listed_at for reading in listed if reading]
    try:
        for (server_id, tube), server in sorted(tubes.items(), key=lambda item: item[0]):
            stats = server.reading.tubes.get(tube)
            times.append(server.reading.answered_at(tube))
            counters.append((server_id, tube, stats.total_jobs if stats else 0, stats.cmd_delete if stats else 0))
            if stats:
                waiting = waiting or bool(stats.current_jobs_ready or stats.current_jobs_reserved)
                takeable = takeable or bool(stats.current_jobs_ready and not stats.is_paused)
    except InvalidFieldError:
        return None
    return Tubes(tuple(counters), waiting, takeable, min(times, key=MONOTONIC), max(times, key=MONOTONIC))
