"""Which tubes a question names: they are read every second, however many others there are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from app.metrics.ages import MOST_AGES
from app.metrics.built_in import RULES, SIGNALS
from app.metrics.fields import NEXT_JOB_AGE
from app.metrics.freshness import ReadServer
from app.metrics.narrowing import tubes_named
from app.metrics.outcome import MetricError
from app.metrics.question import Evaluation, Question
from app.metrics.rule import Rule, Rules
from app.metrics.span import Span, span
from app.metrics.tenancy import sight
from app.metrics.tube_jobs import names_a_tube, tube_meant


@dataclass(frozen=True, slots=True)
class Demanded:
    """Tubes by exact name."""

    tubes: Sequence[str] = ()
    ages: Sequence[str] = ()
    """Those of them whose next job's age is wanted too."""


_NOTHING = Demanded()


def demanded(question: Question, given: Evaluation) -> Demanded:
    """What somebody wants to know; nothing where the question is wrong, or about what its namespace may not see."""
    try:
        return _demanded(question, given)
    except MetricError:
        return _NOTHING


def demanded_by_rules(rules: Rules) -> Demanded:
    """What is wanted all the time, whoever asks: the tubes that rules name exactly."""
    of_ages = [rule for rule in rules.metrics.values() if NEXT_JOB_AGE in rule.formula.fields]
    return Demanded(_exact(rules.metrics.values()), _exact(of_ages))


def _exact(rules: Iterable[Rule]) -> Sequence[str]:
    return tuple(dict.fromkeys(chain.from_iterable(rule.tubes.exact for rule in rules)))


def _demanded(question: Question, given: Evaluation) -> Demanded:
    name = question.metric.lower()
    rule = given.rules.asked_by(question.namespace, name) or RULES.get(name)
    if rule is not None:
        return _by_rule(rule, question, given)
    seen = sight(question, given)
    if names_a_tube(name):
        tube = tube_meant(question, given, seen)
        return Demanded((tube,)) if seen is None or seen.matches(tube) else _NOTHING
    signal, tubes = SIGNALS.get(name), tubes_named(question.selector)
    if signal is None or tubes is None:
        return _NOTHING
    tubes = tubes if seen is None else seen.of(tubes)
    return Demanded(tubes, tubes if NEXT_JOB_AGE in signal.fields and len(tubes) <= MOST_AGES else ())


def _by_rule(rule: Rule, question: Question, given: Evaluation) -> Demanded:
    spanned = span(rule, question, given)
    tubes = rule.tubes.exact if spanned.named is None else spanned.named
    return Demanded(tubes, _few(spanned) if NEXT_JOB_AGE in rule.formula.fields else ())


def _few(spanned: Span) -> Sequence[str]:
    """All that it spans, unless they are too many to be answered."""
    servers = [ReadServer(state, state.reading) for state in spanned.states if state.reading]
    each = [spanned.tubes_of(server) for server in servers] if spanned.named is None else [spanned.named]
    if any(len(tubes) > MOST_AGES for tubes in each):
        return ()
    tubes = sorted(set(chain.from_iterable(each)))
    return tubes if len(tubes) <= MOST_AGES else ()
