"""A rule's values: its fields combined over tubes and servers, then its formula, once for each group.

What a rule says for the time when there is no value: fail, let the last good readings count on, or say a number.

Held is what is known: the poller keeps the last good reading, so there is no second memory, and none after a restart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from operator import attrgetter

from app.clock import Instant
from app.metrics.freshness import ReadServer, stale
from app.metrics.metric import Evaluation, MetricValue, NoResultError, NoValueError, Question, StaleReadingError
from app.metrics.rates import check_number_of_ages, growth, next_job_age, per_second, whole_seconds
from app.metrics.rules import COUNTED, NEXT_JOB_AGE, RATES, TIMES, FormulaError, Hold, Instead, OnFailure, Rule
from app.metrics.selection import Group, leaves_tubes, span
from app.quantity import format_quantity

_Compute = Callable[[Rule, Question, Evaluation], tuple[MetricValue, ...]]


def under_policy(rule: Rule, question: Question, given: Evaluation, compute: _Compute) -> tuple[MetricValue, ...]:
    """What `compute` finds, or what the rule says where there is no value. Raises MetricError."""
    judged = judged_by(rule, given)
    try:
        return compute(rule, question, judged)
    except NoValueError as error:
        if isinstance(rule.on_failure, Instead):
            # Without labels: it never stands beside `per`, see rules_file.py.
            return (MetricValue(question.metric, {}, format_quantity(rule.on_failure.value), given.now),)
        raise type(error)(f"{error}; {_in_force(rule, error, judged)}", error.age_s) from error


def judged_by(rule: Rule, given: Evaluation) -> Evaluation:
    """The same by the rule's own measure."""
    max_age_s = given.max_age_s if rule.max_age_s is None else rule.max_age_s
    hold_s = rule.on_failure.seconds if isinstance(rule.on_failure, Hold) else 0.0
    return replace(given, max_age_s=max_age_s, hold_s=hold_s)


def policy_text(policy: OnFailure) -> str:
    """As in values.yaml: `fail`, `hold 5m`, `value 10`."""
    match policy:
        case Hold(seconds):
            return f"hold {duration_text(seconds)}"
        case Instead(value):
            return f"value {format_quantity(value)}"
    return "fail"


def duration_text(seconds: float) -> str:
    """As Kubernetes writes one: `5m`, `1m30s`, `2h`, `0.5s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(minutes) + [f"{rest:g}s"] * bool(rest)
    return "".join(parts) or "0s"


def _in_force(rule: Rule, error: NoValueError, judged: Evaluation) -> str:
    said = f"onFailure of {rule.name} is {policy_text(rule.on_failure)}"
    if not (isinstance(rule.on_failure, Hold) and isinstance(error, StaleReadingError)):
        return said
    if error.age_s is None:
        return f"{said}, and since beanscale started there was no reading that it may hold"
    return f"{said}, which ended {error.age_s - judged.limit_s:.0f} s ago"


_monotonic = attrgetter("monotonic_s")


@dataclass(frozen=True, slots=True)
class Combined:
    """What one item is computed from."""

    labels: Mapping[str, str]
    fields: Mapping[str, Fraction]
    """Those that the formula names."""
    answered_at: Instant
    """The oldest."""
    window_s: int | None


def values_of_rule(rule: Rule, question: Question, given: Evaluation) -> tuple[MetricValue, ...]:
    """Without the rule's policy. Raises MetricError."""
    return tuple(_value(rule, item, question, given) for item in combined(rule, question, given))


def combined(rule: Rule, question: Question, given: Evaluation) -> Iterator[Combined]:
    """The items that the selector leaves, not yet computed. Raises MetricError."""
    spanned = span(rule, question, given)
    selector = question.selector
    groups = [group for group in spanned.groups(given) if selector.matches(group.labels)]
    if not groups and spanned.named is None and leaves_tubes(selector):
        groups = [group for group in spanned.groups_of_none(given) if selector.matches(group.labels)]
    if NEXT_JOB_AGE in rule.formula.fields:
        _check_number(rule, groups)
    return (_combined(rule, group, given, by_listing=spanned.named is None) for group in groups)


def result(rule: Rule, item: Combined) -> Fraction:
    """What the formula makes of it. Raises NoResultError."""
    try:
        return rule.formula.value(item.fields)
    except FormulaError as error:
        of_item = " and ".join(f"{key} {value!r}" for key, value in item.labels.items())
        raise NoResultError(f"{rule.name} has no value{of_item and ' for ' + of_item}: {error}") from error


def _value(rule: Rule, item: Combined, question: Question, given: Evaluation) -> MetricValue:
    over_s = item.answered_at.age_s(given.now) - given.max_age_s
    return MetricValue(
        question.metric,
        item.labels,
        format_quantity(result(rule, item)),
        item.answered_at,
        item.window_s,
        over_s if given.hold_s and over_s > 0 else None,
    )


def _check_number(rule: Rule, groups: Iterable[Group]) -> None:
    tubes = {tube for group in groups for part in group.parts for tube in part.tubes}
    check_number_of_ages(rule.name, len(tubes))


def _combined(rule: Rule, group: Group, given: Evaluation, *, by_listing: bool) -> Combined:
    wanted, answers = rule.formula.fields, list(_answers(group, given, by_listing=by_listing))
    fields, growths = _counted(wanted, group), []
    for rate in RATES & wanted:
        grown = [growth(rate, server, tube, given) for server, tube in _each(group)]
        fields[rate] = per_second(grown)
        growths += grown
    if NEXT_JOB_AGE in wanted:
        ages = [next_job_age(server, tube, given) for server, tube in _each(group)]
        fields[NEXT_JOB_AGE] = Fraction(max((age.age_s for age in ages), default=0))
        answers += [age.answered_at for age in ages]
    window_s = whole_seconds(max(grown.window_ms for grown in growths)) if growths else None
    return Combined(group.labels, fields, min(answers, key=_monotonic), window_s)


def _counted(wanted: Set[str], group: Group) -> dict[str, Fraction]:
    each = chain.from_iterable(map(server.reading.tubes.get, tubes) for server, tubes in group.parts)
    stats = [found for found in each if found]
    sums = {field: sum(map(COUNTED[field], stats)) for field in wanted & COUNTED.keys()}
    longest = {field: max(map(TIMES[field], stats), default=0) for field in wanted & TIMES.keys()}
    return {field: Fraction(number) for field, number in (sums | longest).items()}


def _answers(group: Group, given: Evaluation, *, by_listing: bool) -> Iterator[Instant]:
    """Of each server its oldest; where the tubes are those of a listing, that too. Raises StaleReadingError."""
    oldest_s = given.now.monotonic_s - given.limit_s
    for server, tubes in group.parts:
        answers = list(map(server.reading.answered_at, tubes))
        if answers:
            oldest = min(answers, key=_monotonic)
            if oldest.monotonic_s < oldest_s:
                raise stale(server.state, server.reading, tubes[answers.index(oldest)], given)
            yield oldest
        if by_listing and "tube" not in group.labels:
            yield server.reading.listed_at


def _each(group: Group) -> Iterator[tuple[ReadServer, str]]:
    return ((server, tube) for server, tubes in group.parts for tube in tubes)
