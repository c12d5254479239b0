"""How the beanstalkds are read, for /metrics. Nothing a tube: ten thousand tubes are not ten thousand series."""

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.clock import Instant
from app.metrics.built_in import STATES
from app.tubes.snapshot import ServerState, Snapshot


class ReadingFigures(Collector):
    """`max_age_s`: what is older is no number, as everywhere."""

    def __init__(self, snapshot: Callable[[], Snapshot], clock: Callable[[], Instant], max_age_s: float) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._max_age_s = max_age_s

    def collect(self) -> Iterable[Metric]:
        """One series an address of each server, none for what isn't known."""
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
        if state.sweep_s is not None:
            sweep.add_metric(name, state.sweep_s)
    return up, age, tubes, sweep


def _jobs(servers: Iterable[ServerState], now: Instant, max_age_s: float) -> Metric:
    """Prometheus takes a number for that of the moment at which it asks: one that may be wrong by then isn't told."""
    jobs = GaugeMetricFamily(
        "beanscale_jobs", "Jobs in all tubes of a beanstalkd, by state.", labels=["server", "address", "state"]
    )
    for state in servers:
        totals = state.reading.jobs if state.reading and not state.doubted else None
        if totals is not None and totals.answered_at.age_s(now) <= max_age_s:
            for job_state in STATES:
                jobs.add_metric([*_name(state), job_state], getattr(totals, job_state))
    return jobs


def _name(state: ServerState) -> list[str]:
    # as configured where there is one address: its series goes on when its name leads elsewhere
    return [state.server.name, state.member or state.server.host]
