"""What was gathered, judged: each autoscaler's decision and conditions."""

from dataclasses import dataclass, replace

from app.autoscaling.conditions import Told, tell
from app.autoscaling.decision import Decision, decide
from app.autoscaling.wish import Missing
from app.explaining.explanation import Explanation
from app.explaining.findings import Finding, find
from app.explaining.gathering import Facts, Gathered


@dataclass(frozen=True, slots=True)
class JudgedMetric:
    """A metric for one selector."""

    explanation: Explanation
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class JudgedAutoscaler:
    """One autoscaler."""

    gathered: Gathered
    decision: Decision
    conditions: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that a page or a document says."""

    facts: Facts
    metrics: tuple[JudgedMetric, ...]
    autoscalers: tuple[JudgedAutoscaler, ...]


def judge(facts: Facts, now_unix_s: float) -> Verdict:
    """`now_unix_s` on the cluster's clock."""
    return Verdict(
        facts,
        tuple(JudgedMetric(explanation, find(explanation)) for explanation in facts.explanations),
        tuple(_judged(gathered, now_unix_s) for gathered in facts.autoscalers),
    )


def _judged(gathered: Gathered, now_unix_s: float) -> JudgedAutoscaler:
    decision = decide(gathered.autoscaler, gathered.scale, gathered.seen, now_unix_s)
    return JudgedAutoscaler(
        gathered, decision, tuple(_with_better_advice(told, gathered) for told in tell(gathered.autoscaler))
    )


def _with_better_advice(told: Told, gathered: Gathered) -> Told:
    """Of a metric that the autoscaler lacks we know more: we have just asked for it ourselves."""
    if told.condition.reason != "FailedGetExternalMetric":
        return told
    if any(isinstance(seen, Missing) for seen in gathered.seen):
        return replace(told, fix="we get no value either: the error above says why")
    return replace(
        told,
        fix="we get a value now, and so it should at its next look (every 15 s); if not, may its account read it?"
        " kubectl get clusterrolebinding | grep metrics-reader",
    )
