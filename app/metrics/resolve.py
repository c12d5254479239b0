"""Which tubes a question names: they are read every second, however many others there are.

Which metrics there are: for discovery, which tells everybody the same, and for whoever misspelt one.

From a metric's name and a selector to its values: pure, and no slower for ten thousand tubes than for one.

A tube that no server names holds 0 jobs, because beanstalkd forgets an empty tube that nobody uses; but only where
every server that the metric spans has a fresh reading. Everything else that isn't known is an error, never a number.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter

from app.beanstalkd.reading import Reading, ServerState, Snapshot
from app.metrics.built_in import NAMES, RULES, SIGNALS, TUBE_JOBS, TUBE_PREFIX
from app.metrics.freshness import ReadServer
from app.metrics.metric import Evaluation, MetricError, MetricValue, Question, UnknownMetricError
from app.metrics.rates import MOST_AGES
from app.metrics.rule import under_policy, values_of_rule
from app.metrics.rules import NEXT_JOB_AGE, Glob, Rule, Rules
from app.metrics.selection import Span, span, tubes_named
from app.metrics.signal import values_of_signal
from app.metrics.tenancy import sight
from app.metrics.tube import jobs_of_tube, names_a_tube, tube_meant

_MOST_TUBES = 50
_PREFIX = re.compile(r"\Atubes?[-_]")
_NEIGHBOURS = 25
"""Tubes before and after a misspelt one, by name: all of ten thousand would take a second to compare."""


def metric_names(snapshot: Snapshot, rules: Rules) -> list[str]:
    """What discovery lists: built-in metrics, rules that are everybody's, and the first tubes, unless some are hidden.

    Discovery has no namespace: what isn't for all of them stays out of it.
    """
    public = sorted(rule.name for rule in rules.metrics.values() if rule.is_for_all)
    tubes = () if rules.tenancy else islice(_metrics_of_tubes(snapshot), _MOST_TUBES)
    return list(dict.fromkeys([*NAMES, *public, *tubes]))


def unknown(question: Question, given: Evaluation) -> UnknownMetricError:
    """What is said of a name that no metric has, with the near ones of those that the namespace may ask for."""
    seen = sight(question, given)
    rules = [rule.name for rule in given.rules.metrics.values() if rule.is_for(question.namespace)]
    names = dict.fromkeys([*NAMES, *rules, *_tubes_near(question.metric, given.snapshot, seen)])
    near = get_close_matches(question.metric.lower(), names, n=3)
    advice = (
        f"did you mean {' or '.join(near)}?" if near else f"there is {TUBE_JOBS}, and {TUBE_PREFIX}NAME for each tube"
    )
    return UnknownMetricError(f"there is no metric {question.metric}; {advice}", tuple(near))


def _metrics_of_tubes(snapshot: Snapshot) -> Iterator[str]:
    """Sorted, of tubes that can stand in a resource's name."""
    tubes = map(itemgetter(0), groupby(merge(*(reading.names for reading in _readings(snapshot)))))
    return (TUBE_PREFIX + tube for tube in tubes if tube == tube.lower() and "/" not in tube)


def _tubes_near(metric: str, snapshot: Snapshot, seen: Glob | None) -> Iterator[str]:
    likely = _PREFIX.sub("", metric.lower())
    for reading in _readings(snapshot):
        at = bisect_left(reading.names, likely)
        near = reading.names[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
        first = reading.names[:_NEIGHBOURS]
        for tube in chain(near, first):
            if "/" not in tube and (seen is None or seen.matches(tube)):
                yield TUBE_PREFIX + tube.lower()


def _readings(snapshot: Snapshot) -> Iterable[Reading]:
    return (state.reading for state in snapshot.servers if state.reading)


FEW_TUBES = 100
"""An answer about so many takes about a millisecond."""


def evaluate(question: Question, given: Evaluation) -> tuple[MetricValue, ...]:
    """The values of one metric that match. Raises MetricError."""
    name = question.metric.lower()
    rule = rule_asked(question, given)
    if rule is not None:
        if rule.namespaces is None and given.rules.tenancy:  # whom it names, the rule itself lets see
            given = replace(given, tellable=sight(question, given))
        return under_policy(rule, question, given, values_of_rule)
    if names_a_tube(name):
        return jobs_of_tube(question, given)
    if name in SIGNALS:
        return values_of_signal(SIGNALS[name], question, given)
    if name in RULES:
        return values_of_rule(RULES[name], question, given)
    raise unknown(question, given)


def rule_asked(question: Question, given: Evaluation) -> Rule | None:
    """The operator's own of this name, where the question's namespace may ask for it."""
    return given.rules.asked_by(question.namespace, question.metric.lower()) if given.rules.metrics else None


def may_be_long(question: Question, given: Evaluation) -> bool:
    """Whether the answer is about many tubes: it names none, or many."""
    name = question.metric.lower()
    rule = rule_asked(question, given) or RULES.get(name)
    if rule is None and name not in SIGNALS:
        return False
    pinned = question.selector.pinned("tube")
    if pinned is not None:
        return len(pinned) > FEW_TUBES
    if rule is not None and rule.tubes.is_exact:
        return len(rule.tubes.exact) > FEW_TUBES
    return any(len(state.reading.names) > FEW_TUBES for state in given.snapshot.servers if state.reading)


def servers_spanned(question: Question, given: Evaluation) -> Sequence[ServerState]:
    """All that the metric is about, whatever the selector."""
    rule = rule_asked(question, given)
    states = given.snapshot.servers
    if rule is None or rule.servers is None:
        return states
    return [state for state in states if state.server.name in rule.servers]


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
