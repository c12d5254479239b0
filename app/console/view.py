"""One moment as the pages see it, and what a row about a tube says. Pure but for what it reads of the history."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.clock import Instant
from app.console.events import EventLog
from app.console.history import History, MemberName, Where
from app.console.links import AutoscalerLink
from app.console.seen import SeenTubes
from app.metrics.facts import rounded
from app.metrics.fields import COUNTED
from app.metrics.freshness import ReadServer
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
    links: Sequence[AutoscalerLink] = ()
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


class TubeNow(NamedTuple):
    """One tube of one server, there or not."""

    state: ServerState
    name: str
    stats: TubeStats | None
    """None: it isn't there, or isn't known just now."""
    known: bool
    """Whether what beanstalkd said of it is fresh."""

    @property
    def where(self) -> Where:
        """For the history."""
        return Where(MemberName.of(self.state), self.name)

    @property
    def gone(self) -> bool:
        """Whether beanstalkd knows no such tube (any more)."""
        reading = self.state.reading
        return reading is not None and self.name not in reading.tubes


def tube_now(view: View, state: ServerState, tube: str) -> TubeNow:
    """What is known of one tube."""
    reading = state.reading
    if reading is None or reading.answered_at(tube).age_s(view.now) > view.max_age_s:
        return TubeNow(state, tube, None, known=False)
    return TubeNow(state, tube, reading.tubes.get(tube), known=True)


def count(tube: TubeNow, field: str) -> int | None:
    """Of a short name; 0 of a tube that isn't there, None where it isn't known."""
    if not tube.known:
        return None
    return COUNTED[field](tube.stats) if tube.stats else 0


def rate(view: View, tube: TubeNow, name: str) -> float | int | None:
    """Of a row's name; None where it isn't known (yet)."""
    reading = tube.state.reading
    if not tube.known or reading is None:
        return None
    with suppress(NoValueError):
        return rounded(per_second([growth(RATES[name], ReadServer(tube.state, reading), tube.name, view.evaluation)]))
    return None


def row(view: View, tube: TubeNow) -> Json:
    """A tube's row; numbers that aren't known are None."""
    reading = tube.state.reading
    return {
        "server": tube.state.server.name,
        "member": tube.state.member,
        "tube": tube.name,
        **{field: count(tube, field) for field in SHOWN},
        **{name: rate(view, tube, name) for name in RATES},
        "pauseLeft": pause_left(tube),
        "ageSeconds": rounded(reading.answered_at(tube.name).age_s(view.now)) if reading else None,
        "gone": tube.gone,
        "fresh": tube.known,
        "spark": view.history.spark(tube.where),
        "autoscalers": [
            {"namespace": link.autoscaler.namespace, "name": link.autoscaler.name}
            for link in view.links
            if link.is_about(tube.state.server.name, tube.name)
        ],
        "notes": list(_notes(view, tube)),
    }


def pause_left(tube: TubeNow) -> int | None:
    """Whole seconds."""
    if not tube.known:
        return None
    return max(0, tube.stats.pause_time_left) if tube.stats else 0


def server_json(view: View, state: ServerState) -> Json:
    """One beanstalkd."""
    reading, fresh = state.reading, state.fresh(view.now, view.max_age_s)
    return {
        "name": state.server.name,
        "member": state.member,
        "address": state.server.address,
        "up": fresh is not None,
        "ageSeconds": rounded(reading.listed_at.age_s(view.now)) if reading else None,
        "failure": state.failure.whole if state.failure else None,
        "tubes": len(reading.tubes) if reading else None,
        "draining": fresh.draining if fresh else None,
        "restartedAt": view.events.restarted_at(MemberName.of(state)),
    }


def _notes(view: View, tube: TubeNow) -> Iterator[str]:
    if not tube.known:
        yield "not known just now"
        return
    stats = tube.stats
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
    if not view.rules.can_name(tube.state.server.name, tube.name):
        yield "no metric without a rule"
