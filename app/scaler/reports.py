"""Reports of the scaler about an HPA: Events, log lines and counters."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Literal

import structlog
from prometheus_client import Counter
from prometheus_client.metrics_core import Metric

from app.clock import Instant
from app.hpa.obstacles import REASONS, Obstacle, Reason
from app.hpa.options import IMMEDIATE, SCALE_TO_ZERO
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.kube.events import create_event
from app.kube.scale import ScaleObject
from app.ratelimit import RateLimitedWarning
from app.scaler.hpas import Hpa
from app.scaler.plan import Change, Direction
from app.text import shortened

_MAX_EVENTS = 1000
"""Events that wait to be created."""
_SAME_EVENT_S = 600
"""Within so long, the replicas' reports of the same obstacle are one Event."""
_MAX_LOGGED = 1000
"""Characters of a sentence in the log: it can quote names and selectors of any length."""
_VARYING: frozenset[Reason] = frozenset({"condition", "no_value"})
"""Reasons whose sentence has numbers that change."""
TRANSIENT: frozenset[Reason] = frozenset({"conflict", "unavailable"})
"""Reasons without an Event: one resolves itself within a second, the other keeps Events from being created."""
_BY_STATUS: Mapping[int, Reason] = {
    400: "denied",
    403: "forbidden",
    404: "not_found",
    405: "denied",
    409: "conflict",
    422: "denied",
}

_log = structlog.get_logger()


class Reporter:
    """Reports without delaying its caller. Thread-safe."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        # A thread of their own, so that Events never delay a change.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="scaler-events")
        self._places = BoundedSemaphore(_MAX_EVENTS)
        self._warnings = RateLimitedWarning(burst=20, interval_s=1.0)
        self._patches = Counter(
            "beanscale_scaler_patches",
            "Changes of a workload's number of pods, by direction.",
            ["direction"],
            registry=None,
        )
        for direction in Direction:
            self._patches.labels(direction)
        self._rejections = Counter(
            "beanscale_scaler_rejections",
            "Beginnings of a time in which beanscale can't do what an HPA's annotations ask for, by reason.",
            ["reason"],
            registry=None,
        )
        for reason in REASONS:
            self._rejections.labels(reason)

    def collect(self) -> Iterable[Metric]:
        """Return the counters."""
        yield from self._patches.collect()
        yield from self._rejections.collect()

    def close(self) -> None:
        """Drop the Events that wait."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def change(self, hpa: Hpa, change: Change, before: ScaleObject, now: Instant) -> None:
        """Report that the workload was changed."""
        self._patches.labels(change.direction).inc()
        workload = hpa.autoscaler.workload
        _log.info(
            "workload scaled",
            namespace=hpa.reference.namespace,
            workload=str(workload),
            hpa=hpa.reference.name,
            before=before.spec_replicas,
            after=change.replicas,
            why=change.why,
        )
        message = f"Scaled {workload} from {before.spec_replicas} to {change.replicas}: {change.why}"
        self._create_event(hpa, "Normal", "Scaled", message, before.version, now)

    def obstacles(
        self, hpa: Hpa, found: Iterable[Obstacle], reported: Mapping[str, Reason], now: Instant
    ) -> Mapping[str, Reason]:
        """Report the obstacles that aren't among those reported; return what to give as `reported` next time."""
        by_key = {each.reason if each.reason in _VARYING else f"{each.reason}: {each.sentence}": each for each in found}
        for key in by_key.keys() - reported:
            self.obstacle(hpa, by_key[key], now, key)
        return {key: each.reason for key, each in by_key.items()}

    def obstacle(self, hpa: Hpa, obstacle: Obstacle, now: Instant, key: str | None = None) -> None:
        """Report that an obstacle has begun. Replicas with the same `key`, by default the reason, create one Event."""
        self._rejections.labels(obstacle.reason).inc()
        self._warnings.warning(
            "workload isn't scaled",
            namespace=hpa.reference.namespace,
            workload=str(hpa.autoscaler.workload),
            hpa=hpa.reference.name,
            reason=obstacle.reason,
            error=shortened(obstacle.sentence, _MAX_LOGGED),
        )
        if obstacle.reason not in TRANSIENT:
            what = {IMMEDIATE: "up ", SCALE_TO_ZERO: "to 0 "}.get(obstacle.annotation, "")
            message = f"{hpa.autoscaler.workload} isn't scaled {what}by beanscale: {obstacle.sentence}"
            key = f"{key or obstacle.reason} {int(now.unix_s // _SAME_EVENT_S)}"
            self._create_event(hpa, "Warning", "NotScaled", message, key, now)

    def _create_event(  # noqa: PLR0913, PLR0917 - the parts of an Event
        self, hpa: Hpa, kind: Literal["Normal", "Warning"], reason: str, message: str, key: str, now: Instant
    ) -> None:
        if not self._places.acquire(blocking=False):
            return

        def create() -> None:
            try:
                at = self._kubernetes.server_time(now)
                create_event(self._kubernetes, hpa.reference, kind, reason, message, at, key)
            except KubernetesError as error:
                self._warnings.warning("Event can't be created", hpa=hpa.reference.name, error=str(error))
            finally:
                self._places.release()

        self._threads.submit(create)


def describe_failure(hpa: Hpa, error: Exception) -> Obstacle:
    """Return why a change failed."""
    if not isinstance(error, KubernetesError):
        return Obstacle("internal", f"internal error: {error!r}; it is tried again, with growing pauses")
    reason = _BY_STATUS.get(error.status or 0, "unavailable")
    fix = {
        "not_found": "correct scaleTargetRef, or delete the HPA",
        "forbidden": f"grant it by a Role in namespace {hpa.reference.namespace} with get and patch on the scale of"
        f" {hpa.autoscaler.workload}, unless an admission policy denies it",
        "denied": "correct what denies or changes it, such as an admission policy",
        "conflict": "it is tried again with the next reading",
    }.get(reason, "it is tried again, with growing pauses")
    return Obstacle(reason, f"{error.problem}; {fix}")
