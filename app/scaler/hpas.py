"""The HPAs whose annotations ask beanscale to scale their workload: followed by one watch over all HPAs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog

from app.hpa.autoscaler import Autoscaler, parse_hpa
from app.hpa.options import parse_options
from app.kube.events import ObjectReference
from app.kube.watcher import Watcher
from app.metrics.query import MetricQuery
from app.quantity import QuantityError
from app.ratelimit import RateLimitedWarning
from app.scaler.plan import once_per_sync
from app.scaler.reading import queries

PATH = "/apis/autoscaling/v2/horizontalpodautoscalers"
MAX_HPAS = 5000
"""Annotated HPAs that are scaled; each takes up to 20 kB of memory."""

_log = structlog.get_logger()
_unreadable = RateLimitedWarning()


@dataclass(frozen=True, slots=True)
class Hpa:
    """An annotated HPA."""

    reference: ObjectReference
    autoscaler: Autoscaler
    queries: tuple[MetricQuery | str | None, ...]
    """Of its metrics; see `queries`."""
    periods_s: frozenset[int]
    """Seconds over which increases count."""

    @property
    def workload(self) -> tuple[str, str, str, str]:
        """The workload, whatever its API version."""
        workload = self.autoscaler.workload
        return self.autoscaler.namespace, workload.api_version.rpartition("/")[0], workload.kind, workload.name


def read_hpa(found: Mapping[str, Any]) -> Hpa | None:
    """Return an HPA with annotations of beanscale, or None."""
    try:
        if not parse_options(found["metadata"].get("annotations") or {}).requested:
            return None
        autoscaler = parse_hpa(found)
        periods_s = frozenset(policy.period_s for policy in once_per_sync(autoscaler).up.policies)
        namespace, name = autoscaler.namespace, autoscaler.name
        reference = ObjectReference("autoscaling/v2", "HorizontalPodAutoscaler", namespace, name, autoscaler.uid)
        return Hpa(reference, autoscaler, queries(autoscaler), periods_s)
    except (KeyError, TypeError, ValueError, QuantityError) as error:
        _unreadable.warning("HPA is invalid", error=repr(error))
        return None


class HpaWatcher(Watcher[Hpa]):
    """Keeps `current`, which is replaced as a whole."""

    def __init__(self) -> None:
        super().__init__(PATH)
        self.current: Mapping[str, Hpa] = MappingProxyType({})
        """By NAMESPACE/NAME."""

    def parse(self, found: Mapping[str, Any]) -> Hpa | None:
        """Return the HPA if it is annotated."""
        return read_hpa(found)

    def publish(self, values: Mapping[str, Hpa]) -> None:
        """Replace `current`."""
        if len(values) > MAX_HPAS >= len(self.current):
            _log.warning("too many HPAs have beanscale annotations: only some are scaled", limit=MAX_HPAS)
        self.current = values if len(values) <= MAX_HPAS else _some_of_each_namespace(values)

    def log_failure(self, error: str, traceback: Exception | None) -> None:
        """Log that no change of an HPA is seen."""
        _log.warning("HPAs can't be watched: new and changed ones aren't seen", error=error, exc_info=traceback)


def _some_of_each_namespace(values: Mapping[str, Hpa]) -> Mapping[str, Hpa]:
    """Return MAX_HPAS of the HPAs, as many of each namespace as of the others."""
    before: Counter[str] = Counter()
    ranked: list[tuple[int, str]] = []
    for key in sorted(values):
        namespace = values[key].reference.namespace
        ranked.append((before[namespace], key))
        before[namespace] += 1
    return {key: values[key] for _, key in sorted(ranked)[:MAX_HPAS]}
