"""The HPAs whose annotations ask beanscale to scale their workload: followed by one watch over all HPAs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import structlog

from app.hpa.autoscaler import Autoscaler, Workload, parse_hpa
from app.hpa.options import parse_options
from app.kube.events import ObjectReference
from app.kube.watcher import Watcher
from app.metrics.query import MetricQuery
from app.quantity import QuantityError
from app.ratelimit import RateLimitedWarning
from app.scaler.plan import once_per_sync
from app.scaler.reading import queries

PATH = "/apis/autoscaling/v2/horizontalpodautoscalers"
MAX_COST = 15_000
"""Of all annotated HPAs that are scaled: 5,000 with two metrics each, which is evaluated within about 0.4 s."""
_TEXT_PER_COST = 256
_MAX_SHOWN = 253
"""Characters of each part of a target, of an HPA that isn't evaluated."""

_log = structlog.get_logger()
_unreadable = RateLimitedWarning()
_too_many = RateLimitedWarning(interval_s=600.0)


@dataclass(frozen=True, slots=True)
class Hpa:
    """An annotated HPA."""

    reference: ObjectReference
    autoscaler: Autoscaler
    queries: tuple[MetricQuery | str | None, ...]
    """Of its metrics; see `queries`."""
    periods_s: frozenset[int]
    """Seconds over which increases count."""
    cost: int
    """Of its evaluation, in metrics; each unit takes up to 5 kB of memory."""

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
        if autoscaler.options.errors:  # it isn't evaluated, and may be of any size
            parts = autoscaler.workload.api_version, autoscaler.workload.kind, autoscaler.workload.name
            shown = Workload(*(part[:_MAX_SHOWN] for part in parts))
            autoscaler = replace(autoscaler, workload=shown, metrics=(), conditions=())
        periods_s = frozenset(policy.period_s for policy in once_per_sync(autoscaler).up.policies)
        namespace, name = autoscaler.namespace, autoscaler.name
        reference = ObjectReference("autoscaling/v2", "HorizontalPodAutoscaler", namespace, name, autoscaler.uid)
        cost = 1 + len(autoscaler.metrics) + autoscaler.text_length // _TEXT_PER_COST
        return Hpa(reference, autoscaler, queries(autoscaler), periods_s, cost)
    except (KeyError, TypeError, ValueError, QuantityError) as error:
        of = found.get("metadata") or {}
        _unreadable.warning("HPA is invalid", namespace=of.get("namespace"), hpa=of.get("name"), error=repr(error))
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

    def limit(self, values: Mapping[str, Hpa]) -> Mapping[str, Hpa]:
        """Return all HPAs, or as many as may be, as much of each namespace as of the others."""
        if sum(hpa.cost for hpa in values.values()) <= MAX_COST:
            return values
        _too_many.warning("too many HPAs have beanscale annotations: only some are scaled", seen=len(values))
        before: Counter[str] = Counter()
        ranked: list[tuple[int, str]] = []
        for key in sorted(values):
            before[values[key].reference.namespace] += values[key].cost
            ranked.append((before[values[key].reference.namespace], key))
        kept, total = {}, 0
        for _, key in sorted(ranked):
            total += values[key].cost
            if total > MAX_COST:
                break
            kept[key] = values[key]
        return kept

    def publish(self, values: Mapping[str, Hpa]) -> None:
        """Replace `current`."""
        self.current = values

    def log_failure(self, error: str, traceback: Exception | None) -> None:
        """Log that no change of an HPA is seen."""
        _log.warning("HPAs can't be watched: new and changed ones aren't seen", error=error, exc_info=traceback)
