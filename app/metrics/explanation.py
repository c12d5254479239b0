"""Why a metric has the values that it has: rule, readings and arithmetic, or the error. As JSON, for people.

What is known of servers and tubes, for people: each number with its age, and no judgement.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from app.beanstalkd.reading import ServerState
from app.clock import Instant, rfc3339
from app.metrics.built_in import ALL_TUBES, MEANINGS, RULES, SIGNALS, Signal, Sum, rule_of_tube
from app.metrics.freshness import ReadServer, reason
from app.metrics.metric import Evaluation, MetricError, MetricValue, NoValueError, Question, UnknownMetricError
from app.metrics.rates import growth, next_job_age, per_second
from app.metrics.resolve import evaluate, rule_asked, servers_spanned, unknown
from app.metrics.rule import combined, judged_by, policy_text, result
from app.metrics.rules import COUNTED, NEXT_JOB_AGE, RATES, TIMES, Glob, Label, Rule
from app.metrics.selection import Span, span
from app.metrics.selector import Selector
from app.metrics.signal import NO_TUBE
from app.metrics.tenancy import patterns_seen, sight
from app.metrics.tube import names_a_tube, tube_meant
from app.quantity import show_number

Json = Mapping[str, Any]


def of_server(state: ServerState, named: Sequence[str] | None, given: Evaluation) -> Json:
    """One server; its age is that of its oldest answer about the tubes that are named, or of its listing."""
    age_s = _age_s(state, named, given)
    return {
        "name": state.server.name,
        "address": state.server.address,
        "fresh": age_s is not None and age_s <= given.max_age_s,
        "ageSeconds": rounded(age_s),
        "failure": reason(state, given),
        "failingForSeconds": rounded(state.failure.since.age_s(given.now)) if state.failure else None,
    }


def of_tube(server: ReadServer, tube: str, given: Evaluation) -> Json:
    """One tube of one server, whether it exists or not."""
    stats = server.reading.tubes.get(tube)
    left_s = stats.pause_time_left if stats else 0
    return {
        "server": server.state.server.name,
        "tube": tube,
        "exists": stats is not None,
        "ageSeconds": rounded(server.reading.answered_at(tube).age_s(given.now)),
        "fields": dict(_fields(server, tube, given)),
        "paused": left_s > 0,
        "pauseSecondsLeft": left_s,
    }


def rounded(number: float | Fraction | None) -> float | int | None:
    """For people: three decimals, and none where there are none."""
    if number is None:
        return None
    written = round(float(number), 3)
    return int(written) if written.is_integer() else written


def _age_s(state: ServerState, named: Sequence[str] | None, given: Evaluation) -> float | None:
    reading = state.reading
    if reading is None:
        return None
    answers: Sequence[Instant] = [reading.answered_at(tube) for tube in named or ()]
    return max(answered_at.age_s(given.now) for answered_at in answers or [reading.listed_at])


def _fields(server: ReadServer, tube: str, given: Evaluation) -> Iterator[tuple[str, float | int | None]]:
    """By short name; rates and age where they are known."""
    stats = server.reading.tubes.get(tube)
    for field, number in (*COUNTED.items(), *TIMES.items()):
        yield field, number(stats) if stats else 0
    for rate in sorted(RATES):
        with suppress(NoValueError):
            yield rate, rounded(per_second([growth(rate, server, tube, given)]))
    with suppress(NoValueError):
        yield NEXT_JOB_AGE, next_job_age(server, tube, given).age_s


MOST_SHOWN = 100
"""Tubes, and items."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """A metric as the rule that it is or would be."""

    rule: Rule
    meaning: str
    built_in: bool = True
    signal: Signal | None = None
    tube: str | None = None
    """The only one that it is about."""

    @property
    def formula(self) -> str:
        return ", ".join(self.signal.fields) if self.signal else self.rule.formula.text

    @property
    def per(self) -> Sequence[str]:
        kept = {str(label) for label in self.rule.per}
        return sorted(kept | {self.signal.label} if self.signal and self.signal.label else kept)


def explanation(question: Question, selector: str, given: Evaluation) -> Json:
    """The facts about one answer, an error of the metric among them. `selector` is the question's as it was written."""
    told: dict[str, Any] = {
        "metric": question.metric,
        "namespace": question.namespace,
        "selector": selector,
        "now": rfc3339(given.now),
        "rule": None,
        "servers": [of_server(state, None, given) for state in servers_spanned(question, given)],
        "tubes": [],
        "tubesOmitted": 0,
        "items": [],
        "itemsOmitted": 0,
        "error": None,
    }
    try:
        subject = _subject(question, given)
        judged = judged_by(subject.rule, given)
        seen = sight(question, given) if subject.rule.namespaces is None else None
        told["rule"] = _rule(subject, seen, judged)
        wrong = _tell_readings(told, subject, question, judged, seen)
        told |= _items(subject, question, given)  # which has the first word on what is wrong
        if wrong is not None and not told["items"]:
            raise wrong
    except MetricError as error:
        near = list(error.near) if isinstance(error, UnknownMetricError) else []
        told["error"] = {"reason": error.reason, "message": str(error), "near": near}
    return told


def _subject(question: Question, given: Evaluation) -> _Subject:
    name = question.metric.lower()
    rule = rule_asked(question, given)
    if rule is not None:
        return _Subject(rule, _meaning(rule), built_in=False)
    if names_a_tube(name):
        tube = tube_meant(question, given, sight(question, given))
        rule = rule_of_tube(question.metric, tube)
        return _Subject(rule, "Jobs ready and reserved in the tube, over all servers.", tube=tube)
    if name in SIGNALS:
        per = frozenset({Label.SERVER, Label.TUBE})
        rule = Rule(name, ALL_TUBES, Sum.of(*SIGNALS[name].fields), per=per)
        return _Subject(rule, MEANINGS[name], signal=SIGNALS[name])
    if name in RULES:
        return _Subject(RULES[name], MEANINGS[name])
    raise unknown(question, given)


def _meaning(rule: Rule) -> str:
    if not rule.per:
        return f"{rule.formula.text}, over all its tubes and servers."
    return f"{rule.formula.text}, for each {' and '.join(sorted(rule.per))} by itself."


def _rule(subject: _Subject, seen: Glob | None, judged: Evaluation) -> Json:
    rule = subject.rule
    servers = dict.fromkeys(state.server.name for state in judged.snapshot.servers)
    return {
        "name": rule.name,
        "builtIn": subject.built_in,
        "meaning": subject.meaning,
        "tubes": list(patterns_seen(rule.tubes, seen)),
        "servers": [server for server in servers if rule.servers is None or server in rule.servers],
        "formula": subject.formula,
        "per": subject.per,
        "onFailure": policy_text(rule.on_failure),
        "maxAgeSeconds": rounded(judged.max_age_s),
        "namespaces": None if rule.namespaces is None else list(rule.namespaces.patterns),
    }


def _asked_of(subject: _Subject, question: Question) -> Question:
    """As a rule is asked: without `state`, which is no rule's label; about one tube, without what leaves it in."""
    parts = question.selector.requirements
    if subject.tube is not None and question.selector.matches({"tube": subject.tube}):
        parts = ()
    kept = tuple(part for part in parts if part.key in {"address", "server", "tube"})
    return Question(question.metric, question.namespace, Selector(kept))


def _tell_readings(
    told: dict[str, Any], subject: _Subject, question: Question, judged: Evaluation, seen: Glob | None
) -> MetricError | None:
    """Adds them, or returns why the question is about none."""
    try:
        told |= _readings(span(subject.rule, _asked_of(subject, question), judged), seen, judged)
    except MetricError as error:
        return error
    return None


def _readings(spanned: Span, seen: Glob | None, judged: Evaluation) -> Json:
    servers = [ReadServer(state, state.reading) for state in spanned.states if state.reading]
    tubes = [(tube, server) for server in servers for tube in spanned.tubes_of(server)]
    told = sorted((pair for pair in tubes if seen is None or seen.matches(pair[0])), key=lambda pair: pair[0])
    return {
        "servers": [of_server(state, spanned.named, judged) for state in spanned.states],
        "tubes": [of_tube(server, tube, judged) for tube, server in told[:MOST_SHOWN]],
        "tubesOmitted": max(0, len(told) - MOST_SHOWN),
    }


def _items(subject: _Subject, question: Question, given: Evaluation) -> Json:
    values = evaluate(question, given)
    shown = values[:MOST_SHOWN]
    arithmetic = _arithmetic(subject, shown, question, given)
    return {
        "items": [_item(value, how) for value, how in zip(shown, arithmetic, strict=True)],
        "itemsOmitted": len(values) - len(shown),
    }


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


def _arithmetic(
    subject: _Subject, values: Sequence[MetricValue], question: Question, given: Evaluation
) -> Sequence[str]:
    """Of each value."""
    rule = subject.rule
    if subject.signal:
        return _of_signal(subject.signal, values, given)
    if not values:
        return []
    plain = [value.quantity for value in values]
    try:
        items = list(combined(rule, _asked_of(subject, question), judged_by(rule, given)))
        for item in items:
            result(rule, item)
    except NoValueError as error:
        return [f"{quantity} instead: {error}" for quantity in plain]
    shown = [rule.formula.shown(item.fields) for item in items]
    return shown[: len(values)] or plain


def _of_signal(signal: Signal, values: Sequence[MetricValue], given: Evaluation) -> Sequence[str]:
    if signal.fields[0] not in RATES:
        return [value.quantity for value in values]
    servers = [ReadServer(state, state.reading) for state in given.snapshot.servers if state.reading]
    by_labels: dict[tuple[str, ...], ReadServer] = {(server.state.server.name,): server for server in servers}
    return [_pace(signal.fields[0], value, by_labels, given) for value in values]


def _pace(rate: str, value: MetricValue, servers: Mapping[tuple[str, ...], ReadServer], given: Evaluation) -> str:
    of_server = tuple(value.labels[label] for label in value.labels if label != "tube")
    gained, window_ms = growth(rate, servers[of_server], value.labels.get("tube", NO_TUBE), given)
    return f"{gained} / {show_number(Fraction(window_ms, 1000))}"
