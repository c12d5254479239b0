"""What a rule says for the time when there is no value: fail, let the last good readings count on, or say a number.

Held is what is known: the poller keeps the last good reading, so there is no second memory, and none after a restart.
"""

from collections.abc import Callable
from dataclasses import replace

from app.metrics.outcome import MetricValue, NoValueError, StaleReadingError
from app.metrics.quantity import format_quantity
from app.metrics.question import Evaluation, Question
from app.metrics.rule import Hold, Instead, OnFailure, Rule

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
