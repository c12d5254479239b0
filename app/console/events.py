"""What happened in the last hour, and when: seen by comparing two moments, or told by whoever did it. No I/O."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import ServerState, Snapshot
from app.hpa.autoscaler import Autoscaler
from app.hpa.decision import pods
from app.settings import ObjectName, Server
from app.text import duration

MOST_EVENTS = 5000
SHOWN_S = 3600.0
MOST_SHOWN = 200
_TOLD_S = 5.0
"""Between an action and the moment at which its outcome is seen."""


class Event(NamedTuple):
    """One of them: of a server, of one of its tubes, or of an autoscaler."""

    at_s: float
    """Unix seconds."""
    kind: str
    """`restart`, `down`, `up`, `pause`, `resume`, `rescale`, or an action: `kick`, `delete`, `put`, `move`…"""
    text: str
    """A sentence without its full stop."""
    server: Server | None = None
    tube: str | None = None
    """None: it concerns all of the server's."""
    autoscaler: ObjectName | None = None


class EventLog:
    """The latest."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)

    def add(self, events: Iterable[Event]) -> None:
        """Newer than all that are there."""
        self._events.extend(events)

    def notice(self, events: Iterable[Event]) -> None:
        """Add what was seen; not a second time what whoever did it has told already."""
        for event in events:
            if not any(_same(event, told) for told in self._lately(event.at_s)):
                self._events.append(event)

    def _lately(self, now_s: float) -> Iterator[Event]:
        return takewhile(lambda told: now_s - told.at_s < _TOLD_S, reversed(self._events))

    def of(
        self, server: Server | None, tube: str | None, autoscalers: Collection[ObjectName], now_s: float
    ) -> list[Mapping[str, Any]]:
        """Those of a tube, its server and some autoscalers as JSON, oldest first."""
        found: list[Mapping[str, Any]] = [
            {"t": event.at_s, "kind": event.kind, "text": event.text}
            for event in self._events
            if now_s - event.at_s <= SHOWN_S
            and (_concerns(event, server, tube) or (event.autoscaler is not None and event.autoscaler in autoscalers))
        ]
        return found[-MOST_SHOWN:]

    def restarted_at(self, server: Server) -> float | None:
        """When a server was last found restarted, in unix seconds."""
        return next(
            (event.at_s for event in reversed(self._events) if event.kind == "restart" and event.server == server), None
        )


def _same(event: Event, told: Event) -> bool:
    return (event.kind, event.server, event.tube, event.autoscaler) == (
        told.kind,
        told.server,
        told.tube,
        told.autoscaler,
    )


def _concerns(event: Event, server: Server | None, tube: str | None) -> bool:
    return event.server is not None and event.server == server and event.tube in {None, tube}


def of_servers(before: Snapshot, after: Snapshot, now_s: float) -> Iterator[Event]:
    """What became of servers and tubes between two moments."""
    earlier = {state.server: state for state in before.servers}
    for state in after.servers:
        known = earlier.get(state.server)
        if known is not None and known is not state:
            yield from _of_server(known, state, now_s)


def _of_server(before: ServerState, after: ServerState, now_s: float) -> Iterator[Event]:
    server, name = after.server, _called(after)
    if after.failure and not before.failure and before.attempted:
        yield Event(now_s, "down", f"{name} can't be read: {after.failure.message}", server)
    if before.failure and not after.failure and before.reading:
        yield Event(now_s, "up", f"{name} can be read again", server)
    if before.reading is None or after.reading is None:
        return
    if before.reading.server_id != after.reading.server_id:
        yield Event(now_s, "restart", f"{name} was restarted; its counters start anew", server)
        return
    if before.reading.tubes is after.reading.tubes:
        return
    for tube, stats in after.reading.tubes.items():
        earlier = before.reading.tubes.get(tube)
        if stats.pause_time_left or (earlier is not None and earlier.pause_time_left):
            yield from _of_pause(earlier, stats, server, now_s)


def _of_pause(before: TubeStats | None, after: TubeStats, server: Server, now_s: float) -> Iterator[Event]:
    # a tube that wasn't there before may have been made and paused since
    left_s, pauses = (before.pause_time_left, before.cmd_pause_tube) if before else (0, 0)
    if after.pause_time_left > 0 and (left_s <= 0 or after.cmd_pause_tube > pauses):
        yield Event(now_s, "pause", f"paused for {duration(after.pause)}", server, after.name)
    if left_s > 0 >= after.pause_time_left:
        yield Event(now_s, "resume", "the pause ended", server, after.name)


def of_autoscalers(before: Iterable[Autoscaler], after: Iterable[Autoscaler], now_s: float) -> Iterator[Event]:
    """Those that decided on another number of pods between two looks."""
    earlier = {(each.namespace, each.name): each.desired for each in before}
    for each in after:
        desired = earlier.get((each.namespace, each.name))
        if desired is not None and desired != each.desired:
            text = f"{each.name} scales {each.workload} from {pods(desired)} to {each.desired}"
            yield Event(now_s, "rescale", text, autoscaler=ObjectName(each.namespace, each.name))


def _called(state: ServerState) -> str:
    return f"beanstalkd {state.server.name}"
