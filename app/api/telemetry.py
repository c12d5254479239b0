"""/metrics for Prometheus, and log lines about tubes that no HPA can query.

Nothing per tube: ten thousand tubes are not ten thousand series.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from app.api.limits import Limits
from app.beanstalkd.reading import Snapshot
from app.clock import Instant
from app.http.server import HttpServer
from app.kube.certificates.controller import CHANGES, REPAIRS, CertificateController
from app.metrics.built_in import STATES
from app.metrics.rules import Rules

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

_log = structlog.get_logger()


class Telemetry:
    """Counts responses, and serves all metrics."""

    def __init__(
        self, certificate: CertificateController, limits: Limits, http: HttpServer, *others: Collector
    ) -> None:
        self._registry = CollectorRegistry()
        for collector in (*others, _LoadCollector(limits, http), _CertificateCollector(certificate)):
            self._registry.register(collector)
        self._requests = Counter(
            "beanscale_requests", "Requests answered, by HTTP status code.", ["code"], registry=self._registry
        )
        self._durations = Histogram(
            "beanscale_request_duration_seconds",
            "From a request's head to the end of its response, access checks included.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._by_code: dict[int, Counter] = {}

    def observe(self, code: int, duration_s: float) -> None:
        """Count one response."""
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._requests.labels(code)
        counter.inc()
        self._durations.observe(duration_s)

    def response(self) -> Response:
        """Return the exposition."""
        return Response(generate_latest(self._registry), headers={"content-type": _CONTENT_TYPE})


class ReviewCollector(Collector):
    """The reviews by kube-apiserver, and their duration."""

    def __init__(self) -> None:
        self._reviews = Counter(
            "beanscale_reviews",
            "Reviews by kube-apiserver, by kind and verdict; cached results don't count.",
            ["kind", "verdict"],
            registry=None,
        )
        self._durations = Histogram(
            "beanscale_review_duration_seconds",
            "From the request of a review to its result, waiting for a thread included.",
            ["kind"],
            buckets=_BUCKETS_S,
            registry=None,
        )

    def observe(self, kind: str, verdict: str, duration_s: float) -> None:
        """Count one."""
        self._reviews.labels(kind, verdict).inc()
        self._durations.labels(kind).observe(duration_s)

    def collect(self) -> Iterable[Metric]:
        """Return both metrics."""
        return *self._reviews.collect(), *self._durations.collect()


class PollCollector(Collector):
    """How the beanstalkd servers are read. Their numbers have no series while invalid or older than `max_age_s`."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Callable[[], Instant], max_age_s: float) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._max_age_s = max_age_s

    def collect(self) -> Iterable[Metric]:
        """Return one series for each server."""
        labels, now = ["server", "address"], self._clock()
        up = GaugeMetricFamily("beanscale_beanstalkd_up", "1 while the last poll succeeded.", labels=labels)
        age = GaugeMetricFamily("beanscale_reading_age_seconds", "Age of the last good reading.", labels=labels)
        tubes = GaugeMetricFamily("beanscale_tubes", "Tubes in the last good reading.", labels=labels)
        sweep = GaugeMetricFamily("beanscale_sweep_seconds", "Duration of the last good sweep.", labels=labels)
        jobs = GaugeMetricFamily(
            "beanscale_jobs", "Jobs in all tubes of a beanstalkd, by state.", labels=[*labels, "state"]
        )
        timeouts = CounterMetricFamily(
            "beanscale_job_timeouts",
            "Jobs whose time to run (TTR) ended before their worker was done, since the start of a beanstalkd.",
            labels=labels,
        )
        stuck = GaugeMetricFamily(
            "beanscale_tubes_stuck",
            "Tubes that have ready jobs and connections that watch, none of which took a job for 10 seconds.",
            labels=labels,
        )
        for state in self._snapshot().servers:
            name, reading = [state.server.name, state.server.host], state.reading
            up.add_metric(name, float(reading is not None and state.failure is None))
            if reading is None:
                continue
            age.add_metric(name, reading.listed_at.age_s(now))
            tubes.add_metric(name, len(reading.tubes))
            if reading.sweep_s is not None:
                sweep.add_metric(name, reading.sweep_s)
            # Prometheus records a number for the time of its scrape, so one that may be wrong by then is left out.
            if reading.jobs is not None and reading.jobs.answered_at.age_s(now) <= self._max_age_s:
                for job_state in STATES:
                    number = getattr(reading.jobs, job_state)
                    if number is not None:
                        jobs.add_metric([*name, job_state], number)
                if reading.jobs.timeouts is not None:
                    timeouts.add_metric(name, reading.jobs.timeouts)
            if reading.listed_at.age_s(now) <= self._max_age_s:
                stuck.add_metric(name, sum(reading.stuck_s(tube) is not None for tube in reading.idle))
        return up, age, tubes, sweep, jobs, timeouts, stuck


class _LoadCollector(Collector):
    def __init__(self, limits: Limits, http: HttpServer) -> None:
        self._limits = limits
        self._http = http

    def collect(self) -> Iterable[Metric]:
        """Return how much of the limits is used, and how often they were reached."""
        yield GaugeMetricFamily("beanscale_requests_in_flight", "Requests in flight.", value=self._limits.requests)
        yield CounterMetricFamily(
            "beanscale_requests_rejected", "Requests answered 429: too many at once.", value=self._limits.rejected
        )
        yield GaugeMetricFamily("beanscale_connections", "Open client connections.", value=len(self._http.connections))
        ended = CounterMetricFamily(
            "beanscale_connections_ended",
            "Connections that beanscale closed, by the limit that they reached.",
            labels=["reason"],
        )
        for reason, number in self._http.ended.items():
            ended.add_metric([reason], number)
        yield ended


class _CertificateCollector(Collector):
    def __init__(self, controller: CertificateController) -> None:
        self._controller = controller

    def collect(self) -> Iterable[Metric]:
        """Return the state of the serving certificate, and what was done about it."""
        state = self._controller.state
        served = state.served
        yield GaugeMetricFamily(
            "beanscale_serving_certificate_up",
            "1 while the last check found its Secret and its APIService in order, or repaired them.",
            value=float(served is not None and state.error is None),
        )
        if served is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_certificate_start_timestamp_seconds",
                "Unix time at which the serving certificate's lifetime began.",
                value=served.serving_made_at.timestamp(),
            )
            yield GaugeMetricFamily(
                "beanscale_serving_certificate_expiry_timestamp_seconds",
                "Unix time at which the serving certificate expires.",
                value=served.serving.expires_at.timestamp(),
            )
        if served is not None and served.authority_expires_at is not None:
            yield GaugeMetricFamily(
                "beanscale_serving_ca_expiry_timestamp_seconds",
                "Unix time at which the CA of the serving certificate expires.",
                value=served.authority_expires_at.timestamp(),
            )
        changes = CounterMetricFamily(
            "beanscale_serving_certificate_changes",
            "What this replica did for the certificate: created, renewed, restored and so on.",
            labels=["change"],
        )
        for change in (*CHANGES, *REPAIRS):
            changes.add_metric([change], state.changes.get(change, 0))
        yield changes
        yield GaugeMetricFamily(
            "beanscale_clock_ahead_seconds",
            "How far this node's clock is ahead of kube-apiserver's, to about a second.",
            value=self._controller.clock_ahead_s,
        )


CHECK_PERIOD_S = 5.0
MAX_LOGGED = 10


class TubesWithoutMetric:
    """Logs the tubes that neither a metric's name nor a label can name, each once and with what to do.

    The first few by name, then one line with the number of the others found with them, and never another, so that
    clients of beanstalkd can't fill the log.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], rules: Rules) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._logged: set[str] = set()
        self._names: Mapping[str, Sequence[str]] = {}
        """Each server's tubes at the last check: only new ones are checked."""
        self._is_done = False

    async def run(self) -> NoReturn:
        """Check forever."""
        while True:
            await asyncio.to_thread(self.check)  # ten thousand new names and a thousand rules take seconds
            await asyncio.sleep(CHECK_PERIOD_S)

    def check(self) -> None:
        """Log what is new."""
        if self._is_done:
            return
        before, states = self._names, self._snapshot().servers
        self._names = {state.server.name: state.reading.names for state in states if state.reading}
        found: dict[str, str] = {}
        for server, names in self._names.items():
            known = before.get(server, ())
            new = set(names).difference(known) if names is not known else ()
            found.update((tube, server) for tube in new if not self._rules.has_metric(server, tube))
        tubes = sorted(found.keys() - self._logged)
        room = MAX_LOGGED - len(self._logged)
        for tube in tubes[:room]:
            _log.info(
                "tube has no metric: '/' in its name",
                tube=tube,
                server=found[tube],
                hint=f"add a rule to metrics: {{name: …, tubes: [{tube}], value: ready + reserved}}",
            )
        if len(tubes) > room:
            _log.info(
                "more tubes have no metric (further ones are not logged)",
                tubes=len(tubes) - room,
                hint="add rules to metrics, for many at once by a glob",
            )
            self._is_done = True
        self._logged.update(tubes[:room])
