"""Asks kube-apiserver for all that an explanation needs: the metric, its autoscalers, their workloads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.autoscaling.autoscaler import EXTERNAL, Autoscaler, Metric, Scale
from app.autoscaling.reading import read
from app.autoscaling.wish import Elsewhere, Seen
from app.chain.link import BrokenLink
from app.chain.questions import ask
from app.cluster.client import Kubernetes
from app.explaining.asking import LOG_IN, RUNS, AskedMetrics, mean_the_same
from app.explaining.explanation import Explanation

_WORKLOADS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What somebody wants explained."""

    metric: str
    namespace: str
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Gathered:
    """One autoscaler that goes by the metric, and what it goes by."""

    autoscaler: Autoscaler
    scale: Scale
    scale_is_live: bool
    """Else it is what the autoscaler saw at its last look, because we may not read the workload."""
    seen: tuple[Seen, ...]
    """Of each of its metrics."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was gathered."""

    inquiry: Inquiry
    explanations: tuple[Explanation, ...]
    """The one asked for first, then those for other selectors that autoscalers have."""
    autoscalers: tuple[Gathered, ...]
    unlisted: BrokenLink | None
    """Why the autoscalers couldn't be listed."""


def gather(kubernetes: Kubernetes, inquiry: Inquiry) -> Facts:
    """Ask for all of it. Raises BrokenLink where the metric itself can't be asked for; `selector` must be one."""
    metrics = AskedMetrics(kubernetes, inquiry.namespace)
    asked = metrics.explanation(inquiry.metric, inquiry.selector)
    try:
        autoscalers = _autoscalers(kubernetes, inquiry)
    except BrokenLink as refused:
        return Facts(inquiry, (asked,), (), refused)
    gathered = tuple(_gathered(kubernetes, autoscaler, metrics) for autoscaler in autoscalers)
    return Facts(inquiry, metrics.of(inquiry.metric), gathered, None)


def gather_autoscaler(kubernetes: Kubernetes, autoscaler: Autoscaler) -> Facts:
    """The same about one autoscaler: each of its external metrics, as far as beanscale answers, and its workload."""
    metrics = AskedMetrics(kubernetes, autoscaler.namespace)
    gathered = _gathered(kubernetes, autoscaler, metrics)
    external = [metric for metric in autoscaler.metrics if metric.source == EXTERNAL]
    known = tuple(answer for name in dict.fromkeys(metric.name for metric in external) for answer in metrics.of(name))
    first = external[0] if external else autoscaler.metrics[0]
    return Facts(Inquiry(first.name, autoscaler.namespace, first.selector), known, (gathered,), None)


def _autoscalers(kubernetes: Kubernetes, inquiry: Inquiry) -> list[Autoscaler]:
    path = f"/apis/autoscaling/v2/namespaces/{quote(inquiry.namespace, safe='')}/horizontalpodautoscalers"
    fixes = {
        401: LOG_IN,
        403: "this account must be allowed to list horizontalpodautoscalers.autoscaling in namespace"
        f" {inquiry.namespace}, as the ClusterRole view allows",
        None: RUNS,
    }
    listed = ask(kubernetes, path, fixes).get("items") or []
    return [autoscaler for autoscaler in map(read, listed) if any(_ours(autoscaler, inquiry))]


def _ours(autoscaler: Autoscaler, inquiry: Inquiry) -> Iterator[Metric]:
    """Its metrics that the inquiry is about."""
    for metric in autoscaler.metrics:
        same = metric.source == EXTERNAL and metric.name.lower() == inquiry.metric.lower()
        if same and (not inquiry.selector or mean_the_same(metric.selector, inquiry.selector)):
            yield metric


def _gathered(kubernetes: Kubernetes, autoscaler: Autoscaler, metrics: AskedMetrics) -> Gathered:
    seen = tuple(metrics.seen(metric) if metric.source == EXTERNAL else Elsewhere() for metric in autoscaler.metrics)
    scale = _scale(kubernetes, autoscaler)
    return Gathered(autoscaler, scale or autoscaler.scale, scale is not None, seen)


def _scale(kubernetes: Kubernetes, autoscaler: Autoscaler) -> Scale | None:
    """The workload's pods; None where it is of another kind, or we may not read it."""
    workload = autoscaler.workload
    if workload.api_version != "apps/v1" or workload.kind not in _WORKLOADS:
        return None
    namespace, name = quote(autoscaler.namespace, safe=""), quote(workload.name, safe="")
    path = f"/apis/apps/v1/namespaces/{namespace}/{_WORKLOADS[workload.kind]}/{name}"
    found = _read(kubernetes, path)
    if found is not None:
        return _scale_of(found, (found.get("status") or {}).get("readyReplicas", 0))
    # Its scale tells all but who is ready, and nothing of what is in the pods: so less is needed to be allowed to.
    found = _read(kubernetes, f"{path}/scale")
    return None if found is None else _scale_of(found, None)


def _read(kubernetes: Kubernetes, path: str) -> Mapping[str, Any] | None:
    try:
        return ask(kubernetes, path, {None: ""})
    except BrokenLink:
        return None


def _scale_of(found: Mapping[str, Any], ready: int | None) -> Scale:
    wanted, status = (found.get("spec") or {}).get("replicas"), found.get("status") or {}
    # a Scale leaves out a 0, and a workload that was never scaled wants 1
    return Scale((0 if ready is None else 1) if wanted is None else wanted, status.get("replicas", 0), ready)
