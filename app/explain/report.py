"""The report about a metric and its HPAs: findings, decisions and conditions, as values and as JSON. Pure."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.clock import Instant
from app.explain.collect import Collected, CollectedAutoscaler, Explanation
from app.hpa.autoscaler import SYNC_PERIOD_S, Autoscaler
from app.hpa.conditions import METRICS_READER, ConditionSummary, summarize
from app.hpa.decision import Decision, Missing, NotQueried, Observed, Stage, Total, decide
from app.hpa.obstacles import Obstacle
from app.hpa.options import ScalingOptions
from app.hpa.scaling import describe_scaling, effective, scales_from_zero
from app.quantity import plain
from app.scaler.plan import Change, Direction, Plan, Situation, make_plan
from app.scaler.reading import MetricReading, Tubes
from app.text import count, duration

type Json = dict[str, Any]

_SHOWN = 3
"""Tubes that are named for one kind of finding."""
_BY_CONSOLE = " (a command of beanstalkd, and a button of a console with readOnly: false)"
_RESUME = f"to let workers get its jobs now, end the pause: pause-tube with a delay of 0{_BY_CONSOLE}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem or a fact worth knowing about a metric, its servers or its tubes."""

    sentence: str
    hint: str = ""
    """Empty if there is nothing to do."""


@dataclass(frozen=True, slots=True)
class MetricReport:
    """A metric for one selector."""

    explanation: Explanation
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ScalingReport:
    """What beanscale's scaler does for an HPA, besides the controller."""

    options: ScalingOptions
    enabled: bool | None
    """Whether the server's scaler runs; None: unknown."""
    sentence: str
    """Without a full stop."""
    obstacles: tuple[Obstacle, ...]
    """What keeps it from doing what the annotations ask for."""


@dataclass(frozen=True, slots=True)
class AutoscalerReport:
    """One HPA."""

    collected: CollectedAutoscaler
    decision: Decision
    conditions: tuple[ConditionSummary, ...]
    scaling: ScalingReport | None
    """None: no annotation asks beanscale to scale the workload."""
    when: str
    """When the workload is scaled: `at the next sync`, or what beanscale does before that."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown."""

    collected: Collected
    metrics: tuple[MetricReport, ...]
    autoscalers: tuple[AutoscalerReport, ...]
    now_unix_s: float
    """On the cluster's clock."""


def make_report(collected: Collected, now_unix_s: float) -> Report:
    """Return the report. `now_unix_s` is on the cluster's clock."""
    autoscalers = []
    enabled = collected.scaling_enabled
    for known in collected.autoscalers:
        one = replace(known, autoscaler=effective(known.autoscaler, enabled))
        # beanscale has just queried the metric itself, so it knows more than the condition.
        hint = "beanscale has no value either, see above"
        if not any(isinstance(observed, Missing) for observed in one.observed):
            hint = (
                "beanscale returns a value now, so the next sync (every 15 s) should too; if not, check the HPA"
                f" controller's permission: {METRICS_READER}"
            )
        conditions = tuple(
            replace(each, hint=hint) if each.condition.reason == "FailedGetExternalMetric" else each
            for each in summarize(one.autoscaler)
        )
        decision = decide(one.autoscaler, one.scale, one.observed, now_unix_s)
        plan, failure = _plan(one, now_unix_s), collected.scaling_failure(one.autoscaler)
        found = plan.obstacles if failure is None else (failure, *plan.obstacles)
        scaling = report_scaling(known.autoscaler, enabled, found)
        change = plan.change if enabled and failure is None else None
        when = _when(one, decision, change, now_unix_s)
        autoscalers.append(AutoscalerReport(known, decision, conditions, scaling, when))
    metrics = tuple(MetricReport(each, tuple(find(each))) for each in collected.explanations)
    return Report(collected, metrics, tuple(autoscalers), now_unix_s)


def report_scaling(autoscaler: Autoscaler, enabled: bool | None, found: tuple[Obstacle, ...]) -> ScalingReport | None:
    """Return what the scaler does for an HPA, if an annotation asks for it. Arguments: as in ScalingReport."""
    if not autoscaler.options.requested:
        return None
    if enabled is False:
        sentence = "scaling.enabled is false on the server, so the annotations have no effect"
        sentence += "; enable it with helm upgrade, or remove them"
        return ScalingReport(autoscaler.options, enabled, sentence, ())
    return ScalingReport(autoscaler.options, enabled, f"beanscale {describe_scaling(autoscaler, found)}", found)


def _when(collected: CollectedAutoscaler, decision: Decision, change: Change | None, now_unix_s: float) -> str:
    """Return when the workload is scaled. `change`: what the scaler does now."""
    autoscaler, current = collected.autoscaler, collected.scale.spec_replicas
    at_zero = current == 0 and decision.decided_by.stage is Stage.DISABLED
    if change is None:
        return "until beanscale scales it up" if at_zero and scales_from_zero(autoscaler) else "at the next sync"
    # Which increases count for the policies, only the scaler knows; the newest ones are in its Events.
    period_s = max((SYNC_PERIOD_S, *(policy.period_s for policy in autoscaler.up.policies)))
    events = collected.events
    has_scaled = any(each.is_scaling and now_unix_s - each.at_s <= period_s for each in events.events)
    is_limited = any(step.stage is Stage.POLICY for step in decision.steps)
    is_at_once = change.direction is Direction.FROM_ZERO or not (is_limited or has_scaled or events.error)
    soon = "within a second" if is_at_once else "as soon as the policies allow it"
    controller = "" if at_zero else "; the HPA controller at its next sync"
    return f"beanscale scales to {change.replicas} {soon}{controller}"


def _plan(collected: CollectedAutoscaler, now_unix_s: float) -> Plan:
    """Return what the scaler does now, as far as this can be known without its history."""

    def usable(observed: Observed, explanation: Explanation | None) -> Observed:
        """Return what the scaler knows: no other adapter's value, and none that only replaces a reading."""
        if explanation is None:
            return NotQueried() if isinstance(observed, Total) else observed
        is_held = any(item.held_for_s is not None for item in explanation.items)
        return Missing(f"the value of {explanation.metric} is held by onFailure") if is_held else observed

    observed = tuple(map(usable, collected.observed, collected.explanations))
    tubes = [tube for each in collected.explanations if each for tube in each.tubes]
    takeable = any(tube.count("ready") and not tube.paused for tube in tubes)
    read_at = Instant(now_unix_s, now_unix_s)
    situation = Situation(
        collected.autoscaler,
        collected.scale,
        MetricReading(observed, ()),
        Tubes((), waiting=takeable, takeable=takeable, oldest_at=read_at, newest_at=read_at),
        idle_for_s=0,
        changes=(),
        now_unix_s=now_unix_s,
    )
    return make_plan(situation)


def find(explanation: Explanation) -> Iterator[Finding]:
    """Yield the findings, the most important first."""
    if explanation.error is not None:
        yield Finding(f"error: {explanation.error.message}")  # the message names similar metrics
    for server in explanation.servers:
        if server.failure or not server.fresh:
            since = f" for {duration(server.failing_for_s)}" if server.failing_for_s is not None else ""
            last = "never read" if server.age_s is None else f"last read {duration(server.age_s)} ago"
            if server.fresh and server.age_s is not None:
                last = f"its last reading, {duration(server.age_s)} old, still counts"
            yield Finding(
                f"beanstalkd {server.name} at {server.address} can't be read{since}:"
                f" {server.failure or 'its last reading is too old'}; {last}",
                "check that it is running, its address, and that NetworkPolicies admit the server's pods",
            )
        elif server.timeouts_per_second:
            yield Finding(
                f"on beanstalkd {server.name}, {server.timeouts_per_second:g} jobs per second became ready again,"
                " because the time to run (TTR) ended (of all tubes, in the last minute or since beanscale started)",
                "put jobs with a longer TTR, or let workers touch them while they work",
            )
    held = [item.held_for_s for item in explanation.items if item.held_for_s is not None]
    if held:
        policy = explanation.rule.on_failure if explanation.rule else "hold"
        yield Finding(f"value held for {duration(max(held))} by onFailure ({policy})")
    yield from _find_in_tubes(explanation)


def _find_in_tubes(explanation: Explanation) -> Iterator[Finding]:
    counted = f"{explanation.rule.formula if explanation.rule else ''} {explanation.selector}"
    paused, unwatched, stuck, delayed, buried = [], [], [], [], []
    invalid = [
        (tube, f"has no valid {'; no valid '.join(tube.invalid.values())}")
        for tube in explanation.tubes
        if tube.invalid
    ]
    for tube in filter(lambda tube: tube.exists, explanation.tubes):
        ready, waiting = tube.count("ready") or 0, tube.count("ready") or tube.count("reserved")
        if tube.paused:
            left = f" for another {duration(tube.pause_left_s)}" if tube.pause_left_s else ""
            until = "until then" if left else "until the pause ends"
            is_ignored = tube.ignored and re.search(r"\bready\b", explanation.rule.formula if explanation.rule else "")
            ignored = f"; not counted: {count(ready, 'ready job')} (paused: ignore)" if is_ignored else ""
            paused.append((tube, f"is paused{left}: workers can't reserve its jobs {until}{ignored}"))
        if ready and tube.count("watching") == 0:
            unwatched.append((tube, f"has {count(ready, 'ready job')} but no watching worker"))
        if tube.stuck_s is not None:
            watching = count(tube.count("watching") or 0, "connection")
            verb = "watches" if tube.count("watching") == 1 else "watch"
            taken = f"but none took a job for {duration(tube.stuck_s)}"
            stuck.append((tube, f"has {count(ready, 'ready job')} and {watching} {verb} it, {taken}"))
        if tube.count("delayed") and not waiting and "delayed" not in counted:
            delayed.append((tube, f"has only delayed jobs ({tube.count('delayed')}); a job counts once its delay ends"))
        if jobs := tube.count("buried"):
            buried.append((tube, f"has {count(jobs, 'buried job')}, which no worker can reserve"))
    for found, hint in (
        (invalid, "only what needs this field of this tube has no value"),
        (paused, _RESUME),
        (unwatched, "check that workers run and watch exactly this tube (expected at 0 pods)"),
        (
            stuck,
            "check that the workers aren't blocked; one that is busy with a job of another tube looks the same, and so"
            " does a producer that watches the tube",
        ),
        (delayed, ""),
        (buried, f"find out why workers buried them; kick makes them ready again{_BY_CONSOLE}"),
    ):
        for tube, sentence in found[:_SHOWN]:
            yield Finding(f"tube {tube.name} on {tube.server} {sentence}", hint)
        if len(found) > _SHOWN:
            more = {tube.name for tube, _ in found} - {tube.name for tube, _ in found[:_SHOWN]}
            servers = len({tube.server for tube, _ in found[_SHOWN:]})
            applies = f"to {count(len(more), 'more tube')}" if more else f"on {count(servers, 'more server')}"
            yield Finding(f"the same applies {applies}")


def report_json(report: Report) -> Json:
    """Return the report as JSON. Metric values are decimal strings, numbers of pods are integers."""
    query, error = report.collected.query, report.collected.error
    return {
        "metric": query.metric,
        "namespace": query.namespace,
        "selector": query.selector,
        "metrics": [
            {
                "selector": metric.explanation.selector,
                "total": _total(metric.explanation.observed),
                "findings": [{"sentence": finding.sentence, "fix": finding.hint} for finding in metric.findings],
                "explanation": metric.explanation.source,
            }
            for metric in report.metrics
        ],
        "autoscalers": [_autoscaler(autoscaler) for autoscaler in report.autoscalers],
        "autoscalersError": None if error is None else {"message": str(error), "fix": error.hint},
    }


def _total(observed: object) -> str | None:
    return plain(observed.amount) if isinstance(observed, Total) else None


def _autoscaler(report: AutoscalerReport) -> Json:
    collected, decision = report.collected, report.decision
    autoscaler, scale = collected.autoscaler, collected.scale
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
            "live": not collected.scale_error,
        },
        "metrics": [
            {
                "source": metric.source,
                "name": metric.name,
                "selector": metric.selector,
                "target": {"type": metric.target.kind.value, "amount": plain(metric.target.amount)},
                "total": _total(observed),
                "missing": observed.why if isinstance(observed, Missing) else None,
            }
            for metric, observed in zip(autoscaler.metrics, collected.observed, strict=True)
        ],
        "decision": {
            "pods": decision.pods,
            "sentence": decision.verdict_from(scale.spec_replicas),
            "when": report.when,
            "decidedBy": asdict(decision.decided_by),
            "steps": [asdict(step) for step in decision.steps],
        },
        "conditions": [
            {
                "type": each.condition.kind,
                "holds": each.condition.holds,
                "reason": each.condition.reason,
                "message": each.condition.message,
                "words": each.words,
                "fix": each.hint,
            }
            for each in report.conditions
        ],
        "scaling": scaling_json(report.scaling),
        "events": [event.to_json() for event in collected.events.events],
        "eventsError": collected.events.error or None,
    }


def scaling_json(report: ScalingReport | None) -> Json | None:
    """Return what the scaler does as JSON."""
    if report is None:
        return None
    options = report.options
    return {
        "enabled": report.enabled,
        "immediate": options.immediate,
        "scaleToZeroSeconds": options.idle_s,
        "activation": plain(options.activation),
        "paused": options.paused,
        "sentence": report.sentence,
        "obstacles": [{"reason": each.reason, "sentence": each.sentence} for each in report.obstacles],
    }
