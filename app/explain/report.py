"""What is noteworthy about a metric, its servers and its tubes: sentences for people, with what to do.

What was gathered, judged: each autoscaler's decision and conditions.

A verdict as JSON: the same facts and steps as the page, for programs and the console.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from app.explain.collect import Facts, Gathered
from app.explain.explanation import Explanation, ServerInfo, TubeInfo
from app.hpa.conditions import ConditionSummary, summarize
from app.hpa.decision import Decision, Missing, NotQueried, Observed, Step, Total, decide
from app.quantity import plain
from app.text import duration

_SHOWN = 3
"""Tubes of one kind of finding that are named."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them."""

    sentence: str
    fix: str
    """Empty where there is nothing to do."""


def find(explanation: Explanation) -> tuple[Finding, ...]:
    """What explains most comes first."""
    return (
        *_errors(explanation),
        *(_unread(server) for server in explanation.servers if not server.fresh),
        *_held(explanation),
        *(finding for kind in _KINDS for finding in _of_tubes(kind, explanation)),
    )


def _errors(explanation: Explanation) -> Iterator[Finding]:
    if explanation.error is None:
        return
    fix = f"did you mean {' or '.join(explanation.error.near)}?" if explanation.error.near else ""
    yield Finding(f"there is no value: {explanation.error.message}", fix)


def _unread(server: ServerInfo) -> Finding:
    why = server.failure or "its last reading is too old"
    since = f" for {duration(server.failing_for_s)}" if server.failing_for_s is not None else ""
    last = "it was never read" if server.age_s is None else f"it was last read {duration(server.age_s)} ago"
    return Finding(
        f"beanstalkd {server} at {server.address} can't be read{since}: {why}; {last}",
        "does it run, and do its address and the NetworkPolicies let the server's pods reach it?",
    )


def _held(explanation: Explanation) -> Iterator[Finding]:
    held = [item.held_for_s for item in explanation.items if item.held_for_s is not None]
    if held:
        yield Finding(
            f"the last good value is held for {duration(max(held))} already, as the rule's onFailure says"
            f" ({explanation.rule.on_failure if explanation.rule else 'hold'})",
            "",
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    applies: Callable[[Explanation, TubeInfo], bool]
    says: Callable[[TubeInfo], str]
    fix: str


def _of_tubes(kind: _Kind, explanation: Explanation) -> Iterable[Finding]:
    found = [tube for tube in explanation.tubes if tube.exists and kind.applies(explanation, tube)]
    for tube in found[:_SHOWN]:
        yield Finding(f"tube {tube.name} on {tube.server} {kind.says(tube)}", kind.fix)
    if len(found) > _SHOWN:
        yield Finding(f"the same goes for {len(found) - _SHOWN} tubes more", "")


def _paused(tube: TubeInfo) -> str:
    left = f" for another {duration(tube.pause_left_s)}" if tube.pause_left_s else ""
    return f"is paused{left}: nobody gets a job of it until then"


def _unwatched(_: Explanation, tube: TubeInfo) -> bool:
    return bool(tube.count("ready")) and tube.count("watching") == 0


def _all_delayed(explanation: Explanation, tube: TubeInfo) -> bool:
    formula = f"{explanation.rule.formula if explanation.rule else ''} {explanation.selector}"
    return (
        bool(tube.count("delayed")) and not (tube.count("ready") or tube.count("reserved")) and "delayed" not in formula
    )


_KINDS = (
    _Kind(lambda _, tube: tube.paused, _paused, "to end the pause now: pause-tube with 0 seconds"),
    _Kind(
        _unwatched,
        lambda tube: f"has {tube.count('ready')} jobs ready, and nobody watches it",
        "do its workers run, and watch a tube of exactly that name? (With 0 pods it is as it should be.)",
    ),
    _Kind(
        _all_delayed,
        lambda tube: f"has only delayed jobs ({tube.count('delayed')}): they count once their time has come",
        "",
    ),
    _Kind(
        lambda _, tube: bool(tube.count("buried")),
        lambda tube: f"has {tube.count('buried')} buried jobs, which no worker gets",
        "look at why their workers buried them; kick makes them ready again",
    ),
)


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
    conditions: tuple[ConditionSummary, ...]


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
        gathered, decision, tuple(_with_better_advice(told, gathered) for told in summarize(gathered.autoscaler))
    )


def _with_better_advice(told: ConditionSummary, gathered: Gathered) -> ConditionSummary:
    """Of a metric that the autoscaler lacks we know more: we have just asked for it ourselves."""
    if told.condition.reason != "FailedGetExternalMetric":
        return told
    if any(isinstance(seen, Missing) for seen in gathered.seen):
        return replace(told, hint="we get no value either: the error above says why")
    return replace(
        told,
        hint="we get a value now, and so it should at its next look (every 15 s); if not, may its account read it?"
        " kubectl get clusterrolebinding | grep metrics-reader",
    )


type Json = dict[str, Any]


def document(verdict: Verdict) -> Json:
    """Numbers of metrics are plain decimal text, numbers of pods are integers."""
    inquiry, unlisted = verdict.facts.inquiry, verdict.facts.unlisted
    return {
        "metric": inquiry.metric,
        "namespace": inquiry.namespace,
        "selector": inquiry.selector,
        "metrics": [_metric(metric) for metric in verdict.metrics],
        "autoscalers": [autoscaler_document(autoscaler) for autoscaler in verdict.autoscalers],
        "autoscalersError": None if unlisted is None else {"message": str(unlisted), "fix": unlisted.hint},
    }


def _metric(judged: JudgedMetric) -> Json:
    total = judged.explanation.total
    return {
        "selector": judged.explanation.selector,
        "total": None if total is None else plain(total),
        "findings": [{"sentence": finding.sentence, "fix": finding.fix} for finding in judged.findings],
        "explanation": judged.explanation.source,
    }


def autoscaler_document(judged: JudgedAutoscaler) -> Json:
    """One autoscaler, its decision and its conditions."""
    autoscaler, scale, decision = judged.gathered.autoscaler, judged.gathered.scale, judged.decision
    return {
        "namespace": autoscaler.namespace,
        "name": autoscaler.name,
        "workload": {"kind": autoscaler.workload.kind, "name": autoscaler.workload.name},
        "minReplicas": autoscaler.minimum,
        "maxReplicas": autoscaler.maximum,
        "pods": {
            "wanted": scale.spec_replicas,
            "present": scale.status_replicas,
            "ready": scale.ready,
            "live": judged.gathered.scale_is_live,
        },
        "metrics": [
            {
                "source": metric.source,
                "name": metric.name,
                "selector": metric.selector,
                "target": {"type": metric.target.kind.value, "amount": plain(metric.target.amount)},
                **_seen(seen),
            }
            for metric, seen in zip(autoscaler.metrics, judged.gathered.seen, strict=True)
        ],
        "decision": {
            "pods": decision.pods,
            "decidedBy": _step(decision.decided_by),
            "steps": [_step(step) for step in decision.steps],
        },
        "conditions": [_condition(told) for told in judged.conditions],
    }


def _seen(seen: Observed) -> Json:
    match seen:
        case Total(amount):
            return {"total": plain(amount), "missing": None}
        case Missing(why):
            return {"total": None, "missing": why}
        case NotQueried():
            return {"total": None, "missing": None}


def _step(step: Step) -> Json:
    return {
        "stage": step.stage.value,
        "before": step.before,
        "after": step.after,
        "metric": step.metric,
        "sentence": step.sentence,
    }


def _condition(told: ConditionSummary) -> Json:
    return {
        "type": told.condition.kind,
        "holds": told.condition.holds,
        "reason": told.condition.reason,
        "message": told.condition.message,
        "words": told.words,
        "fix": told.hint,
    }
