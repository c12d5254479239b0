"""A verdict as JSON: the same facts and steps as the page, for programs and the console."""

from typing import Any

from app.autoscaling.conditions import Told
from app.autoscaling.quantity import plain
from app.autoscaling.steps import Step
from app.autoscaling.wish import Elsewhere, Missing, Seen, Total
from app.explaining.verdict import JudgedAutoscaler, JudgedMetric, Verdict

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
        "autoscalersError": None if unlisted is None else {"message": str(unlisted), "fix": unlisted.fix},
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
            "wanted": scale.wanted,
            "present": scale.present,
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
            "lowest": decision.lowest,
            "highest": decision.highest,
            "decidedBy": _step(decision.decided_by),
            "steps": [_step(step) for step in decision.steps],
        },
        "conditions": [_condition(told) for told in judged.conditions],
    }


def _seen(seen: Seen) -> Json:
    match seen:
        case Total(amount):
            return {"total": plain(amount), "missing": None}
        case Missing(why):
            return {"total": None, "missing": why}
        case Elsewhere():
            return {"total": None, "missing": None}


def _step(step: Step) -> Json:
    return {
        "stage": step.stage.value,
        "before": step.before,
        "after": step.after,
        "metric": step.metric,
        "sentence": step.sentence,
    }


def _condition(told: Told) -> Json:
    return {
        "type": told.condition.kind,
        "holds": told.condition.holds,
        "reason": told.condition.reason,
        "message": told.condition.message,
        "words": told.words,
        "fix": told.fix,
    }
