"""What one snapshot shows about the metrics of an HPA and about their tubes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from app.beanstalkd.protocol import InvalidFieldError
from app.clock import MONOTONIC, Instant
from app.hpa.autoscaler import EXTERNAL, Autoscaler
from app.hpa.decision import Missing, NotQueried, Observed, Total
from app.metrics.freshness import ServerReading
from app.metrics.metric import FEW_TUBES, Metric
from app.metrics.query import (
    EvaluationContext,
    MetricError,
    MetricQuery,
    NoResultError,
    TooFewReadingsError,
    UnknownMetricError,
    WantedTubes,
    total,
)
from app.metrics.resolve import is_served, resolve
from app.metrics.rules import Fail, Rules
from app.metrics.selector import SelectorError, parse_selector

type Counters = tuple[tuple[str, str, int, int], ...]
"""(id of the server, tube, jobs put, jobs deleted) of each tube. They differ if a tube or its server began anew."""


class Tubes(NamedTuple):
    """The tubes of all metrics of an HPA."""

    counters: Counters
    waiting: bool
    """A job is ready or reserved, or may be: not all of the tubes are known now."""
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
    served = (query for query in asked if isinstance(query, MetricQuery) and is_served(query, context.rules))
    return sum(resolve(query, context).breadth for query in served) > FEW_TUBES


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
        if not is_served(query, context.rules):
            observed.append(NotQueried())
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
            observed.append(
                Total(total(values)) if values else Missing(f"no value of {query.metric} matches its selector")
            )
            is_fresh = is_fresh and bool(values)
        queried.append(metric)
    return MetricReading(tuple(observed), tuple(queried), is_fresh)


def read_tubes(reading: MetricReading) -> Tubes | None:
    """Return the tubes of all metrics; None if none of their servers can be read now."""
    complete = reading.is_fresh
    tubes: dict[tuple[str, str], tuple[ServerReading, float]] = {}  # with the oldest reply that shows a ready job
    times: list[Instant] = []
    for metric in reading.queried:
        servers, are_all = _readable_servers(metric)
        complete = complete and are_all
        if servers and metric.scope.named is None:  # of a pattern, a listing shows which tubes there are
            times += (server.reading.listed_at for server in servers)
        oldest_s = metric.context.now.monotonic_s - metric.context.limit_s
        for server in servers:
            for tube in _selected_tubes(metric, server):
                key = server.reading.server_id, tube
                tubes[key] = server, min(oldest_s, tubes[key][1]) if key in tubes else oldest_s
    counters, waiting, takeable = [], not complete, False
    for (server_id, tube), (server, oldest_s) in sorted(tubes.items(), key=lambda item: item[0]):
        stats = server.reading.tubes.get(tube)
        times.append(server.reading.answered_at(tube))
        try:
            counters.append((server_id, tube, stats.total_jobs if stats else 0, stats.cmd_delete if stats else 0))
            if stats:
                waiting = waiting or bool(stats.current_jobs_ready or stats.current_jobs_reserved)
                is_recent = times[-1].monotonic_s >= oldest_s
                takeable = takeable or bool(is_recent and stats.current_jobs_ready and not stats.is_paused)
        except InvalidFieldError:
            waiting = True
    if not times:
        return None
    return Tubes(tuple(counters), waiting, takeable, min(times, key=MONOTONIC), max(times, key=MONOTONIC))


def _readable_servers(metric: Metric) -> tuple[Sequence[ServerReading], bool]:
    """Return the metric's servers that can be read now, and whether these are all."""
    try:
        states = metric.scope.servers
    except MetricError:  # then the metric has no value
        return (), False
    # The values of the others may still be recent enough, but what happened since isn't known.
    readable = [ServerReading(state, state.reading) for state in states if state.reading and not state.failure]
    return readable, len(readable) == len(states)


def _selected_tubes(metric: Metric, server: ServerReading) -> Sequence[str]:
    """Return the tubes of a server that count for the metric's values."""
    tubes, definition = metric.scope.tubes_of(server), metric.definition
    conditions = [part for part in metric.query.selector.requirements if part.key == "tube"]
    if not conditions or definition is None or "tube" not in definition.per:
        return tubes
    return [tube for tube in tubes if all(part.matches({"tube": tube}) for part in conditions)]
