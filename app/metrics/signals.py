"""A tube's own numbers: an item for each server and tube, as many as the selector leaves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from app.clock import Instant
from app.metrics.ages import next_job_age
from app.metrics.built_in import Signal
from app.metrics.fields import COUNTED, NEXT_JOB_AGE, RATES
from app.metrics.freshness import Source, fresh_sources, stale
from app.metrics.matches import matches
from app.metrics.narrowing import check_labels, check_value, labels_of, left_in, may_be, server_labels, tubes_named
from app.metrics.outcome import MetricValue, TooManyTubesError
from app.metrics.quantity import format_quantity
from app.metrics.question import Evaluation, Question
from app.metrics.rates import growth, per_second, whole_seconds
from app.metrics.rule import Glob
from app.metrics.selector import Selector
from app.metrics.tenancy import check_seen, sight
from app.tubes.snapshot import ServerState


def values_of_signal(signal: Signal, question: Question, given: Evaluation) -> tuple[MetricValue, ...]:
    """Raises MetricError."""
    selector, seen = question.selector, sight(question, given)
    states: Sequence[ServerState] = given.snapshot.servers
    check_labels(signal.name, selector, server_labels(states).union({"tube"}, [signal.label] if signal.label else []))
    states = left_in(signal.name, selector, states)
    items = _Items(signal, _left_in(signal, question), selector, given)
    named = tubes_named(selector)
    if named is not None:
        check_seen(named, seen, question)
        return tuple(value for source in fresh_sources(states, named, given) for value in items.of(source, named))
    if NEXT_JOB_AGE in signal.fields:
        raise TooManyTubesError(
            f"{signal.name} is read only for tubes that are named; name them, as with matchLabels {{tube: …}}"
        )
    sources = fresh_sources(states, None, given)
    return tuple(value for source in sources for value in items.of(source, _listed(source, seen)))


def _left_in(signal: Signal, question: Question) -> Sequence[str]:
    """The fields that the selector leaves in."""
    label = signal.label
    if label is None:
        return signal.fields
    check_value(signal.name, question.selector, label, signal.fields)
    return [field for field in signal.fields if may_be(question.selector, label, {label: field})]


def _listed(source: Source, seen: Glob | None) -> Sequence[str]:
    return source.reading.names if seen is None else matches.of(seen, *source)


@dataclass(frozen=True, slots=True)
class _Items:
    signal: Signal
    fields: Sequence[str]
    selector: Selector
    given: Evaluation

    def of(self, source: Source, tubes: Sequence[str]) -> Iterator[MetricValue]:
        """One server's. Raises NoValueError."""
        oldest_s = self.given.now.monotonic_s - self.given.limit_s
        of_server = labels_of(source.state)
        label, kinds = self.signal.label, [(field, _AMOUNTS[field]) for field in self.fields]
        for tube in tubes:
            for field, amount in kinds:
                labels = {**of_server, label: field, "tube": tube} if label else {**of_server, "tube": tube}
                if self.selector.matches(labels):
                    number, answered_at, window_s = amount(field, source, tube, self.given)
                    if answered_at.monotonic_s < oldest_s:
                        raise stale(source.state, source.reading, tube, self.given)
                    yield MetricValue(self.signal.name, labels, format_quantity(number), answered_at, window_s)


_Amount = tuple[int | Fraction, Instant, int | None]
"""Number, when beanstalkd said so, and a rate's window in whole seconds."""


def _counted(field: str, source: Source, tube: str, _: Evaluation) -> _Amount:
    stats = source.reading.tubes.get(tube)
    return COUNTED[field](stats) if stats else 0, source.reading.answered_at(tube), None


def _rate(field: str, source: Source, tube: str, given: Evaluation) -> _Amount:
    gained = growth(field, source, tube, given)
    return per_second([gained]), source.reading.answered_at(tube), whole_seconds(gained.window_ms)


def _age(_: str, source: Source, tube: str, given: Evaluation) -> _Amount:
    age = next_job_age(source, tube, given)
    return age.age_s, age.answered_at, None


_AMOUNTS: Mapping[str, Callable[[str, Source, str, Evaluation], _Amount]] = {
    **dict.fromkeys(COUNTED, _counted),
    **dict.fromkeys(RATES, _rate),
    NEXT_JOB_AGE: _age,
}
"""Field → how it is read."""
