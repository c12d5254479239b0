"""Asks the external metrics API for explanations, each once, and tells why where there is none.

Asks kube-apiserver for all that an explanation needs: the metric, its autoscalers, their workloads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.explain.explanation import KIND, VALUES, Explanation, read_explanation, total_of_values
from app.hpa.autoscaler import EXTERNAL, Autoscaler, Metric, Scale, parse_hpa
from app.hpa.decision import Missing, NotQueried, Observed, Total
from app.kube.checks import CheckFailedError, ask, check_available
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.metrics.selector import SelectorError, parse_selector
from app.quantity import QuantityError
from app.settings import ObjectName

RUNS = "does kube-apiserver run, and is this the right cluster? kubectl get --raw /readyz?verbose"
LOG_IN = "log in again, or use another context of the kubeconfig (--context)"
_GROUP_VERSION = "/apis/external.metrics.k8s.io/v1beta1"
_APISERVICE = "v1beta1.external.metrics.k8s.io"
_APISERVICE_PATH = f"/apis/apiregistration.k8s.io/v1/apiservices/{_APISERVICE}"

type SelectorKey = frozenset[tuple[str, str, frozenset[str]]]


def selector_key(selector: str) -> SelectorKey:
    """Equal for selectors that say the same in other words or another order. Raises SelectorError."""
    alike = {"=": "in", "==": "in", "!=": "notin"}
    return frozenset(
        (part.key, alike.get(part.operator, part.operator), part.values)
        for part in parse_selector(selector).requirements
    )


def mean_the_same(selector: str, other: str) -> bool:
    """Whether two selectors do; one that makes no sense means what no other does."""
    try:
        return selector_key(selector) == selector_key(other)
    except SelectorError:
        return False


class AskedMetrics:
    """Asks for each metric and selector once."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._known: dict[tuple[str, SelectorKey], Explanation | CheckFailedError | Total] = {}

    def explanation(self, metric: str, selector: str) -> Explanation:
        """Raises CheckFailedError, also where it isn't beanscale that answers, and SelectorError."""
        answer = self._answer(metric, selector)
        if isinstance(answer, CheckFailedError):
            raise answer
        if isinstance(answer, Total):
            raise _plain_values()
        return answer

    def seen(self, metric: Metric) -> Observed:
        """What an autoscaler gets."""
        try:
            answer = self._answer(metric.name, metric.selector)
        except SelectorError as error:  # kube-apiserver lets an autoscaler have any
            return Missing(f"its selector makes no sense: {error}")
        match answer:
            case Total() as total:
                return total
            case CheckFailedError() as refused:
                return Missing(str(refused))
            case Explanation() as explanation:
                amount = explanation.total
                return Missing(explanation.why_not) if amount is None else Total(amount)

    def of(self, metric: str) -> tuple[Explanation, ...]:
        """Those of one metric, in the order in which they were asked for."""
        return tuple(
            answer
            for (name, _), answer in self._known.items()
            if name == metric.lower() and isinstance(answer, Explanation)
        )

    def _answer(self, metric: str, selector: str) -> Explanation | CheckFailedError | Total:
        key = metric.lower(), selector_key(selector)
        if key not in self._known:
            try:
                self._known[key] = _explanation_or_total(self._kubernetes, metric, self._namespace, selector)
            except CheckFailedError as refused:
                self._known[key] = refused
        return self._known[key]


def _explanation_or_total(kubernetes: Kubernetes, metric: str, namespace: str, selector: str) -> Explanation | Total:
    path = f"{_GROUP_VERSION}/namespaces/{quote(namespace, safe='')}/{quote(metric.lower(), safe='')}"
    query = {"explain": "true"} | ({"labelSelector": selector} if selector else {})
    try:
        document = ask(kubernetes, path, _metric_fixes(metric, namespace), query)
    except CheckFailedError as refused:
        if _nobody_there(refused):
            _look_at_the_apiservice(kubernetes)
        raise
    try:
        if document.get("kind") == KIND:
            return read_explanation(document)
        total = total_of_values(document) if document.get("kind") == VALUES else None
    except (QuantityError, KeyError, TypeError) as error:
        raise _strange(metric, error) from error
    if total is None:
        raise _plain_values()
    return Total(total)


def _nobody_there(refused: CheckFailedError) -> bool:
    """Whether kube-apiserver answered that it has nobody to ask."""
    return isinstance(refused.__cause__, KubernetesError) and refused.__cause__.status in {404, 503}


def _metric_fixes(metric: str, namespace: str) -> Mapping[int | None, str]:
    return {
        401: LOG_IN,
        403: f"this account must be allowed to get and list {metric} of external.metrics.k8s.io in namespace"
        f" {namespace}: in the chart by the ClusterRole that ends in :metrics-reader",
        404: "is its name right? kubectl api-resources --api-group=external.metrics.k8s.io; a beanscale that explains"
        " would have told more: helm upgrade",
        None: RUNS,
    }


def _look_at_the_apiservice(kubernetes: Kubernetes) -> None:
    """Raises CheckFailedError where that tells why nobody answers; whoever may not look there goes without."""
    fixes = {404: "install beanscale with apiService.create=true: helm install", 403: "", None: RUNS}
    try:
        apiservice = ask(kubernetes, _APISERVICE_PATH, fixes)
    except CheckFailedError as refused:
        if refused.hint == fixes[404]:
            raise CheckFailedError("this cluster has no external metrics API", refused.hint, final=True) from refused
        return
    service = (apiservice.get("spec") or {}).get("service") or {}
    check_available(apiservice, ObjectName(service.get("namespace", ""), service.get("name", "")))


def _plain_values() -> CheckFailedError:
    return CheckFailedError(
        "the external metrics API answers with plain values, unexplained: an older beanscale, or another adapter",
        f"kubectl get apiservice {_APISERVICE} shows whose Service answers; if it is beanscale's: helm upgrade",
    )


def _strange(metric: str, error: Exception) -> CheckFailedError:
    return CheckFailedError(
        f"the answer about {metric} can't be read: {error}", "are this program and the server of the same version?"
    )


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
    seen: tuple[Observed, ...]
    """Of each of its metrics."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was gathered."""

    inquiry: Inquiry
    explanations: tuple[Explanation, ...]
    """The one asked for first, then those for other selectors that autoscalers have."""
    autoscalers: tuple[Gathered, ...]
    unlisted: CheckFailedError | None
    """Why the autoscalers couldn't be listed."""


def gather(kubernetes: Kubernetes, inquiry: Inquiry) -> Facts:
    """Ask for all of it. Raises CheckFailedError where the metric itself can't be asked for; `selector` must be one."""
    metrics = AskedMetrics(kubernetes, inquiry.namespace)
    asked = metrics.explanation(inquiry.metric, inquiry.selector)
    try:
        autoscalers = _autoscalers(kubernetes, inquiry)
    except CheckFailedError as refused:
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
    return [autoscaler for autoscaler in map(parse_hpa, listed) if any(_ours(autoscaler, inquiry))]


def _ours(autoscaler: Autoscaler, inquiry: Inquiry) -> Iterator[Metric]:
    """Its metrics that the inquiry is about."""
    for metric in autoscaler.metrics:
        same = metric.source == EXTERNAL and metric.name.lower() == inquiry.metric.lower()
        if same and (not inquiry.selector or mean_the_same(metric.selector, inquiry.selector)):
            yield metric


def _gathered(kubernetes: Kubernetes, autoscaler: Autoscaler, metrics: AskedMetrics) -> Gathered:
    seen = tuple(metrics.seen(metric) if metric.source == EXTERNAL else NotQueried() for metric in autoscaler.metrics)
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
    except CheckFailedError:
        return None


def _scale_of(found: Mapping[str, Any], ready: int | None) -> Scale:
    wanted, status = (found.get("spec") or {}).get("replicas"), found.get("status") or {}
    # a Scale leaves out a 0, and a workload that was never scaled wants 1
    return Scale((0 if ready is None else 1) if wanted is None else wanted, status.get("replicas", 0), ready)
