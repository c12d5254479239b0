"""/metrics: beanscale's own figures for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from app.api.limits import Requests
from app.cluster.identity import CHANGES, REPAIRS, Identity
from app.http.connections import Connections

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Telemetry:
    """Counts requests, and tells at each scrape how the certificate stands, and what `others` tell."""

    def __init__(
        self,
        identity: Identity,
        requests: Requests,
        connections: Connections,
        *others: Collector,
    ) -> None:
        self._registry = CollectorRegistry()
        for other in others:
            self._registry.register(other)
        self._registry.register(_Load(requests, connections))
        self._registry.register(_Certificate(identity))
        self._requests = Counter(
            "beanscale_requests", "Requests answered, by HTTP status code.", ["code"], registry=self._registry
        )
        self._durations = Histogram(
            "beanscale_request_duration_seconds",
            "From a request's head to its answer, access checks included.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._by_code: dict[int, Counter] = {}

    def observe(self, code: int, duration_s: float) -> None:
        """Count one answer."""
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._requests.labels(code)
        counter.inc()
        self._durations.observe(duration_s)

    def answer(self) -> Response:
        """The exposition."""
        return Response(generate_latest(self._registry), headers={"content-type": _CONTENT_TYPE})


class ReviewFigures(Collector):
    """What kube-apiserver was asked about callers, and how long it took to say."""

    def __init__(self) -> None:
        self._reviews = Counter(
            "beanscale_reviews",
            "Reviews asked of kube-apiserver, by kind and verdict; those remembered aren't asked again.",
            ["kind", "verdict"],
            registry=None,
        )
        self._durations = Histogram(
            "beanscale_review_duration_seconds",
            "From the question to its answer, waiting for a thread included.",
            ["kind"],
            buckets=_BUCKETS_S,
            registry=None,
        )

    def observe(self, kind: str, verdict: str, duration_s: float) -> None:
        """Count one."""
        self._reviews.labels(kind, verdict).inc()
        self._durations.labels(kind).observe(duration_s)

    def collect(self) -> Iterable[Metric]:
        """Both figures."""
        return *self._reviews.collect(), *self._durations.collect()


class _Load(Collector):
    def __init__(self, requests: Requests, connections: Connections) -> None:
        self._requests = requests
        self._connections = connections

    def collect(self) -> Iterable[Metric]:
        """How near the bounds we are, and who met them."""
        under_way = GaugeMetricFamily("beanscale_requests_in_flight", "Requests under way.")
        under_way.add_metric([], self._requests.under_way)
        rejected = CounterMetricFamily("beanscale_requests_rejected", "Requests answered 429: too many at once.")
        rejected.add_metric([], self._requests.rejected)
        connections = GaugeMetricFamily("beanscale_connections", "Open connections of clients.")
        connections.add_metric([], len(self._connections))
        ended = CounterMetricFamily(
            "beanscale_connections_ended",
            "Connections that we ended, by what took too long or was too much.",
            labels=["reason"],
        )
        for reason, number in self._connections.ended.items():
            ended.add_metric([reason], number)
        return under_way, rejected, connections, ended


class _Certificate(Collector):
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def collect(self) -> Iterable[Metric]:
        """How the serving certificate stands, and what was done about it."""
        identity = self._identity
        yield GaugeMetricFamily(
            "beanscale_serving_certificate_up",
            "1 while the last look found its Secret and its APIService right, or put them right.",
            value=float(identity.certificate is not None and identity.trouble is None),
        )
        if identity.made_at is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_certificate_start_timestamp_seconds",
                "Unix time at which the serving certificate's life began.",
                value=identity.made_at.timestamp(),
            )
        if identity.certificate is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_certificate_expiry_timestamp_seconds",
                "Unix time at which the serving certificate ends.",
                value=identity.certificate.expires_at.timestamp(),
            )
        if identity.authority_expires_at is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_ca_expiry_timestamp_seconds",
                "Unix time at which the CA of the serving certificate ends.",
                value=identity.authority_expires_at.timestamp(),
            )
        changes = CounterMetricFamily(
            "beanscale_serving_certificate_changes",
            "What this replica did for the certificate: made, renewed, put back and so on.",
            labels=["change"],
        )
        for change in (*CHANGES, *REPAIRS):
            changes.add_metric([change], identity.changes[change])
        yield changes
        yield GaugeMetricFamily(
            "beanscale_clock_ahead_seconds",
            "Our clock before kube-apiserver's, to about a second.",
            value=identity.clock_ahead_s,
        )
