"""Collect what an explanation needs from kube-apiserver: the metric, its HPAs and their workloads. Blocking."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from app.explain.events import HpaEvents, list_events
from app.hpa.autoscaler import EXTERNAL, Autoscaler, Metric, Scale, parse_hpa
from app.hpa.decision import Missing, NotQueried, Observed, Total
from app.hpa.obstacles import Obstacle
from app.kube.checks import CheckFailedError, ask, check_available
from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError
from app.kube.upstream import GROUP, GROUP_VERSION, VERSION
from app.metrics.selector import SelectorError, parse_selector
from app.quantity import MAX_MILLI, QuantityError, milli, parse_quantity
from app.settings import ObjectName

type Json = Mapping[str, Any]
type SelectorKey = frozenset[tuple[str, str, frozenset[str]]]

FIRST_READ_S = 1.5
"""The server reads requested tubes every second."""
_APISERVICE = f"{VERSION}.{GROUP}"
_AUTOSCALING = "/apis/autoscaling/v2"
_CHECK_APISERVER = (
    "check that kube-apiserver is running and that this is the right cluster: kubectl get --raw /readyz?verbose"
)
_LOG_IN = "log in again, or use another context of the kubeconfig (--context)"
_SCALABLE = {"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What a metric counts."""

    name: str
    built_in: bool
    meaning: str
    tubes: tuple[str, ...]
    """Globs."""
    formula: str
    unit: str | None
    """Unit of its values; None if it isn't known."""
    on_failure: str
    max_age_s: float | None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One beanstalkd that a metric covers."""

    name: str
    address: str
    fresh: bool
    age_s: float | None
    """Age of its last reading; None: never read."""
    failure: str | None
    failing_for_s: float | None
    timeouts_per_second: float | None
    """Jobs whose time to run (TTR) ended, of all tubes; None: unknown."""


@dataclass(frozen=True, slots=True)
class TubeInfo:
    """One tube on one server."""

    server: str
    name: str
    exists: bool
    age_s: float | None
    fields: Mapping[str, Any]
    """None: the server reported an invalid value."""
    invalid: Mapping[str, str]
    """Reason of each invalid field."""
    paused: bool
    pause_left_s: float | None
    ignored: bool
    """True if it counts less because it is paused: of its jobs, only reserved ones."""
    stuck_s: float | None
    """Seconds for which no watching worker has taken a ready job; None: they do, or none is ready."""

    def count(self, name: str) -> int | None:
        """Return a field as an integer; None if the server reported none, or an invalid one."""
        value = self.fields.get(name)
        return int(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True, slots=True)
class Item:
    """One value of a metric, as an HPA gets it."""

    labels: Mapping[str, str]
    arithmetic: str
    value: int
    """Thousandths."""
    window_s: float | None
    held_for_s: float | None


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The reason why a metric has no value."""

    message: str
    near: tuple[str, ...]
    """Similar names."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The server's explanation of a metric (`?explain=true`)."""

    metric: str
    namespace: str
    selector: str
    rule: RuleInfo | None
    servers: tuple[ServerInfo, ...]
    tubes: tuple[TubeInfo, ...]
    tubes_omitted: int
    items: tuple[Item, ...]
    items_omitted: int
    total: int | None
    """Thousandths: the sum of all items, those omitted included. None: no item, or an older server."""
    error: ErrorInfo | None
    scaling_enabled: bool | None
    """Whether the server's scaler runs (`scaling.enabled`); None: an older server."""
    scaling_failures: Mapping[str, Obstacle]
    """Why the scaler's last change of an HPA's workload failed, by the HPA's name."""
    source: Json = field(repr=False)
    """The JSON that it was parsed from."""

    @property
    def observed(self) -> Total | Missing:
        """Return the sum that an HPA computes, or why it has none."""
        if self.error is not None or not self.items:
            return Missing(self.error.message if self.error else "the response has no items")
        if self.total is not None:
            return Total(self.total)
        if self.items_omitted:
            return Missing(f"the server explains only {len(self.items)} of its values, without their sum: helm upgrade")
        return Total(min(sum(item.value for item in self.items), MAX_MILLI))


def parse_explanation(document: Json) -> Explanation:
    """Return the explanation as values. Raise QuantityError, AttributeError, KeyError or TypeError if it isn't one."""
    rule, error, scaling = document.get("rule"), document.get("error"), document.get("scaling") or {}
    return Explanation(
        metric=document["metric"],
        namespace=document["namespace"],
        selector=document.get("selector") or "",
        rule=rule
        and RuleInfo(
            name=rule["name"],
            built_in=bool(rule.get("builtIn")),
            meaning=rule.get("meaning") or "",
            tubes=tuple(rule.get("tubes") or ()),
            formula=rule.get("formula") or "",
            unit=rule.get("unit"),
            on_failure=rule.get("onFailure") or "fail",
            max_age_s=rule.get("maxAgeSeconds"),
        ),
        servers=tuple(
            ServerInfo(
                name=server["name"],
                address=server.get("address") or "",
                fresh=bool(server.get("fresh")),
                age_s=server.get("ageSeconds"),
                failure=server.get("failure"),
                failing_for_s=server.get("failingForSeconds"),
                timeouts_per_second=server.get("timeoutsPerSecond"),
            )
            for server in document.get("servers") or ()
        ),
        tubes=tuple(
            TubeInfo(
                server=tube["server"],
                name=tube["tube"],
                exists=bool(tube.get("exists")),
                age_s=tube.get("ageSeconds"),
                fields=tube.get("fields") or {},
                invalid=tube.get("invalid") or {},
                paused=bool(tube.get("paused")),
                pause_left_s=tube.get("pauseSecondsLeft"),
                ignored=bool(tube.get("ignored")),
                stuck_s=tube.get("workersStuckForSeconds"),
            )
            for tube in document.get("tubes") or ()
        ),
        tubes_omitted=document.get("tubesOmitted") or 0,
        items=tuple(
            Item(
                labels=item.get("labels") or {},
                arithmetic=item.get("arithmetic") or "",
                value=milli(parse_quantity(str(item["value"]))),
                window_s=item.get("window"),
                held_for_s=item.get("heldForSeconds"),
            )
            for item in document.get("items") or ()
        ),
        items_omitted=document.get("itemsOmitted") or 0,
        total=None if document.get("total") is None else milli(parse_quantity(str(document["total"]))),
        error=error and ErrorInfo(error.get("message") or "", tuple(error.get("near") or ())),
        scaling_enabled=scaling.get("enabled"),
        scaling_failures={
            each["autoscaler"]: Obstacle(each["reason"], each["sentence"]) for each in scaling.get("failures") or ()
        },
        source=document,
    )


@dataclass(frozen=True, slots=True)
class ExplainQuery:
    """The metric to explain."""

    metric: str
    namespace: str
    selector: str = ""


@dataclass(frozen=True, slots=True)
class CollectedAutoscaler:
    """One HPA that uses the metric, with its workload's scale and its metrics' values."""

    autoscaler: Autoscaler
    scale: Scale
    scale_error: str
    """Why `scale` is as of the HPA's last sync, because the workload can't be read: a clause. Empty: it is current."""
    observed: tuple[Observed, ...]
    """One for each of the autoscaler's metrics."""
    explanations: tuple[Explanation | None, ...]
    """One for each of the autoscaler's metrics; None: beanscale doesn't serve it, or can't be queried."""
    events: HpaEvents


@dataclass(frozen=True, slots=True)
class Collected:
    """All that an explanation is made from."""

    query: ExplainQuery
    explanations: tuple[Explanation, ...]
    """The queried one first, then those for other selectors that HPAs have."""
    autoscalers: tuple[CollectedAutoscaler, ...]
    error: CheckFailedError | None = None
    """Why the HPAs can't be listed."""

    @property
    def scaling_enabled(self) -> bool | None:
        """Return whether the server's scaler runs; None if it doesn't say."""
        return next((each.scaling_enabled for each in self.explanations), None)

    def scaling_failure(self, autoscaler: Autoscaler) -> Obstacle | None:
        """Return why the scaler's last change for the HPA failed. Each replica of the server has its own."""
        found = (each.scaling_failures.get(autoscaler.name) for each in self.explanations)
        return next(filter(None, found), None)


def collect(kubernetes: Kubernetes, query: ExplainQuery) -> Collected:
    """Collect about a metric and its HPAs. Raises CheckFailedError if the metric can't be queried; SelectorError."""
    metrics = MetricClient(kubernetes, query.namespace)
    asked = metrics.explanation(query.metric, query.selector)
    path = object_path(_AUTOSCALING, query.namespace, "horizontalpodautoscalers")
    hints = {
        401: _LOG_IN,
        403: "this account must be allowed to list horizontalpodautoscalers.autoscaling in namespace"
        f" {query.namespace}, as the ClusterRole view allows",
        None: _CHECK_APISERVER,
    }
    try:
        listed = ask(kubernetes, path, hints).get("items") or ()
    except CheckFailedError as error:
        return Collected(query, (asked,), (), error)
    autoscalers = tuple(
        _autoscaler(kubernetes, autoscaler, metrics, list_events(kubernetes, autoscaler))
        for autoscaler in map(parse_hpa, listed)
        if any(
            metric.source == EXTERNAL
            and metric.name.lower() == query.metric.lower()
            and (not query.selector or same_selector(metric.selector, query.selector))
            for metric in autoscaler.metrics
        )
    )
    return Collected(query, metrics.explanations(query.metric), autoscalers)


def collect_autoscaler(kubernetes: Kubernetes, autoscaler: Autoscaler, events: HpaEvents | None = None) -> Collected:
    """Collect about one HPA, as it is now: its external metrics, as far as beanscale serves them, and its workload.

    `events`: its Events, if they have been read just before.
    """
    metrics = MetricClient(kubernetes, autoscaler.namespace)
    path = object_path(_AUTOSCALING, autoscaler.namespace, "horizontalpodautoscalers", autoscaler.name)
    # Its status of some seconds ago beside the workload's scale of now would be of two different moments.
    with suppress(KubernetesError):
        autoscaler = parse_hpa(kubernetes.request("GET", path))
    collected = _autoscaler(kubernetes, autoscaler, metrics, events or list_events(kubernetes, autoscaler))
    external = [metric for metric in autoscaler.metrics if metric.source == EXTERNAL]
    names = dict.fromkeys(metric.name for metric in external)
    first = external[0] if external else autoscaler.metrics[0]
    return Collected(
        ExplainQuery(first.name, autoscaler.namespace, first.selector),
        tuple(explanation for name in names for explanation in metrics.explanations(name)),
        (collected,),
    )


def _autoscaler(
    kubernetes: Kubernetes, autoscaler: Autoscaler, metrics: "MetricClient", events: HpaEvents
) -> CollectedAutoscaler:
    results = [metrics.observe(metric) for metric in autoscaler.metrics]
    workload, scale, scale_error = autoscaler.workload, autoscaler.scale, ""
    if workload.api_version != "apps/v1" or workload.kind not in _SCALABLE:
        scale_error = f"{workload} is of another kind"
    else:
        path = object_path("/apis/apps/v1", autoscaler.namespace, _SCALABLE[workload.kind], workload.name)
        try:
            found = kubernetes.request("GET", path)
            status = found.get("status") or {}
            replicas = (found.get("spec") or {}).get("replicas", 1)
            scale = Scale(replicas, status.get("replicas", 0), status.get("readyReplicas", 0))
        except KubernetesError:
            try:
                # The subresource needs less permission: it shows nothing of the pods, not even how many are ready.
                found = kubernetes.request("GET", f"{path}/scale")
                # A Scale omits 0.
                replicas = (found.get("spec") or {}).get("replicas", 0)
                scale = Scale(replicas, (found.get("status") or {}).get("replicas", 0))
            except KubernetesError as error:
                scale_error = f"{workload} doesn't exist" if error.status == 404 else f"{workload} can't be read"
    observed, explanations = tuple(each for each, _ in results), tuple(each for _, each in results)
    return CollectedAutoscaler(autoscaler, scale, scale_error, observed, explanations, events)


class MetricClient:
    """Queries each metric and selector once, with an explanation where the server gives one."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._results: dict[tuple[str, SelectorKey], Explanation | CheckFailedError | Total] = {}

    def explanation(self, metric: str, selector: str) -> Explanation:
        """Return the explanation. Raises CheckFailedError, also if another adapter responds; SelectorError."""
        result = self._result(metric, selector)
        if isinstance(result, CheckFailedError):
            raise result
        if isinstance(result, Total):
            raise _not_explained()
        return result

    def observe(self, metric: Metric) -> tuple[Observed, Explanation | None]:
        """Return what an HPA gets for one of its metrics, and the explanation if there is one."""
        if metric.source != EXTERNAL:
            return NotQueried(), None
        try:
            result = self._result(metric.name, metric.selector)
        except SelectorError as error:  # kube-apiserver accepts any selector in an HPA
            return Missing(f"its selector is invalid: {error}"), None
        match result:
            case Total():
                return result, None
            case Explanation():
                return result.observed, result
            case CheckFailedError():
                return Missing(str(result)), None

    def explanations(self, metric: str) -> tuple[Explanation, ...]:
        """Return the metric's explanations so far, in the order of the queries."""
        return tuple(
            result
            for (name, _), result in self._results.items()
            if name == metric.lower() and isinstance(result, Explanation)
        )

    def _result(self, metric: str, selector: str) -> Explanation | CheckFailedError | Total:
        key = metric.lower(), selector_key(selector)
        if key not in self._results:
            try:
                self._results[key] = self._query(metric, selector)
            except CheckFailedError as error:
                self._results[key] = error
        return self._results[key]

    def _query(self, metric: str, selector: str) -> Explanation | Total:
        path = object_path(f"/apis/{GROUP_VERSION}", self._namespace, metric.lower())
        hints = {
            401: _LOG_IN,
            403: f"this account must be allowed to get and list {metric} of external.metrics.k8s.io in namespace"
            f" {self._namespace}: in the chart by the ClusterRole that ends in :metrics-reader",
            404: "check the metric name: kubectl api-resources --api-group=external.metrics.k8s.io; if it is right,"
            " this beanscale is too old to explain: helm upgrade",
            None: _CHECK_APISERVER,
        }
        try:
            parameters = {"explain": "true"} | ({"labelSelector": selector} if selector else {})
            document = ask(self._kubernetes, path, hints, parameters)
            error = document.get("error")
            if isinstance(error, Mapping) and error.get("firstRead"):
                # Some values are read only for who asks for them. The HPA may have asked another replica of the server.
                time.sleep(FIRST_READ_S)
                document = ask(self._kubernetes, path, hints, parameters)
        except CheckFailedError as failure:
            if isinstance(failure.__cause__, KubernetesError) and failure.__cause__.status in {404, 503}:
                self._check_apiservice()
            raise
        try:
            if document.get("kind") == "MetricExplanation":
                return parse_explanation(document)
            if document.get("kind") == "ExternalMetricValueList" and (items := document.get("items")):
                return Total(min(sum(milli(parse_quantity(str(item["value"]))) for item in items), MAX_MILLI))
        except (QuantityError, AttributeError, KeyError, TypeError) as failure:
            why = f"is invalid: {failure}" if isinstance(failure, QuantityError) else "has an unexpected structure"
            raise CheckFailedError(
                f"the response about {metric} {why}", "check that this program and the server have the same version"
            ) from failure
        raise _not_explained()

    def _check_apiservice(self) -> None:
        """Raise CheckFailedError if the APIService shows why no server responds. Needs permission to get it."""
        install = "install beanscale with apiService.create=true: helm install"
        path = f"/apis/apiregistration.k8s.io/v1/apiservices/{_APISERVICE}"
        try:
            apiservice = ask(self._kubernetes, path, {404: install, None: _CHECK_APISERVER})
        except CheckFailedError as error:
            if error.hint == install:
                raise CheckFailedError("this cluster has no external metrics API", install, final=True) from error
            return
        service = (apiservice.get("spec") or {}).get("service") or {}
        check_available(apiservice, ObjectName(service.get("namespace", ""), service.get("name", "")))


def _not_explained() -> CheckFailedError:
    return CheckFailedError(
        "the external metrics API returned no explanation: it is an older beanscale or another adapter",
        f"kubectl get apiservice {_APISERVICE} shows whose Service responds; if it is beanscale's: helm upgrade",
    )


def selector_key(selector: str) -> SelectorKey:
    """Return a value that is equal for selectors with the same meaning. Raises SelectorError."""
    alike = {"=": "in", "==": "in", "!=": "notin"}
    return frozenset(
        (part.key, alike.get(part.operator, part.operator), part.values)
        for part in parse_selector(selector).requirements
    )


def same_selector(selector: str, other: str) -> bool:
    """Return whether two selectors have the same meaning. An invalid one has none."""
    try:
        return selector_key(selector) == selector_key(other)
    except SelectorError:
        return False
