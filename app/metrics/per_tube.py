"""The metrics with a value for each server and tube, such as `beanstalkd_tube_jobs`."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import product

from app.beanstalkd.protocol import InvalidFieldError
from app.metrics.built_in import ALL_TUBES, PerTube
from app.metrics.fields import COUNTED, HELD_BACK, NEXT_JOB_AGE, RATES, UNITS
from app.metrics.freshness import ServerReading, fresh_servers, invalid, stale
from app.metrics.metric import Definition, Metric
from app.metrics.query import EvaluationContext, MetricError, MetricQuery, MetricValue, TooManyTubesError, WantedTubes
from app.metrics.rates import MAX_AGES, check_number_of_ages, growth, next_job_age, per_second, whole_seconds
from app.metrics.selection import PAUSED, Scope, excludes_tubes, select, selected_pauses, selected_values
from app.quantity import format_quantity, show_number

NO_TUBE = ""
"""Tube of the 0 that is returned if no tube is left: an autoscaler keeps its replicas on an empty list, forever."""


class PerTubeMetric(Metric):
    """One of the PER_TUBE metrics."""

    def __init__(self, query: MetricQuery, context: EvaluationContext, measured: PerTube) -> None:
        super().__init__(query, context)
        self.measured = measured
        self._labels = {"server", "tube", measured.label or "tube"}
        self._selectable = self._labels | ({PAUSED} if HELD_BACK.intersection(measured.fields) else set())

    @cached_property
    def scope(self) -> Scope:
        """The servers and tubes that the selector leaves. Raises UnknownMetricError, TooManyTubesError."""
        return select(self.measured.name, self.query.selector, self.servers, ALL_TUBES, self._selectable)

    @property
    def definition(self) -> Definition:
        measured, unit = self.measured, UNITS[self.measured.fields[0]]
        formula = ", ".join(measured.fields)
        return Definition(measured.name, measured.meaning, ALL_TUBES, formula, self._labels, unit=unit)

    def wanted(self) -> WantedTubes:
        """Return the tubes that the selector lists."""
        try:
            named = self.scope.named
        except MetricError:
            return WantedTubes()
        if named is None:
            return WantedTubes()
        return WantedTubes(named, named if NEXT_JOB_AGE in self.measured.fields and len(named) <= MAX_AGES else ())

    def values(self) -> Sequence[MetricValue]:
        """Return a value per server, tube and field; of a list without any tube, a 0 per server and field."""
        measured, selector, scope = self.measured, self.query.selector, self.scope
        fields = measured.fields
        if measured.label is not None:
            fields = selected_values(measured.name, selector, measured.label, fields)
        if NEXT_JOB_AGE in fields:
            if scope.named is None:
                raise TooManyTubesError(f"{measured.name} is read only for listed tubes; use matchLabels {{tube: …}}")
            check_number_of_ages(measured.name, len(scope.named))
        servers = fresh_servers(scope.servers, scope.named, self.context)
        parts = list(product(servers, selected_pauses(measured.name, selector) or (None,)))
        try:
            values = tuple(
                value
                for server, paused in parts
                for value in self._of_server(server, scope.tubes_of(server), fields, paused)
            )
        except InvalidFieldError as error:
            raise invalid(error, servers) from error
        if values or scope.named is not None or excludes_tubes(selector):
            return values
        return tuple(value for server, paused in parts for value in self._of_server(server, [NO_TUBE], fields, paused))

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:
        """Return the values; the arithmetic of a rate is jobs / seconds."""
        values = self.values()
        rate = self.measured.fields[0]
        if rate not in RATES:
            return values, [value.quantity for value in values[:shown]]
        states = self.context.snapshot.servers
        servers = {state.server.name: ServerReading(state, state.reading) for state in states if state.reading}
        arithmetic = []
        for value in values[:shown]:
            if not value.window_s:
                arithmetic.append("0")
                continue
            server, tube = servers[value.labels["server"]], value.labels.get("tube", NO_TUBE)
            gained, window_ms = growth(rate, server, tube)
            arithmetic.append(f"{gained} / {show_number(Fraction(window_ms, 1000))}")
        return values, arithmetic

    def _of_server(
        self, server: ServerReading, tubes: Sequence[str], fields: Sequence[str], paused: str | None
    ) -> Iterator[MetricValue]:
        """Yield the values with this label `paused`, or without it if None. Raises NoValueError, InvalidFieldError."""
        context, reading = self.context, server.reading
        matches, label = self.query.selector.matches, self.measured.label
        common = {"server": server.state.server.name} | ({} if paused is None else {PAUSED: paused})
        oldest_s = context.now.monotonic_s - context.limit_s
        for tube in tubes:
            stats = reading.tubes.get(tube)
            for field in fields:
                labels = dict(common)
                if label is not None:
                    labels[label] = field
                if tube:
                    labels["tube"] = tube
                if not matches(labels):
                    continue
                answered_at = stats.answered_at if stats else reading.answered_at(tube)
                if answered_at.monotonic_s < oldest_s:
                    raise stale(server.state, reading, tube, context)
                counts = paused is None or (paused == "true") == (
                    field in HELD_BACK and stats is not None and stats.is_paused
                )
                number: int | Fraction = 0
                window_s = None
                if counts and field in RATES:
                    grown = growth(field, server, tube)
                    number, window_s = per_second([grown]), whole_seconds(grown.window_ms)
                elif counts and field == NEXT_JOB_AGE:
                    number, answered_at = next_job_age(server, tube, context)
                elif counts and stats:
                    number = COUNTED[field](stats)
                yield MetricValue(self.measured.name, labels, format_quantity(number), answered_at, window_s)
