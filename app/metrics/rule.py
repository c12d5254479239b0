"""The metrics that a formula computes: built-in rules and the operator's own.

A rule's fields are combined over tubes and servers first; its formula is computed once, for each group of labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from app.beanstalkd.protocol import InvalidFieldError
from app.beanstalkd.reading import ServerState
from app.clock import MONOTONIC, Instant
from app.metrics.built_in import DRAIN_MEANING
from app.metrics.fields import COUNTED, HELD_BACK, NEXT_JOB_AGE, RATES, TIMES
from app.metrics.formula import FormulaError
from app.metrics.freshness import ServerReading, describe, fresh_servers, invalid, stale
from app.metrics.metric import Definition, Metric
from app.metrics.query import (
    EvaluationContext,
    MetricError,
    MetricQuery,
    MetricValue,
    NoResultError,
    NoValueError,
    StaleReadingError,
    WantedTubes,
)
from app.metrics.rates import MAX_AGES, check_number_of_ages, growth, next_job_age, per_second, whole_seconds
from app.metrics.rules import Glob, Hold, Label, OnFailure, Rule, Substitute
from app.metrics.selection import Scope, excludes_tubes, select
from app.quantity import format_quantity
from app.text import count, duration_value

_BY_TUBE = RATES | {NEXT_JOB_AGE}
"""Fields that are read tube by tube."""

type _Part = tuple[ServerReading, Sequence[str]]
"""Tubes of one server."""


class _Group(NamedTuple):
    """The tubes that one value covers."""

    labels: Mapping[str, str]
    parts: Sequence[_Part]


class RuleMetric(Metric):
    """What the built-in rule DRAIN and the operator's own have in common."""

    def __init__(self, query: MetricQuery, context: EvaluationContext, rule: Rule) -> None:
        super().__init__(query, context)
        self.rule = rule

    @cached_property
    def scope(self) -> Scope:
        """The servers and tubes of the rule that the selector leaves. Raises UnknownMetricError, TooManyTubesError."""
        labels = {str(label) for label in self.rule.per}
        return select(self.rule.name, self.query.selector, self.servers, self.rule.tubes, labels)

    @property
    def ignores_paused(self) -> bool:
        return self.rule.ignores_paused

    def wanted(self) -> WantedTubes:
        """Return the tubes that the selector lists, else those that the rule names exactly."""
        try:
            scope = self.scope
        except MetricError:
            return WantedTubes()
        tubes = self.rule.tubes.exact if scope.named is None else scope.named
        if NEXT_JOB_AGE not in self.rule.formula.fields:
            return WantedTubes(tubes)
        readings = [ServerReading(state, state.reading) for state in scope.servers if state.reading]
        covered = [scope.named] if scope.named is not None else [scope.tubes_of(server) for server in readings]
        if any(len(each) > MAX_AGES for each in covered):
            return WantedTubes(tubes)
        ages = sorted(set(chain.from_iterable(covered)))
        return WantedTubes(tubes, ages if len(ages) <= MAX_AGES else ())

    def values(self) -> Sequence[MetricValue]:
        """Return a value per group of labels. Raises MetricError."""
        return tuple(value for value, _ in self._results())

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:
        """Return the values, and the formula with numbers in the fields' places. Raises MetricError."""
        results = list(self._results())
        arithmetic = [self.rule.formula.shown(fields) for _, fields in results[:shown]]
        return [value for value, _ in results], arithmetic

    def _results(self) -> Iterator[tuple[MetricValue, Mapping[str, Fraction]]]:
        """Yield each value and the fields that it was computed from. Raises MetricError."""
        scope, selector, rule = self.scope, self.query.selector, self.rule
        servers = fresh_servers(scope.servers, scope.named, self.context)
        parts = [(server, scope.tubes_of(server)) for server in servers]
        groups = [group for group in _groups(parts, rule.per) if selector.matches(group.labels)]
        if not groups and scope.named is None and not excludes_tubes(selector):
            # 0 without the label `tube`: an autoscaler keeps its replicas on an empty list, forever
            none = [(server, ()) for server in servers]
            groups = [group for group in _groups(none, rule.per - {Label.TUBE}) if selector.matches(group.labels)]
        if NEXT_JOB_AGE in rule.formula.fields:
            covered = {tube for group in groups for _, tubes in group.parts for tube in tubes}
            check_number_of_ages(rule.name, len(covered))
        return (self._result(group, by_listing=scope.named is None) for group in groups)

    def _result(self, group: _Group, *, by_listing: bool) -> tuple[MetricValue, Mapping[str, Fraction]]:
        """Raises NoValueError. `by_listing`: the tubes are those of the servers' listings, which count as replies."""
        context, needed = self.context, self.rule.formula.fields
        oldest_s = context.now.monotonic_s - context.limit_s
        answers: list[Instant] = []
        for server, tubes in group.parts:
            times = list(map(server.reading.answered_at, tubes))
            if times:
                oldest = min(times, key=MONOTONIC)
                if oldest.monotonic_s < oldest_s:
                    raise stale(server.state, server.reading, tubes[times.index(oldest)], context)
                answers.append(oldest)
            if by_listing and "tube" not in group.labels:
                answers.append(server.reading.listed_at)

        found = [stats for server, tubes in group.parts for stats in map(server.reading.tubes.get, tubes) if stats]
        try:
            ignores = self.ignores_paused and not needed.isdisjoint(HELD_BACK)
            free = [stats for stats in found if not stats.is_paused] if ignores else found
            sums = {field: free if field in HELD_BACK else found for field in needed & COUNTED.keys()}
            fields = {field: Fraction(sum(map(COUNTED[field], counted))) for field, counted in sums.items()}
            fields |= {field: Fraction(max(map(TIMES[field], found), default=0)) for field in needed & TIMES.keys()}
            each = [(server, tube) for server, tubes in group.parts for tube in tubes] if needed & _BY_TUBE else []
            free_each = [pair for pair in each if not _is_paused(*pair)] if ignores else each
        except InvalidFieldError as error:
            raise invalid(error, [server for server, _ in group.parts]) from error
        window_ms = 0
        for rate in RATES & needed:
            counted_each = free_each if rate in HELD_BACK else each
            growths = [growth(rate, server, tube) for server, tube in counted_each]
            fields[rate] = per_second(growths)
            window_ms = max(window_ms, max((grown.window_ms for grown in growths), default=0))
        if NEXT_JOB_AGE in needed:
            ages = [next_job_age(server, tube, context) for server, tube in free_each]
            fields[NEXT_JOB_AGE] = Fraction(max((age.age_s for age in ages), default=0))
            answers += [age.answered_at for age in ages]

        try:
            quantity = format_quantity(self._value(fields))
        except FormulaError as error:
            item = " and ".join(f"{key} {value!r}" for key, value in group.labels.items())
            raise NoResultError(f"{self.rule.name} has no value{item and ' for ' + item}: {error}") from error
        answered_at = min(answers, key=MONOTONIC)
        window_s = whole_seconds(window_ms) if window_ms else None
        over_s = answered_at.age_s(context.now) - context.max_age_s
        held_s = over_s if context.hold_s and over_s > 0 else None
        return MetricValue(self.query.metric, group.labels, quantity, answered_at, window_s, held_s), fields

    def _value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Return the value for a group's fields. Raises FormulaError."""
        return self.rule.formula.value(fields)


class DrainMetric(RuleMetric):
    """The drain time of each tube."""

    @property
    def definition(self) -> Definition:
        rule = self.rule
        return Definition(rule.name, DRAIN_MEANING, rule.tubes, rule.formula.text, rule.per, unit=rule.formula.unit)

    def _result(self, group: _Group, *, by_listing: bool) -> tuple[MetricValue, Mapping[str, Fraction]]:
        """Raises NoResultError too, if a pause holds back jobs: the deletions before it say nothing about them."""
        for server, tubes in group.parts:
            for stats in filter(None, map(server.reading.tubes.get, tubes)):
                try:
                    held_back = stats.current_jobs_ready if stats.is_paused else 0
                except InvalidFieldError as error:
                    raise invalid(error, [server]) from error
                if held_back:
                    raise NoResultError(
                        f"{self.rule.name} has no value for tube {stats.name!r}: it is paused on"
                        f" {describe(server.state)}, so its {count(held_back, 'ready job')} can't be reserved"
                    )
        return super()._result(group, by_listing=by_listing)

    def _value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Return seconds, 0 for an empty tube. Raises FormulaError if jobs are waiting and none was deleted yet."""
        jobs = fields["ready"] + fields["reserved"]
        if jobs and not fields["deleted_per_second"]:
            waiting = "1 job is" if jobs == 1 else f"{jobs:,} jobs are"
            raise FormulaError(f"{waiting} waiting and none was deleted recently: drain time unknown")
        return super()._value(fields) if jobs else jobs


class OperatorRuleMetric(RuleMetric):
    """A rule of the operator's own: with its own servers, maximum age and failure policy.

    A held value needs no memory here: the poller keeps the last good reading, and none survives a restart.
    """

    def __init__(self, query: MetricQuery, context: EvaluationContext, rule: Rule) -> None:
        max_age_s = context.max_age_s if rule.max_age_s is None else rule.max_age_s
        hold_s = rule.on_failure.seconds if isinstance(rule.on_failure, Hold) else 0.0
        super().__init__(query, context._replace(max_age_s=max_age_s, hold_s=hold_s), rule)

    @property
    def servers(self) -> Sequence[ServerState]:
        """The servers that the rule names, or all."""
        servers, names = self.context.snapshot.servers, self.rule.servers
        return servers if names is None else [state for state in servers if state.server.name in names]

    @property
    def tubes(self) -> Glob:
        """The rule's tubes, unless they are all: then those that the query names."""
        return super().tubes if "*" in self.rule.tubes.patterns else self.rule.tubes

    @cached_property
    def scope(self) -> Scope:
        """The same. Raises StaleReadingError too, if a server that the rule names isn't configured."""
        if self.rule.servers is not None:
            configured = {state.server.name for state in self.context.snapshot.servers}
            unknown = sorted(self.rule.servers - configured)
            if unknown:
                raise StaleReadingError(f"no beanstalkd named {' or '.join(map(repr, unknown))} is configured")
        return super().scope

    @property
    def definition(self) -> Definition:
        rule = self.rule
        per = " and ".join(sorted(rule.per))
        meaning = f"{rule.formula.text}, {f'for each {per} by itself' if per else 'over all its tubes and servers'}."
        policy = policy_text(rule.on_failure)
        return Definition(
            rule.name,
            meaning,
            rule.tubes,
            rule.formula.text,
            rule.per,
            policy,
            unit=rule.unit or rule.formula.unit,
            built_in=False,
            namespaces=rule.namespaces,
        )

    def values(self) -> Sequence[MetricValue]:
        """Return the values, or what the failure policy says. Raises MetricError."""
        try:
            return super().values()
        except NoValueError as error:
            return (self._substitute(error),)

    def calculations(self, shown: int) -> tuple[Sequence[MetricValue], Sequence[str]]:
        """Return the values and their arithmetic, or what the failure policy says. Raises MetricError."""
        try:
            return super().calculations(shown)
        except NoValueError as error:
            value = self._substitute(error)
            return (value,), (f"{value.quantity} instead: {error}",)

    def _substitute(self, error: NoValueError) -> MetricValue:
        """Return the policy's value. Raises the error with the policy's name if it has none."""
        policy = self.rule.on_failure
        if isinstance(policy, Substitute):  # without labels: rules_file.py refuses it together with `per`
            return MetricValue(self.query.metric, {}, format_quantity(policy.value), self.context.now)
        if not (isinstance(policy, Hold) and isinstance(error, StaleReadingError)):
            state = f"is {policy_text(policy)}"
        elif error.age_s is None:
            state = f"({policy_text(policy)}) has no reading to hold since beanscale started"
        else:
            state = f"({policy_text(policy)}) expired {error.age_s - self.context.limit_s:.0f} s ago"
        raise type(error)(f"{error}; onFailure of {self.rule.name} {state}", error.age_s) from error


def _is_paused(server: ServerReading, tube: str) -> bool:
    stats = server.reading.tubes.get(tube)
    return stats is not None and stats.is_paused


def policy_text(policy: OnFailure) -> str:
    """Return a failure policy as in values.yaml: `fail`, `hold 5m`, `value 10`."""
    match policy:
        case Hold(seconds):
            return f"hold {duration_value(seconds)}"
        case Substitute(value):
            return f"value {format_quantity(value)}"
    return "fail"


def _groups(parts: Sequence[_Part], per: frozenset[Label]) -> Iterator[_Group]:
    """Yield the parts as the labels in `per` divide them, sorted."""
    if Label.SERVER in per:
        by_server = [({"server": part[0].state.server.name}, [part]) for part in parts]
    else:
        by_server = [({}, list(parts))]
    for labels, members in by_server:
        if Label.TUBE not in per:
            yield _Group(labels, members)
            continue
        for tube in sorted(set(chain.from_iterable(tubes for _, tubes in members))):
            yield _Group({**labels, "tube": tube}, [(server, (tube,)) for server, _ in members])
