"""Which tubes an autoscaler goes by. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.autoscaling.autoscaler import EXTERNAL, Autoscaler, Metric
from app.metrics.demanded import demanded
from app.metrics.question import Evaluation, Question
from app.metrics.rule import Glob
from app.metrics.selector import SelectorError, parse_selector
from app.settings import ObjectName


@dataclass(frozen=True, slots=True)
class AutoscalerLink:
    """An autoscaler and the tubes of one of its metrics."""

    autoscaler: ObjectName
    tubes: Glob
    servers: frozenset[str] | None = None
    """By name; None: all."""

    def is_about(self, server: str, tube: str) -> bool:
        """Whether the autoscaler goes by this tube."""
        return (self.servers is None or server in self.servers) and self.tubes.matches(tube)


def question_of(autoscaler: Autoscaler, metric: Metric) -> Question | None:
    """What it asks for; None of a metric that isn't external, or whose selector nobody understands."""
    if metric.source != EXTERNAL:
        return None
    try:
        return Question(metric.name, autoscaler.namespace, parse_selector(metric.selector))
    except SelectorError:
        return None


def links_of(autoscalers: Iterable[Autoscaler], given: Evaluation) -> Sequence[AutoscalerLink]:
    """All of them. Those that go by every tube there is, are about none."""
    return [link for autoscaler in autoscalers for link in _links(autoscaler, given)]


def _links(autoscaler: Autoscaler, given: Evaluation) -> Iterator[AutoscalerLink]:
    name = ObjectName(autoscaler.namespace, autoscaler.name)
    for metric in autoscaler.metrics:
        question = question_of(autoscaler, metric)
        if question is None:
            continue
        rule = given.rules.asked_by(question.namespace, question.metric.lower())
        if rule is not None and "*" not in rule.tubes.patterns:
            yield AutoscalerLink(name, rule.tubes, rule.servers)
        elif tubes := demanded(question, given).tubes:
            yield AutoscalerLink(name, Glob(tuple(tubes)))
