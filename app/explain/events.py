"""The Events that Kubernetes has of an HPA: what the HPA controller and beanscale's scaler did with it. Blocking.

Anyone who may create Events in the namespace can write any text into them, and any component's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.clock import now
from app.hpa.autoscaler import Autoscaler
from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError
from app.kube.events import COMPONENT
from app.text import printable, shortened

type Json = Mapping[str, Any]

MAX_EVENTS = 50
"""The newest ones; kube-apiserver keeps an Event for an hour."""
_MAX_PAGES = 4
_MAX_MESSAGE = 500
_MAX_WORD = 60
"""Characters of a reason, and of a component."""
_MAX_AHEAD_S = 60
"""A time further in the future is no clock's."""


@dataclass(frozen=True, slots=True)
class HpaEvent:
    """One Event; its texts are one line each, and bounded."""

    at_s: float
    """Unix seconds of its last occurrence."""
    is_warning: bool
    reason: str
    message: str
    component: str
    """The program that reports it, by its own words."""
    times: int
    """How often it occurred."""

    @property
    def is_scaling(self) -> bool:
        """True if it reports that beanscale has scaled the workload."""
        return (self.component, self.reason) == (COMPONENT, "Scaled")

    def to_json(self) -> Json:
        """Return it as JSON."""
        return {
            "time": datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "type": "Warning" if self.is_warning else "Normal",
            "reason": self.reason,
            "message": self.message,
            "component": self.component,
            "count": self.times,
        }


@dataclass(frozen=True, slots=True)
class HpaEvents:
    """What is known of an HPA's Events."""

    events: tuple[HpaEvent, ...] = ()
    """Newest first, at most MAX_EVENTS."""
    error: str = ""
    """Why they aren't known, or not all: a sentence without a full stop, with the fix. Empty: they are."""


def list_events(kubernetes: Kubernetes, autoscaler: Autoscaler) -> HpaEvents:
    """Return the newest Events of an HPA."""
    path = object_path("/api/v1", autoscaler.namespace, "events")
    selected = {"kind": "HorizontalPodAutoscaler", "name": autoscaler.name, "uid": autoscaler.uid}
    selector = ",".join(f"involvedObject.{field}={value}" for field, value in selected.items() if value)
    found: list[HpaEvent] = []
    error = ""
    try:
        # kube-apiserver sorts by name, so the newest may be on any page.
        for number, (items, _) in enumerate(kubernetes.pages(path, {"fieldSelector": selector})):
            if number == _MAX_PAGES:
                error = "it has very many Events; some of the newest may be missing here"
                break
            now_s = kubernetes.server_time(now()).timestamp()
            found += (_parse(each, now_s) for each in items)
    except KubernetesError as failure:
        why = f"this account must be allowed to list events in namespace {autoscaler.namespace}"
        error = f"its Events can't be read: {why if failure.status == 403 else failure.problem}"
    found.sort(key=lambda event: event.at_s, reverse=True)
    return HpaEvents(tuple(found[:MAX_EVENTS]), error)


def _parse(event: Json, now_s: float) -> HpaEvent:
    """Return an Event of either API, events.k8s.io and core."""
    series, source = event.get("series") or {}, event.get("source") or {}
    # The order of kubectl's `describe`; the last one is kube-apiserver's own, the others are anyone's.
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    known = (at_s for at_s in map(_seconds, times) if at_s is not None and at_s <= now_s + _MAX_AHEAD_S)
    return HpaEvent(
        at_s=next(known, now_s),
        is_warning=event.get("type") == "Warning",
        reason=_one_line(event.get("reason"), _MAX_WORD),
        message=_one_line(event.get("message"), _MAX_MESSAGE),
        component=_one_line(source.get("component") or event.get("reportingComponent"), _MAX_WORD),
        times=max(1, series.get("count") or event.get("count") or 1),
    )


def _seconds(time: str | None) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp() if time else None
    except ValueError:  # such as the year 0, which Kubernetes accepts
        return None


def _one_line(text: str | None, limit: int) -> str:
    return shortened(printable(text or ""), limit)
