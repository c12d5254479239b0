"""From a metric's name and a selector to its values: pure, and no slower for ten thousand tubes than for one.

A tube that no server names holds 0 jobs, because beanstalkd forgets an empty tube that nobody uses; but only where
every server that the metric spans has a fresh reading. Everything else that isn't known is an error, never a number.
"""

from collections.abc import Sequence
from dataclasses import replace

from app.metrics.built_in import RULES, SIGNALS
from app.metrics.catalogue import unknown
from app.metrics.failures import under_policy
from app.metrics.outcome import MetricValue
from app.metrics.question import Evaluation, Question
from app.metrics.rule import Rule
from app.metrics.rule_values import values_of_rule
from app.metrics.signals import values_of_signal
from app.metrics.tenancy import sight
from app.metrics.tube_jobs import jobs_of_tube, names_a_tube
from app.tubes.snapshot import ServerState

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
