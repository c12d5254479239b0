"""The base class of all metrics. `resolve` returns one of its subclasses, and callers need to know no others.

A tube that no server lists has 0 jobs, because beanstalkd forgets an empty tube that no client uses; but only if every
server in scope has a fresh reading. Anything else that isn't known is an error, never a number.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, NamedTuple

from app.beanstalkd.reading import ServerState
from app.clock import rfc3339
from app.metrics.explanation import Json, rounded, server_info, tube_info
from app.metrics.fields import COUNTED, HELD_BACK
from app.metrics.freshness import ServerReading
from app.metrics.query import (
    EvaluationContext,
    MetricError,
    MetricQuery,
    MetricValue,
    TooFewReadingsError,
    UnknownMetricError,
    WantedTubes,
    total,
)
from app.metrics.rules import Glob
from app.metrics.selection import Scope, selected_pauses
from app.quantity import MAX_MILLI, format_quantity
from app.text import listing

FEW_TUBES = 100
"""Tubes that are evaluated within a few milliseconds."""
MAX_EXPLAINED = 100
"""Tubes, and values, that an explanation shows."""
_JOBS_HELD_BACK = HELD_BACK & COUNTED.keys()


class Definition(NamedTuple):
    """The description of a metric for people."""

    name: str
    meaning: str
    """A sentence."""
    tubes: Glob
    formula: str
    per: Iterable[str]
    """Labels that its values keep."""
    on_failure: str = "fail"
    unit: str | None = None
    """Plural: `jobs`, `seconds`, `jobs/s`; None if it isn't known."""
    built_in: bool = True
    namespaces: Glob | None = None
    """Namespaces that can query it; None: all."""

    @property
    def fields(self) -> frozenset[str]:
        """The names in the formula."""
        return frozenset(re.findall(r"[a-z_]+", self.formula))

    @property
    def without_paused(self) -> str:
        """A sentence about what a paused tube adds while its jobs are ignored; empty if the pause changes nothing."""
        held_back = self.fields & HELD_BACK
        if not held_back:
            return ""
        if "reserved" in self.fields and held_back <= _JOBS_HELD_BACK:
            return " Of a paused tube, only reserved jobs count."
        return f" Of a paused tube, {listing(sorted(held_back))} {'counts' if len(held_back) == 1 else 'count'} as 0."


class Metric(ABC):
    """A metric as one query selects it. An invalid query raises its error from `values`."""

    def __init__(self, query: MetricQuery, context: EvaluationContext) -> None:
        self.query = query
        self.context = context

    @abstractmethod
    def values(self) -> Sequence[MetricValue]:
        """Return the values that the selector matches. Raises MetricError."""

    @abstractmethod
    def wanted(self) -> WantedTubes:
        """Return the tubes to read every second for this query; none if the query is invalid."""

    @property
    @abstractmethod
    def definition(self) -> Definition | None:
        """The description of the metric for people; None if there is no such metric."""

    @property
    @abstractmethod
    def scope(self) -> Scope:
        """The servers and tubes that the query selects. Raises MetricError."""

    @abstractmethod
    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:
        """Return the values, and the arithmetic of the first `shown` of them. Raises MetricError."""

    @property
    def servers(self) -> Sequence[ServerState]:
        """All servers that the metric covers, whatever the selector."""
        return self.context.snapshot.servers

    @property
    def tubes(self) -> Glob:
        """The tubes that the metric is about, by name or pattern; empty if it is about any tube."""
        return Glob(tuple(self.wanted().tubes))

    @property
    def breadth(self) -> int:
        """The number of tubes, those of each server counted, that evaluation looks at; 0 if the query is invalid."""
        try:
            scope = self.scope
        except MetricError:
            return 0
        if scope.named is not None:
            return len(scope.named) * len(scope.servers)
        return sum(len(state.reading.names) for state in scope.servers if state.reading)

    @property
    def is_long(self) -> bool:
        """True if evaluation can take some milliseconds, so that it shouldn't block an event loop."""
        return self.breadth > FEW_TUBES

    @property
    def ignores_paused(self) -> bool:
        """True if the jobs of a paused tube count only while they are reserved."""
        definition = self.definition
        try:
            pauses = selected_pauses(self.query.metric, self.query.selector)
        except UnknownMetricError:
            return False
        return pauses == ["false"] and definition is not None and not HELD_BACK.isdisjoint(definition.fields)

    def fresh_until_s(self, values: Iterable[MetricValue]) -> float:
        """Return until when (monotonic seconds) these values are the result for this snapshot.

        Until then, no reading that they rest on is too old. A held value is never the result for longer.
        """
        listings = [state.reading.listed_at.monotonic_s for state in self.servers if state.reading]
        answers = [value.answered_at.monotonic_s for value in values]
        return min((*answers, *listings), default=-math.inf) + self.context.max_age_s

    def explain(self, selector: str) -> Json:
        """Return rule, readings and arithmetic, or the error, as JSON. `selector`: the query's, as it was written."""
        context, definition = self.context, self.definition
        ignored = definition.without_paused if definition and self.ignores_paused else ""
        explained: dict[str, Any] = {
            "metric": self.query.metric,
            "namespace": self.query.namespace,
            "selector": selector,
            "now": rfc3339(context.now),
            "rule": definition
            and {
                "name": definition.name,
                "builtIn": definition.built_in,
                "meaning": definition.meaning + ignored,
                "tubes": list(definition.tubes.patterns),
                "servers": [state.server.name for state in self.servers],
                "formula": definition.formula,
                "paused": "ignore" if self.ignores_paused else "count",
                "unit": definition.unit,
                "per": sorted(definition.per),
                "onFailure": definition.on_failure,
                "maxAgeSeconds": rounded(context.max_age_s),
                "namespaces": None if definition.namespaces is None else list(definition.namespaces.patterns),
            },
            "servers": [server_info(state, None, context) for state in self.servers],
            "tubes": [],
            "tubesOmitted": 0,
            "items": [],
            "itemsOmitted": 0,
            "total": None,
            "error": None,
        }
        with suppress(MetricError):  # raised again below, by the values
            scope = self.scope
            readings = [ServerReading(state, state.reading) for state in scope.servers if state.reading]
            tubes = [(tube, server) for server in readings for tube in scope.tubes_of(server)]
            tubes.sort(key=lambda pair: pair[0])
            explained["servers"] = [server_info(state, scope.named, context) for state in scope.servers]
            for tube, server in tubes[:MAX_EXPLAINED]:
                info = tube_info(server, tube, context)
                explained["tubes"].append({**info, "ignored": info["paused"] and bool(ignored)})
            explained["tubesOmitted"] = max(0, len(tubes) - MAX_EXPLAINED)
        try:
            values, arithmetic = self.calculations(MAX_EXPLAINED)
            explained["items"] = [_item(value, how) for value, how in zip(values, arithmetic, strict=False)]
            explained["itemsOmitted"] = len(values) - len(explained["items"])
            if values:
                explained["total"] = format_quantity(Fraction(min(total(values), MAX_MILLI), 1000))
            else:
                _ = self.scope  # why the selector matches nothing
        except MetricError as error:
            near = list(error.near) if isinstance(error, UnknownMetricError) else []
            first_read = isinstance(error, TooFewReadingsError)  # it has begun with this query
            explained["error"] = {"reason": error.reason, "message": str(error), "near": near, "firstRead": first_read}
        return explained


class UnresolvedMetric(Metric):
    """A query that leads to no metric: its values are an error."""

    definition = None

    def __init__(self, query: MetricQuery, context: EvaluationContext, error: MetricError) -> None:
        super().__init__(query, context)
        self._error = error

    def values(self) -> Sequence[MetricValue]:
        raise self._error

    def wanted(self) -> WantedTubes:
        return WantedTubes()

    @property
    def scope(self) -> Scope:
        raise self._error

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:  # noqa: ARG002 - of all metrics
        raise self._error


def _item(value: MetricValue, arithmetic: str) -> Json:
    window = {} if value.window_s is None else {"window": value.window_s}
    held = {} if value.held_s is None else {"heldForSeconds": rounded(value.held_s)}
    return {
        "labels": value.labels,
        "arithmetic": arithmetic,
        "value": value.quantity,
        "timestamp": rfc3339(value.answered_at),
        **window,
        **held,
    }
