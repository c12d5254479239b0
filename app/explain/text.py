"""A verdict as a page of text, for somebody who has never read the autoscaler's source.

Plain text for a terminal: wrapped lines and aligned tables, at most 100 columns wide.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from app.explain.explanation import Explanation, ServerInfo, TubeInfo
from app.explain.report import Finding, JudgedAutoscaler, JudgedMetric, Verdict
from app.hpa.decision import pods
from app.quantity import plain
from app.text import duration

WIDTH = 100
_LONGEST_CELL = 40


def printable(text: str) -> str:
    """One line; what might command a terminal becomes `?`."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def wrapped(text: str, indent: int = 2, label: str = "", label_width: int = 0) -> Iterator[str]:
    """`text`, with a label before its first line and the others below its beginning."""
    first = f"{' ' * indent}{label:<{label_width}}"
    yield from textwrap.wrap(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Columns under their heads, the first `left` flush left, numbers flush right; columns too many are left out."""
    lines = [[_cell(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    fitting = sum(1 for end in _ends(widths) if end <= WIDTH)
    for line in lines:
        cells = [
            f"{cell:<{width}}" if position < left else f"{cell:>{width}}"
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells[:fitting])).rstrip()


def _cell(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _LONGEST_CELL else f"{shown[: _LONGEST_CELL - 1]}…"


def _ends(widths: Sequence[int]) -> Iterator[int]:
    """The column of the screen at which each column of the table ends."""
    end = 0
    for width in widths:
        end += 2 + width
        yield end


_TUBES_SHOWN = 20
_FIELDS = ("ready", "reserved", "delayed", "buried", "urgent", "waiting", "watching", "using")
"""Columns of the tubes' table, where the server told them; what else it told comes behind."""
_LABEL = 16


def page(verdict: Verdict) -> Iterator[str]:
    """Lines without their ends; a line that isn't indented is a heading."""
    for metric in verdict.metrics:
        yield from _metric(metric)
    for autoscaler in verdict.autoscalers:
        yield from _autoscaler(autoscaler)
    if verdict.facts.unlisted is not None:
        yield "Autoscalers: not known"
        yield from wrapped(str(verdict.facts.unlisted))
        yield from wrapped(verdict.facts.unlisted.hint, label="→ ")
    elif not verdict.autoscalers:
        yield "Autoscalers: none"
        yield from wrapped(_nobody(verdict))


def _nobody(verdict: Verdict) -> str:
    inquiry = verdict.facts.inquiry
    which = f" with the selector {inquiry.selector}" if inquiry.selector else ""
    return f"No HorizontalPodAutoscaler of namespace {inquiry.namespace} goes by this metric{which}."


def _metric(judged: JudgedMetric) -> Iterator[str]:
    explanation = judged.explanation
    yield from wrapped(_headline(explanation), indent=0)
    if explanation.rule is not None:
        yield from wrapped(_meaning(explanation))
    yield from _items(explanation)
    yield ""
    yield from _findings(judged.findings)
    if explanation.servers:
        yield "Servers"
        yield from table(
            ("server", "address", "state"), [_server(explanation, server) for server in explanation.servers], 3
        )
        yield ""
    yield from _tubes(explanation)


def _headline(explanation: Explanation) -> str:
    selector = f"{{{explanation.selector}}}" if explanation.selector else ""
    total = explanation.total
    value = "has no value" if total is None else f"is {plain(total)}"
    return f"{explanation.metric}{selector} in namespace {explanation.namespace} {value}"


def _meaning(explanation: Explanation) -> str:
    rule = explanation.rule
    if rule is None:
        return ""
    if rule.built_in:
        return rule.meaning
    return f"{rule.meaning} (rule {rule.name}: {rule.formula}, of the tubes {', '.join(rule.tubes)})"


def _items(explanation: Explanation) -> Iterator[str]:
    several = len(explanation.items) > 1
    for item in explanation.items[:_TUBES_SHOWN]:
        labels = ",".join(f"{key}={value}" for key, value in sorted(item.labels.items())) if several else ""
        over = f", over {duration(item.window_s)}" if item.window_s is not None else ""
        yield from wrapped(f"{labels + ': ' if labels else ''}{item.arithmetic} = {plain(item.value)}{over}")
    if len(explanation.items) > _TUBES_SHOWN:
        yield from wrapped(f"and {len(explanation.items) - _TUBES_SHOWN} values more")
    if several and explanation.total is not None:
        yield from wrapped(f"An autoscaler adds them up: {plain(explanation.total)}")


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    told = list(findings)
    if told:
        yield "What to know"
    for finding in told:
        yield from wrapped(f"{finding.sentence[:1].upper()}{finding.sentence[1:]}", label="- ")
        if finding.fix:
            yield from wrapped(finding.fix, indent=4, label="→ ")
    if told:
        yield ""


def _server(explanation: Explanation, server: ServerInfo) -> tuple[str, ...]:
    if not server.fresh:
        return str(server), server.address, "FAILS, see above"
    limit = explanation.rule.max_age_s if explanation.rule else None
    counts = f" (counts up to {duration(limit)})" if limit is not None else ""
    return str(server), server.address, f"fine, read {_ago(server.age_s)}{counts}"


def _ago(age_s: float | None) -> str:
    return "never" if age_s is None else f"{duration(age_s)} ago"


def _tubes(explanation: Explanation) -> Iterator[str]:
    if not explanation.tubes:
        return
    shown = explanation.tubes[:_TUBES_SHOWN]
    told = {name for tube in shown for name in tube.fields}
    fields = [*(name for name in _FIELDS if name in told), *sorted(told.difference(_FIELDS))]
    yield "Tubes"
    yield from table(("server", "tube", "read", *fields), [_tube(tube, fields) for tube in shown], 3)
    omitted = len(explanation.tubes) - len(shown) + explanation.tubes_omitted
    if omitted:
        yield from wrapped(f"and {omitted} more")
    yield ""


def _tube(tube: TubeInfo, fields: Iterable[str]) -> tuple[str, ...]:
    state = _ago(tube.age_s) if tube.exists else "isn't there: 0 jobs"
    return tube.server, tube.name, state, *(str(tube.fields.get(field, "")) for field in fields)


def _autoscaler(judged: JudgedAutoscaler) -> Iterator[str]:
    autoscaler, scale = judged.gathered.autoscaler, judged.gathered.scale
    name, change = f"{autoscaler.namespace}/{autoscaler.name}", judged.decision.change_from(scale.spec_replicas)
    yield from wrapped(f"Autoscaler {name} of {autoscaler.workload}: {change}", indent=0)
    if not judged.gathered.scale_is_live:
        yield from wrapped(
            f"{pods(scale.spec_replicas)}, as it saw at its last look; we may not or can't ask the workload itself."
        )
    elif scale.status_replicas != scale.spec_replicas or (
        scale.ready is not None and scale.ready < scale.status_replicas
    ):
        of_them = "" if scale.ready is None else f", {scale.ready} ready"
        yield from wrapped(f"{pods(scale.spec_replicas)} wanted, {scale.status_replicas} there{of_them}")
    for step in judged.decision.steps:
        yield from wrapped(step.sentence, label=step.stage.value, label_width=_LABEL)
    yield from wrapped(_decided(judged), label="Decided by", label_width=_LABEL)
    for told in judged.conditions:
        yield from wrapped(told.words, label=told.condition.kind, label_width=_LABEL)
        if told.hint and told.condition.message:
            yield from wrapped(f"“{told.condition.message}”", indent=2 + _LABEL)
        if told.hint:
            yield from wrapped(told.hint, indent=2 + _LABEL, label="→ ")
    if not judged.conditions:
        yield from wrapped(
            "Kubernetes hasn't worked on it yet (it does so every 15 s); does kube-controller-manager run?"
        )
    yield ""


def _decided(judged: JudgedAutoscaler) -> str:
    decision = judged.decision
    step = decision.decided_by
    whose = f" of {step.metric}" if step.metric and len(judged.gathered.autoscaler.metrics) > 1 else ""
    return f"{step.stage.value}{whose}: {pods(decision.pods)} at the next sync"
