"""/metrics: beanscale's own figures for Prometheus.

How the beanstalkds are read, for /metrics. Nothing a tube: ten thousand tubes are not ten thousand series.

Tells in the log of tubes that no autoscaler can ask for, each once and with what to do.

The first few by name, then one line with the number of those found beside them, and never another: so nobody's tubes
fill the log.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from app.api.limits import Limits
from app.beanstalkd.reading import ServerState, Snapshot
from app.clock import Instant
from app.http.connections import Connections
from app.kube.certificates.controller import CHANGES, REPAIRS, CertificateController
from app.metrics.built_in import STATES
from app.metrics.rules import Rules


class ReadingFigures(Collector):
    """`max_age_s`: what is older is no number, as everywhere."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Callable[[], Instant], max_age_s: float) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._max_age_s = max_age_s

    def collect(self) -> Iterable[Metric]:
        """One series for each server, none for what isn't known."""
        servers, now = self._snapshot().servers, self._clock()
        return *_readings(servers, now), _jobs(servers, now, self._max_age_s)


def _readings(servers: Iterable[ServerState], now: Instant) -> Iterable[Metric]:
    labels = ["server", "address"]
    up = GaugeMetricFamily("beanscale_beanstalkd_up", "1 while the last attempt to read it succeeded.", labels=labels)
    age = GaugeMetricFamily("beanscale_reading_age_seconds", "Age of the last good reading.", labels=labels)
    tubes = GaugeMetricFamily("beanscale_tubes", "Tubes in the last good reading.", labels=labels)
    sweep = GaugeMetricFamily("beanscale_sweep_seconds", "What the last good sweep took.", labels=labels)
    for state in servers:
        name = _name(state)
        up.add_metric(name, float(state.reading is not None and state.failure is None))
        if state.reading is not None:
            age.add_metric(name, state.reading.listed_at.age_s(now))
            tubes.add_metric(name, len(state.reading.tubes))
            if state.reading.sweep_s is not None:
                sweep.add_metric(name, state.reading.sweep_s)
    return up, age, tubes, sweep


def _jobs(servers: Iterable[ServerState], now: Instant, max_age_s: float) -> Metric:
    """Prometheus takes a number for that of the moment at which it asks: one that may be wrong by then isn't told."""
    jobs = GaugeMetricFamily(
        "beanscale_jobs", "Jobs in all tubes of a beanstalkd, by state.", labels=["server", "address", "state"]
    )
    for state in servers:
        totals = state.reading.jobs if state.reading else None
        if totals is not None and totals.answered_at.age_s(now) <= max_age_s:
            for job_state in STATES:
                jobs.add_metric([*_name(state), job_state], getattr(totals, job_state))
    return jobs


def _name(state: ServerState) -> list[str]:
    return [state.server.name, state.server.host]


LOOK_EVERY_S = 5.0
MOST_TOLD = 10

_log = structlog.get_logger()


class UnnamedTubes:
    """Looks at names that weren't there before, and at no others."""

    def __init__(self, snapshot: Callable[[], Snapshot], rules: Rules) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._told: set[str] = set()
        self._names: Mapping[str, tuple[str, ...]] = {}
        self._is_done = False

    async def keep(self) -> NoReturn:
        """For ever."""
        while True:
            await asyncio.to_thread(self.look)  # at ten thousand new names and a thousand rules it takes seconds
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Tell of what is new."""
        if self._is_done:
            return
        found = dict(self._found())
        tubes = sorted(found.keys() - self._told)
        room = MOST_TOLD - len(self._told)
        for tube in tubes[:room]:
            _log.info(
                "no autoscaler can ask for a tube of this name",
                tube=tube,
                server=found[tube],
                fix=f"name it in metrics: {{name: …, tubes: [{tube}], value: ready + reserved}}",
            )
        if len(tubes) > room:
            _log.info(
                "no autoscaler can ask for more tubes, nor for any other with a '/' in its name",
                tubes=len(tubes) - room,
                fix="name them in metrics:, many at once by a pattern",
            )
            self._is_done = True
        self._told.update(tubes[:room])

    def _found(self) -> Iterator[tuple[str, str]]:
        """Tubes and their servers."""
        before, states = self._names, self._snapshot().servers
        self._names = {state.server.name: state.reading.names for state in states if state.reading}
        for server, names in self._names.items():
            known = before.get(server, ())
            new = set(names).difference(known) if names is not known else ()
            yield from ((tube, server) for tube in new if not self._rules.can_name(server, tube))


_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Telemetry:
    """Counts requests, and tells at each scrape how the certificate stands, and what `others` tell."""

    def __init__(
        self,
        identity: CertificateController,
        limits: Limits,
        connections: Connections,
        *others: Collector,
    ) -> None:
        self._registry = CollectorRegistry()
        for other in others:
            self._registry.register(other)
        self._registry.register(_Load(limits, connections))
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

    def response(self) -> Response:
        """Return the exposition."""
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
    def __init__(self, limits: Limits, connections: Connections) -> None:
        self._limits = limits
        self._connections = connections

    def collect(self) -> Iterable[Metric]:
        """How near the bounds we are, and who met them."""
        under_way = GaugeMetricFamily("beanscale_requests_in_flight", "Requests under way.")
        under_way.add_metric([], self._limits.requests)
        rejected = CounterMetricFamily("beanscale_requests_rejected", "Requests answered 429: too many at once.")
        rejected.add_metric([], self._limits.rejected)
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
    def __init__(self, identity: CertificateController) -> None:
        self._identity = identity

    def collect(self) -> Iterable[Metric]:
        """How the serving certificate stands, and what was done about it."""
        identity = self._identity
        state, served = identity.state, identity.state.served
        yield GaugeMetricFamily(
            "beanscale_serving_certificate_up",
            "1 while the last look found its Secret and its APIService right, or put them right.",
            value=float(served is not None and state.error is None),
        )
        if served is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_certificate_start_timestamp_seconds",
                "Unix time at which the serving certificate's life began.",
                value=served.serving_made_at.timestamp(),
            )
            yield GaugeMetricFamily(
                "beanscale_serving_certificate_expiry_timestamp_seconds",
                "Unix time at which the serving certificate ends.",
                value=served.serving.expires_at.timestamp(),
            )
        if served is not None and served.authority_expires_at is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_ca_expiry_timestamp_seconds",
                "Unix time at which the CA of the serving certificate ends.",
                value=served.authority_expires_at.timestamp(),
            )
        changes = CounterMetricFamily(
            "beanscale_serving_certificate_changes",
            "What this replica did for the certificate: made, renewed, put back and so on.",
            labels=["change"],
        )
        for change in (*CHANGES, *REPAIRS):
            changes.add_metric([change], state.changes.get(change, 0))
        yield changes
        yield GaugeMetricFamily(
            "beanscale_clock_ahead_seconds",
            "Our clock before kube-apiserver's, to about a second.",
            value=identity.clock_ahead_s,
        )
