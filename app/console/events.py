"""What happened in the last hour, and when: found by comparing two snapshots, or reported by what did it."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from app.beanstalkd.protocol import InvalidFieldError
from app.beanstalkd.reading import Reading, Snapshot
from app.explain.events import HpaEvent
from app.hpa.autoscaler import Autoscaler
from app.kube.events import COMPONENT
from app.metrics.built_in import STATES
from app.metrics.fields import COUNTED
from app.settings import ObjectName, Server
from app.text import count, duration, shortened

MAX_EVENTS = 5000
SHOWN_S = 3600.0
MAX_SHOWN = 200
RESTARTS = frozenset({"restart", "loss"})
_MAX_TEXT = 200
"""Characters of an Event's message."""
_REPORTED_S = 5.0
"""Most seconds between an action and the reading that shows its outcome."""


class Event(NamedTuple):
    """An event of a server, of one of its tubes, or of an autoscaler."""

    at_s: float
    """Unix seconds."""
    kind: str
    """`restart`, `loss` (a restart after which there are fewer jobs), `down`, `up`, `pause`, `resume`, `rescale` (by
    the HPA controller), `scaled` (by beanscale or another client), `not-scaled`, or an action: `kick`, `put`…"""
    text: str
    """A clause."""
    server: Server | None = None
    tube: str | None = None
    """None: it concerns all tubes of the server."""
    autoscaler: ObjectName | None = None
    is_found: bool = False
    """True if only a comparison of two polls shows it."""


class EventLog:
    """The latest events. Adding and reading are thread-safe."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def add(self, events: Iterable[Event]) -> None:
        """Add events that are newer than all others."""
        self._events.extend(events)

    def notice(self, events: Iterable[Event]) -> None:
        """Add events found in readings, except those that an action has just reported."""
        found = list(events)
        since_s = found[-1].at_s - _REPORTED_S if found else 0
        known = {(each.kind, *each[3:]) for each in self._events.copy() if each.at_s > since_s} if found else set()
        for event in found:
            if (event.kind, *event[3:]) not in known:
                self._events.append(event)
                known.add((event.kind, *event[3:]))

    def of(
        self,
        server: Server | None,
        tube: str | None,
        autoscalers: Collection[ObjectName],
        now_s: float,
        reported: Sequence[Event] = (),
    ) -> Sequence[Mapping[str, Any]]:
        """Return the events of a tube, its server and some autoscalers as JSON, oldest first.

        `reported`: what Kubernetes has of these autoscalers, which is more exact than what comparing two polls found.
        """
        exact = {event.autoscaler for event in reported if event.kind == "scaled"}
        found = [
            event
            for event in (*self._events.copy(), *reported)
            if now_s - event.at_s <= SHOWN_S
            and (
                (event.server is not None and event.server == server and event.tube in {None, tube})
                or (event.autoscaler is not None and event.autoscaler in autoscalers)
            )
            and not (event.kind == "scaled" and event.is_found and event.autoscaler in exact)
        ]
        found.sort(key=lambda event: event.at_s)
        return [{"t": event.at_s, "kind": event.kind, "text": event.text} for event in found[-MAX_SHOWN:]]

    def last_restart(self, server: Server) -> Event | None:
        """Return the event of the last restart that was found of a server."""
        found = (each for each in reversed(self._events.copy()) if each.kind in RESTARTS and each.server == server)
        return next(found, None)


def of_servers(before: Snapshot, after: Snapshot, now_s: float) -> Iterator[Event]:
    """Yield what happened to servers and tubes between two snapshots."""
    earlier = {state.server: state for state in before.servers}
    for new in after.servers:
        old, server, name = earlier.get(new.server), new.server, f"beanstalkd {new.server.name}"
        if old is None or old is new:
            continue
        if new.failure and not old.failure and old.attempted:
            yield Event(now_s, "down", f"{name} can't be read: {new.failure.message}", server)
        if old.failure and not new.failure and old.reading:
            yield Event(now_s, "up", f"{name} can be read again", server)
        if old.reading is None or new.reading is None:
            continue
        if old.reading.server_id != new.reading.server_id:
            before_jobs, after_jobs = _jobs(old.reading), _jobs(new.reading)
            if before_jobs is None or after_jobs is None:
                yield Event(now_s, "restart", f"{name} restarted: its counters start at 0", server)
                continue
            text = f"{name} restarted: {count(before_jobs, 'job')} before, {after_jobs:,} after"
            yield Event(now_s, "loss" if after_jobs < before_jobs else "restart", text, server)
        elif old.reading.tubes is not new.reading.tubes:
            yield from _of_pauses(old.reading, new.reading, server, now_s)


def _jobs(reading: Reading) -> int | None:
    """Return the number of jobs of a server, in any state; None if a tube has an invalid field."""
    try:
        return sum(sum(map(COUNTED[state], reading.tubes.values())) for state in STATES)
    except InvalidFieldError:
        return None


def _of_pauses(before: Reading, after: Reading, server: Server, now_s: float) -> Iterator[Event]:
    for tube, stats in after.tubes.items():
        old = before.tubes.get(tube)
        with suppress(InvalidFieldError):  # such a tube has no events of pauses
            was_paused = old is not None and old.is_paused
            if not (was_paused or stats.is_paused):
                continue
            # a tube that didn't exist before may have been created and paused since
            if stats.is_paused and (not was_paused or (old and stats.cmd_pause_tube > old.cmd_pause_tube)):
                yield Event(now_s, "pause", f"paused for {duration(stats.pause)}", server, tube)
            if not stats.is_paused:
                yield Event(now_s, "resume", "the pause ended", server, tube)


def of_autoscalers(before: Iterable[Autoscaler], after: Iterable[Autoscaler], now_s: float) -> Iterator[Event]:
    """Yield an event for each autoscaler whose desired number of pods changed between two polls."""
    earlier = {(each.namespace, each.name): each for each in before}
    for each in after:
        old = earlier.get((each.namespace, each.name))
        if old is None or old.desired == each.desired:
            continue
        name, change = ObjectName(each.namespace, each.name), f"from {count(old.desired, 'pod')} to {each.desired}"
        if old.scaled_at_s == each.scaled_at_s and each.options.active:
            # The controller notes when it scales; this time it only found another number.
            text = f"{each.workload} was scaled {change}, not by the HPA controller"
            yield Event(now_s, "scaled", text, autoscaler=name, is_found=True)
        else:
            yield Event(now_s, "rescale", f"{each.name} scales {each.workload} {change}", autoscaler=name)


def reported_events(name: ObjectName, known: Iterable[HpaEvent], ahead_s: float) -> Iterator[Event]:
    """Yield what beanscale itself reported in Events of an HPA. `ahead_s`: of this clock, before the cluster's."""
    for each in known:
        if each.component == COMPONENT:
            kind, text = "scaled" if each.is_scaling else "not-scaled", shortened(each.message, _MAX_TEXT)
            yield Event(each.at_s + ahead_s, kind, f"beanscale: {text}", autoscaler=name)
