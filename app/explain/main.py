"""`beanscale explain`: why a metric has its value, and what its HPAs do with it."""

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from app.explain.collect import ExplainQuery, collect
from app.explain.report import Report, make_report, report_json
from app.explain.text_report import render
from app.kube.checks import CheckFailedError
from app.kube.client import Kubernetes, connect
from app.kube.credentials import own_namespace
from app.metrics.selector import SelectorError, parse_selector
from app.settings import SettingError

_METRIC = re.compile(r"(?!\.{1,2}$)[^/%\s\x00-\x1f]{1,253}")
"""Metric names that Kubernetes accepts in an HPA: a path segment (path.ValidatePathSegmentName)."""


@dataclass(frozen=True, slots=True)
class ExplainSettings:
    """The options of `beanscale explain`."""

    metric: str
    namespace: str | None
    """None: the pod's own, or the kubeconfig context's."""
    selector: str
    output: str
    """`text` or `json`."""
    kubeconfig: Path | None
    context: str | None


def run(settings: ExplainSettings) -> int:
    """Print the explanation; return 0, or 1 if the metric can't be queried. Raise KubeconfigError, SettingError."""
    if not _METRIC.fullmatch(settings.metric):
        raise SettingError(
            f"{settings.metric[:60]!r} is not a valid metric name: '/', '%' and spaces are not allowed; '/' is not"
            " valid in labels either, so define a rule for that tube under metrics:"
        )
    try:
        parse_selector(settings.selector)
    except SelectorError as error:
        raise SettingError(f"{settings.selector[:60]!r} is not a label selector: {error}") from error
    kubernetes = connect(settings.kubeconfig, settings.context)
    namespace = settings.namespace or own_namespace(settings.kubeconfig, settings.context)
    try:
        report = explain(kubernetes, ExplainQuery(settings.metric, namespace, settings.selector))
    except CheckFailedError as error:
        click.echo(f"beanscale explain: {error}\n  → {error.hint}", err=True)
        return 1
    lines = [json.dumps(report_json(report), indent=2)] if settings.output == "json" else render(report)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # a terminal without → is no reason to fail
    try:
        for line in lines:
            heading = line and not line.startswith((" ", "{"))
            click.echo(click.style(line, bold=True) if heading else line)  # plain unless it is a terminal
    except BrokenPipeError:  # as in `beanscale explain … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it exits
    return 0


def explain(kubernetes: Kubernetes, query: ExplainQuery) -> Report:
    """Collect and report. Raises CheckFailedError if the metric can't be queried."""
    collected = collect(kubernetes, query)
    return make_report(collected, time.time() - kubernetes.clock_ahead_s)
