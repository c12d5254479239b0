"""`beanscale explain`: why a metric has its value, and what its autoscalers make of it."""

import json
import os
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from app.explain.collect import Inquiry, gather
from app.explain.report import Verdict, document, judge
from app.explain.text import page
from app.kube.checks import CheckFailedError
from app.kube.client import Kubernetes, connect
from app.kube.credentials import own_namespace
from app.kube.errors import KubeconfigError
from app.metrics.selector import SelectorError, parse_selector
from app.settings import SettingError

_METRIC = re.compile(r"(?!\.{1,2}$)[^/%\s\x00-\x1f]{1,253}")
"""What may stand in a path, as Kubernetes checks an autoscaler's metric name (path.ValidatePathSegmentName)."""


@dataclass(frozen=True, slots=True)
class ExplainSettings:
    """What `beanscale explain` was told."""

    metric: str
    namespace: str | None
    """None: the pod's own, or the kubeconfig context's."""
    selector: str
    output: str
    """`text` or `json`."""
    kubeconfig: Path | None
    context: str | None


def run(settings: ExplainSettings) -> int:
    """Explain on standard output. Returns 0, or 1 where the metric can't be asked for. Raises SettingError."""
    check(settings)
    try:
        kubernetes = connect(settings.kubeconfig, settings.context)
        namespace = settings.namespace or own_namespace(settings.kubeconfig, settings.context)
    except KubeconfigError as error:
        raise SettingError(str(error)) from error
    try:
        verdict = explain(kubernetes, Inquiry(settings.metric, namespace, settings.selector))
    except CheckFailedError as broken:
        _complain(broken)
        return 1
    _print([json.dumps(document(verdict), indent=2)] if settings.output == "json" else page(verdict))
    return 0


def check(settings: ExplainSettings) -> None:
    """Raises SettingError where nothing could be asked so."""
    if not _METRIC.fullmatch(settings.metric):
        raise SettingError(
            f"{settings.metric[:60]!r} can't be a metric's name: it stands in a path, so it has no '/', '%' or space;"
            " a tube with a '/', which no label's value may have either, is reached by a rule of its own"
        )
    try:
        parse_selector(settings.selector)
    except SelectorError as error:
        raise SettingError(f"{settings.selector[:60]!r} isn't a label selector: {error}") from error


def explain(kubernetes: Kubernetes, inquiry: Inquiry) -> Verdict:
    """Gather and judge. Raises CheckFailedError where the metric can't be asked for."""
    facts = gather(kubernetes, inquiry)
    return judge(facts, time.time() - kubernetes.clock_ahead_s)


def _complain(broken: CheckFailedError) -> None:
    click.echo(f"beanscale explain: {broken}", err=True)
    click.echo(f"  → {broken.hint}", err=True)


def _print(lines: Iterable[str]) -> None:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # a terminal without → is no reason to fail
    try:
        for line in lines:
            heading = line and not line.startswith((" ", "{"))
            click.echo(click.style(line, bold=True) if heading else line)  # plain where it isn't a terminal
    except BrokenPipeError:  # as in `beanscale explain … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
