"""One moment as the pages see it, and what a row about a tube says. Pure but for what it reads of the history."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.clock import Instant
from app.console.events import EventLog
from app.console.history import History, Place, Where
from app.console.links import Link
from app.console.seen import SeenTubes
from app.metrics.facts import rounded
from app.metrics.fields import COUNTED
from app.metrics.freshness import Source
from app.metrics.outcome import NoValueError
from app.metrics.question import Evaluation
from app.metrics.rates import growth, per_second
from app.metrics.rule import Rules
from app.tubes.protocol import TubeStats
from app.tubes.snapshot import ServerState, Snapshot

type Json = dict[str, Any]

SHOWN = ("ready", "reserved", "delayed", "buried", "urgent", "using", "watching", "waiting")
"""A row's counts."""
RATES: Mapping[str, str] = {"putPerSecond": "put_per_second", "deletedPerSecond": "deleted_per_second"}


@dataclass(frozen=True, slots=True)
class View:
    """What is known."""

    snapshot: Snapshot
    now: Instant
    max_age_s: float
    history: History
    events: EventLog
    seen: SeenTubes
    links: Sequence[Link] = ()
    """Which tubes autoscalers go by."""
    rules: Rules = field(default_factory=Rules)

    def state(self, server: str, member: str | None = None) -> ServerState | None:
        """A server by its name; of several members the first, unless one is named."""
        for state in self.snapshot.servers:
            if state.server.name == server and member in {None, state.member}:
                return state
        return None

    @property
    def evaluation(self) -> Evaluation:
        """For what metrics are made of."""
        return Evaluation(self.snapshot, self.now, self.max_age_s, self.rules)


class Spot(NamedTuple):
    """One tube of one server, there or not."""

    state: ServerState
    tube: str
    stats: TubeStats | None
    """None: it isn't there, or isn't known just now."""
    known: bool
    """Whether what beanstalkd said of it is fresh."""

    @property
    def where(self) -> Where:
        """For the history."""
        return Where(place_of(self.state), self.tube)

    @property
    def gone(self) -> bool:
        """Whether beanstalkd knows no such tube (any more)."""
        reading = self.state.reading
        return reading is not None and self.tube not in reading.tubes


def place_of(state: ServerState) -> Place:
    """Where a server's tubes are, for the history."""
    return Place(state.server.name, state.member)


def spot(view: View, state: ServerState, tube: str) -> Spot:
    """What is known of one tube."""
    reading = state.reading
    if reading is None or reading.answered_at(tube).age_s(view.now) > view.max_age_s:
        return Spot(state, tube, None, known=False)
    return Spot(state, tube, reading.tubes.get(tube), known=True)


def count(spot: Spot, field: str) -> int | None:
    """Of a short name; 0 of a tube that isn't there, None where it isn't known."""
    if not spot.known:
        return None
    return COUNTED[field](spot.stats) if spot.stats else 0


def rate(view: View, spot: Spot, name: str) -> float | int | None:
    """Of a row's name; None where it isn't known (yet)."""
    reading = spot.state.reading
    if not spot.known or reading is None:
        return None
    with suppress(NoValueError):
        return rounded(per_second([growth(RATES[name], Source(spot.state, reading), spot.tube, view.evaluation)]))
    return None


def row(view: View, spot: Spot) -> Json:
    """A tube's row; numbers that aren't known are None."""
    reading = spot.state.reading
    return {
        "server": spot.state.server.name,
        "member": spot.state.member,
        "tube": spot.tube,
        **{field: count(spot, field) for field in SHOWN},
        **{name: rate(view, spot, name) for name in RATES},
        "pauseLeft": pause_left(spot),
        "ageSeconds": rounded(reading.answered_at(spot.tube).age_s(view.now)) if reading else None,
        "gone": spot.gone,
        "fresh": spot.known,
        "spark": view.history.spark(spot.where),
        "autoscalers": [
            {"namespace": link.autoscaler.namespace, "name": link.autoscaler.name}
            for link in view.links
            if link.is_about(spot.state.server.name, spot.tube)
        ],
        "notes": list(_notes(view, spot)),
    }


def pause_left(spot: Spot) -> int | None:
    """Whole seconds."""
    if not spot.known:
        return None
    return max(0, spot.stats.pause_time_left) if spot.stats else 0


def server_json(view: View, state: ServerState) -> Json:
    """One beanstalkd."""
    reading, fresh = state.reading, state.fresh(view.now, view.max_age_s)
    return {
        "name": state.server.name,
        "member": state.member,
        "address": state.server.address,
        "up": fresh is not None,
        "ageSeconds": rounded(reading.listed_at.age_s(view.now)) if reading else None,
        "failure": state.failure.message if state.failure else None,
        "tubes": len(reading.tubes) if reading else None,
        "draining": fresh.draining if fresh else None,
        "restartedAt": view.events.restarted_at(place_of(state)),
    }


def _notes(view: View, spot: Spot) -> Iterator[str]:
    if not spot.known:
        yield "not known just now"
        return
    stats = spot.stats
    if stats is None:
        yield "not there"
        return
    if stats.pause_time_left > 0:
        yield "paused"
    if stats.current_jobs_ready and not stats.current_watching:
        yield "nobody watches"
    if stats.current_jobs_delayed and not (stats.current_jobs_ready or stats.current_jobs_reserved):
        yield "only delayed jobs"
    if stats.current_jobs_buried:
        yield "buried jobs"
    if not view.rules.can_name(spot.state.server.name, spot.tube):
        yield "no metric without a rule"
