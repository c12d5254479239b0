"""The report as plain text for a terminal: wrapped lines and aligned tables, at most 100 columns wide."""

import itertools
import textwrap
from collections.abc import Iterator, Sequence

from app.explain.collect import Explanation, same_selector
from app.explain.events import HpaEvents
from app.explain.report import AutoscalerReport, MetricReport, Report
from app.hpa.decision import Stage, Total, pods
from app.quantity import plain
from app.text import capital, count, duration, measured, printable

WIDTH = 100
_MAX_CELL = 40
_MAX_ROWS = 20
_MAX_EVENTS = 5
_COLUMNS = ("ready", "reserved", "delayed", "buried", "urgent", "waiting", "watching", "using")
"""First columns of the tubes' table, if the server reported them; other fields follow."""
_LABEL = 16


def render(report: Report) -> Iterator[str]:
    """Yield lines without line ends. A line that isn't indented is a heading."""
    query = report.collected.query
    metrics = [metric for each in report.autoscalers for metric in each.collected.autoscaler.metrics]
    selectors = [metric.selector for metric in metrics if metric.name.lower() == query.metric.lower()]
    # The selectors that HPAs have: the metric without one is of interest only if none has one.
    used = [each for each in report.metrics if any(same_selector(each.explanation.selector, one) for one in selectors)]
    for metric in used or report.metrics:
        yield from _metric(metric)
    for autoscaler in report.autoscalers:
        yield from _autoscaler(autoscaler, report.now_unix_s)
    if (error := report.collected.error) is not None:
        yield "Autoscalers: unknown"
        yield from wrapped(str(error))
        yield from wrapped(error.hint, label="→ ")
    elif not report.autoscalers:
        selector = f" with the selector {query.selector}" if query.selector else ""
        yield "Autoscalers: none"
        yield from wrapped(f"No HorizontalPodAutoscaler in namespace {query.namespace} uses this metric{selector}.")


def _metric(report: MetricReport) -> Iterator[str]:
    explanation = report.explanation
    rule, observed = explanation.rule, explanation.observed
    number = len(explanation.items) + explanation.items_omitted
    several = number > 1
    selector = f"{{{explanation.selector}}}" if explanation.selector else ""
    unit = rule.unit if rule else None
    value = f"is {measured(plain(observed.amount), unit)}" if isinstance(observed, Total) else "has no value"
    yield from wrapped(f"{explanation.metric}{selector} in namespace {explanation.namespace} {value}", indent=0)
    if rule is not None:
        own = "" if rule.built_in else f" (rule {rule.name}: {rule.formula}, tubes {', '.join(rule.tubes)})"
        yield from wrapped(f"{rule.meaning}{own}")
    for item in explanation.items[:_MAX_ROWS]:
        labels = ",".join(f"{key}={value}" for key, value in sorted(item.labels.items())) if several else ""
        over = f", over {duration(item.window_s)}" if item.window_s is not None else ""
        # a substitute's arithmetic begins with the value, and the reason follows
        result = "" if " instead: " in item.arithmetic else f" = {plain(item.value)}{over}"
        yield from wrapped(f"{labels + ': ' if labels else ''}{item.arithmetic}{result}")
    if number > _MAX_ROWS:
        yield from wrapped(f"and {count(number - _MAX_ROWS, 'more value')}")
    if several and isinstance(observed, Total):
        yield from wrapped(f"The autoscaler uses the sum: {plain(observed.amount)}")
    yield ""
    if report.findings:
        yield "Findings"
        for finding in report.findings:
            yield from wrapped(capital(finding.sentence), label="- ")
            if finding.hint:
                yield from wrapped(finding.hint, indent=4, label="→ ")
        yield ""
    yield from _readings(explanation)


def _readings(explanation: Explanation) -> Iterator[str]:
    if explanation.servers:
        rule = explanation.rule
        limit = f" (maxAge {duration(rule.max_age_s)})" if rule and rule.max_age_s is not None else ""
        rows = []
        for each in explanation.servers:
            state = f"ok, read {_ago(each.age_s)}{limit}" if each.fresh else "failed, see Findings"
            if each.fresh and each.failure:
                state = f"failing for {duration(each.failing_for_s or 0)}, see Findings"
            rows.append((each.name, each.address, state))
        yield "Servers"
        yield from table(("server", "address", "state"), rows, 3)
        yield ""
    if explanation.tubes:
        shown = explanation.tubes[:_MAX_ROWS]
        reported = {name for tube in shown for name in tube.fields}
        fields = [*(name for name in _COLUMNS if name in reported), *sorted(reported.difference(_COLUMNS))]
        counts = [
            (
                tube.server,
                tube.name,
                _ago(tube.age_s) if tube.exists else "no such tube: 0 jobs",
                *("unknown" if field in tube.invalid else str(tube.fields.get(field, "")) for field in fields),
            )
            for tube in shown
        ]
        yield "Tubes"
        yield from table(("server", "tube", "read", *fields), counts, 3)
        if omitted := len(explanation.tubes) - len(shown) + explanation.tubes_omitted:
            yield from wrapped(f"and {omitted} more")
        yield ""


def _autoscaler(report: AutoscalerReport, now_unix_s: float) -> Iterator[str]:
    autoscaler, scale, decision = report.collected.autoscaler, report.collected.scale, report.decision
    name, change = f"{autoscaler.namespace}/{autoscaler.name}", decision.change_from(scale.spec_replicas)
    yield from wrapped(f"Autoscaler {name} of {autoscaler.workload}: {change}", indent=0)
    if report.collected.scale_error:
        known = f"{pods(scale.spec_replicas)} at its last sync; " if autoscaler.knows_pods else ""
        yield from wrapped(f"{known}{report.collected.scale_error}")
    elif len({scale.spec_replicas, scale.status_replicas, scale.ready} - {None}) > 1:
        ready = "" if scale.ready is None else f", {scale.ready} ready"
        yield from wrapped(f"{pods(scale.spec_replicas)} desired, {scale.status_replicas} current{ready}")
    for step in decision.steps:
        yield from wrapped(step.sentence, label=step.stage.value, label_width=_LABEL)
    step = decision.decided_by
    of = f" of {step.metric}" if step.metric and len(autoscaler.metrics) > 1 else ""
    result = "no change" if step.stage is Stage.CONDITION else pods(decision.pods)
    when = f"; {report.when}" if report.when.startswith("beanscale") else f" {report.when}"
    yield from wrapped(f"{step.stage.value}{of}: {result}{when}", label="Decided by", label_width=_LABEL)
    if report.scaling:
        yield from wrapped(report.scaling.sentence, label="Annotations", label_width=_LABEL)
        for obstacle in report.scaling.obstacles:
            yield from wrapped(obstacle.sentence, indent=2 + _LABEL, label="- ")
    for each in report.conditions:
        yield from wrapped(each.words, label=each.condition.kind, label_width=_LABEL)
        if each.hint:
            if each.condition.message:
                yield from wrapped(f"“{each.condition.message}”", indent=2 + _LABEL)
            yield from wrapped(each.hint, indent=2 + _LABEL, label="→ ")
    if not report.conditions:
        yield from wrapped(
            "The HPA controller hasn't synced it yet (it does every 15 s); check that kube-controller-manager is"
            " running"
        )
    yield from _events(report.collected.events, now_unix_s)
    yield ""


def _events(known: HpaEvents, now_unix_s: float) -> Iterator[str]:
    if known.events:
        yield from wrapped("Events, newest first")
    for event in known.events[:_MAX_EVENTS]:
        times = f", {event.times} times" if event.times > 1 else ""
        ago = _ago(max(0.0, now_unix_s - event.at_s))
        yield from wrapped(f"{event.reason} ({event.component}{times}): {event.message}", 2, ago, _LABEL)
    if len(known.events) > _MAX_EVENTS:
        yield from wrapped(f"and {len(known.events) - _MAX_EVENTS} more")
    if known.error:
        yield from wrapped(f"{capital(known.error)}.")


def _ago(age_s: float | None) -> str:
    return "never" if age_s is None else f"{duration(age_s)} ago"


def wrapped(text: str, indent: int = 2, label: str = "", label_width: int = 0) -> Iterator[str]:
    """Yield the text's lines, with a label before the first one and the others aligned below its beginning."""
    first = f"{' ' * indent}{label:<{label_width}}"
    yield from textwrap.wrap(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Yield aligned rows below their head, the first `left` columns flush left. Columns that don't fit are dropped."""
    lines = [[printable(cell) for cell in row] for row in (head, *rows)]
    lines = [[cell if len(cell) <= _MAX_CELL else f"{cell[: _MAX_CELL - 1]}…" for cell in row] for row in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    fitting = sum(1 for end in itertools.accumulate(2 + width for width in widths) if end <= WIDTH)
    for line in lines:
        cells = [
            f"{cell:<{width}}" if position < left else f"{cell:>{width}}"
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells[:fitting])).rstrip()
