"""A tube's own numbers: an item for each server and tube, as many as the selector leaves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from app.beanstalkd.reading import ServerState
from app.clock import Instant
from app.metrics.built_in import Signal
from app.metrics.freshness import ReadServer, fresh_servers, stale
from app.metrics.metric import Evaluation, MetricValue, Question, TooManyTubesError
from app.metrics.rates import check_number_of_ages, growth, next_job_age, per_second, whole_seconds
from app.metrics.rules import COUNTED, NEXT_JOB_AGE, RATES, Glob
from app.metrics.selection import (
    check_labels,
    check_value,
    leaves_tubes,
    left_in,
    matches,
    may_be,
    tubes_named,
)
from app.metrics.selector import Selector
from app.metrics.tenancy import check_seen, check_sees_any, sight
from app.quantity import format_quantity

NO_TUBE = ""
"""What is said where no tube is there: an item without a tube's label, since autoscalers scale in by a 0."""


def values_of_signal(signal: Signal, question: Question, given: Evaluation) -> tuple[MetricValue, ...]:
    """Raises MetricError."""
    selector, seen = question.selector, sight(question, given)
    states: Sequence[ServerState] = given.snapshot.servers
    check_labels(signal.name, selector, {"server", "tube", *([signal.label] if signal.label else [])})
    states = left_in(signal.name, selector, states)
    items = _Items(signal, _left_in(signal, question), selector, given)
    named = tubes_named(selector)
    if named is not None:
        check_seen(named, seen, question)
        if NEXT_JOB_AGE in signal.fields:
            check_number_of_ages(signal.name, len(named))
        return tuple(value for server in fresh_servers(states, named, given) for value in items.of(server, named))
    check_sees_any(seen, question)
    if NEXT_JOB_AGE in signal.fields:
        raise TooManyTubesError(
            f"{signal.name} is read only for tubes that are named; name them, as with matchLabels {{tube: …}}"
        )
    servers = fresh_servers(states, None, given)
    values = tuple(value for server in servers for value in items.of(server, _listed(server, seen)))
    if values or not leaves_tubes(selector):
        return values
    return tuple(value for server in servers for value in items.of(server, [NO_TUBE]))


def _left_in(signal: Signal, question: Question) -> Sequence[str]:
    """The fields that the selector leaves in."""
    label = signal.label
    if label is None:
        return signal.fields
    check_value(signal.name, question.selector, label, signal.fields)
    return [field for field in signal.fields if may_be(question.selector, label, {label: field})]


def _listed(server: ReadServer, seen: Glob | None) -> Sequence[str]:
    return server.reading.names if seen is None else matches.of(seen, *server)


@dataclass(frozen=True, slots=True)
class _Items:
    signal: Signal
    fields: Sequence[str]
    selector: Selector
    given: Evaluation

    def of(self, server: ReadServer, tubes: Sequence[str]) -> Iterator[MetricValue]:
        """One server's. Raises NoValueError."""
        oldest_s = self.given.now.monotonic_s - self.given.limit_s
        of_server = {"server": server.state.server.name}
        label, kinds = self.signal.label, [(field, _AMOUNTS[field]) for field in self.fields]
        for tube in tubes:
            for field, amount in kinds:
                of_tube = {"tube": tube} if tube else {}
                labels = {**of_server, label: field, **of_tube} if label else {**of_server, **of_tube}
                if self.selector.matches(labels):
                    number, answered_at, window_s = amount(field, server, tube, self.given)
                    if answered_at.monotonic_s < oldest_s:
                        raise stale(server.state, server.reading, tube, self.given)
                    yield MetricValue(self.signal.name, labels, format_quantity(number), answered_at, window_s)


_Amount = tuple[int | Fraction, Instant, int | None]
"""Number, when beanstalkd said so, and a rate's window in whole seconds."""


def _counted(field: str, server: ReadServer, tube: str, _: Evaluation) -> _Amount:
    stats = server.reading.tubes.get(tube)
    return COUNTED[field](stats) if stats else 0, server.reading.answered_at(tube), None


def _rate(field: str, server: ReadServer, tube: str, given: Evaluation) -> _Amount:
    gained = growth(field, server, tube, given)
    return per_second([gained]), server.reading.answered_at(tube), whole_seconds(gained.window_ms)


def _age(_: str, server: ReadServer, tube: str, given: Evaluation) -> _Amount:
    age = next_job_age(server, tube, given)
    return age.age_s, age.answered_at, None


_AMOUNTS: Mapping[str, Callable[[str, ReadServer, str, Evaluation], _Amount]] = {
    **dict.fromkeys(COUNTED, _counted),
    **dict.fromkeys(RATES, _rate),
    NEXT_JOB_AGE: _age,
}
"""Field → how it is read."""
