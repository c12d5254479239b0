"""The pages of tubes as JSON: all tubes, searched, sorted and paged here, and one tube with its last hour.

They are computed from a View of one moment, in the pages' thread (page_data.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from operator import itemgetter
from sys import float_info
from typing import Any, NamedTuple

from app.beanstalkd.protocol import InvalidFieldError, TubeStats
from app.beanstalkd.reading import ServerState, Snapshot, TubeRef
from app.clock import Instant
from app.console.autoscalers import AutoscalerLink, AutoscalerStore
from app.console.errors import RequestError
from app.console.events import EventLog
from app.console.health import is_late, last_reply
from app.console.history import STEP_S, History, PastTubes
from app.console.own_changes import OwnChanges
from app.metrics.built_in import DRAIN, STATES
from app.metrics.explanation import rounded
from app.metrics.fields import COUNTED, TIMES, invalid_fields, is_paused, number_of
from app.metrics.freshness import ServerReading
from app.metrics.query import EvaluationContext, MetricError, MetricQuery, NoValueError
from app.metrics.rates import growth, per_second
from app.metrics.resolve import resolve
from app.metrics.rules import Rules
from app.metrics.selector import Requirement, Selector
from app.quantity import parse_quantity
from app.settings import ObjectName
from app.text import count, known, listing

COUNTS = ("ready", "reserved", "delayed", "buried", "urgent", "using", "watching", "waiting")
"""A row's counts."""
RATES: Mapping[str, str] = {"putPerSecond": "put_per_second", "deletedPerSecond": "deleted_per_second"}
"""A row's rates → their metric's field."""
_INVALID_IN_ROW: Mapping[str, str] = {
    **{field: field for field in (*COUNTED, *TIMES)},
    "putPerSecond": "total",
    "deletedPerSecond": "deleted",
    "pauseLeft": "pause_left",
}
"""Each number of a row or page → the field that it needs."""
SORTS = ("tube", "server", *COUNTS, *RATES, "pauseLeft")
MAX_SIZE = 200
"""Rows of one page."""
MAX_SEARCH = 200
"""Characters."""
_MAX_DIGITS = 6
_MAX_AUTOSCALERS = 10
_MAX_NAMED = 3
_TREND_STEPS = 6
"""Samples of history before now that a trend compares: those of half a minute."""

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment."""

    snapshot: Snapshot
    now: Instant
    max_age_s: float
    history: History
    events: EventLog
    past: PastTubes
    links: Sequence[AutoscalerLink] = ()
    """The tubes that autoscalers use."""
    rules: Rules = field(default_factory=Rules)
    own_changes: OwnChanges = field(default_factory=OwnChanges)

    def state(self, server: str) -> ServerState | None:
        """Return the state of the server with this name."""
        return next((state for state in self.snapshot.servers if state.server.name == server), None)

    @property
    def evaluation(self) -> EvaluationContext:
        """The context that metrics are evaluated in."""
        return EvaluationContext(self.snapshot, self.now, self.max_age_s, self.rules)


class TubeNow(NamedTuple):
    """One tube of one server."""

    state: ServerState
    name: str
    stats: TubeStats | None
    """None: beanstalkd lists no such tube, or its last reading is too old."""
    fresh: bool
    """Whether the last reading is new enough."""

    @property
    def ref(self) -> TubeRef:
        """The tube, as the history knows it."""
        return TubeRef(self.state.server, self.name)

    def number(self, field: str) -> int | None:
        """Return a field of COUNTED or TIMES; 0 of a tube that doesn't exist, None if unknown or invalid."""
        return number_of(field, self.stats) if self.fresh else None

    @property
    def is_paused(self) -> bool:
        """False if that isn't known."""
        return self.fresh and is_paused(self.stats)

    @property
    def invalid(self) -> Mapping[str, str]:
        """Why each invalid field is invalid, by its name in a row."""
        invalid = invalid_fields(self.stats) if self.fresh else {}
        return {name: invalid[field] for name, field in _INVALID_IN_ROW.items() if field in invalid}

    @property
    def stuck_s(self) -> int | None:
        """Whole seconds since when no watching worker takes the ready jobs; None if they aren't stuck, or unknown."""
        stuck_s = self.state.reading.stuck_s(self.name) if self.state.reading and self.fresh else None
        return None if stuck_s is None else int(stuck_s)


def tube_now(view: View, state: ServerState, tube: str) -> TubeNow:
    """Return what is known of one tube."""
    reading = state.reading
    if reading is None or reading.answered_at(tube).age_s(view.now) > view.max_age_s:
        return TubeNow(state, tube, None, fresh=False)
    return TubeNow(state, tube, reading.tubes.get(tube), fresh=True)


def rate(tube: TubeNow, name: str) -> float | int | None:
    """Return one of RATES; None if it isn't known (yet)."""
    reading = tube.state.reading
    if not tube.fresh or reading is None:
        return None
    with suppress(NoValueError):
        return rounded(per_second([growth(RATES[name], ServerReading(tube.state, reading), tube.name)]))
    return None


def row(view: View, tube: TubeNow) -> Json:
    """Return a tube's row; unknown numbers are None."""
    reading = tube.state.reading
    autoscalers: dict[ObjectName, bool] = {}  # one of several metrics can ignore pauses: `busy: keep` adds another
    for link in view.links:
        if link.covers(tube.state.server.name, tube.name):
            autoscalers[link.autoscaler] = autoscalers.get(link.autoscaler, False) or link.ignores_paused
    return {
        "server": tube.state.server.name,
        "tube": tube.name,
        **{field: tube.number(field) for field in COUNTS},
        **{name: rate(tube, name) for name in RATES},
        "pauseLeft": tube.number("pause_left"),
        "invalid": tube.invalid,
        "stuckSeconds": tube.stuck_s,
        "ageSeconds": rounded(reading.answered_at(tube.name).age_s(view.now)) if reading else None,
        "gone": reading is not None and tube.name not in reading.tubes,
        "fresh": tube.fresh,
        "late": is_late(tube.state, view.now),
        "spark": view.history.spark(tube.ref),
        "autoscalers": [
            {"namespace": name.namespace, "name": name.name, "ignoresPaused": ignores}
            for name, ignores in autoscalers.items()
        ],
        "notes": list(_notes(view, tube)),
    }


def _notes(view: View, tube: TubeNow) -> Iterator[str]:
    """Yield codes; static/words.js has their words."""
    if not tube.fresh:
        yield "unknown"
        return
    if tube.stats is None:
        yield "no-tube"
        return
    if tube.is_paused:
        yield "paused"
    if tube.number("ready") and tube.number("watching") == 0:
        yield "no-watchers"
    if tube.stuck_s is not None:
        yield "workers-stuck"
    if tube.number("delayed") and tube.number("ready") == tube.number("reserved") == 0:
        yield "only-delayed"
    if tube.number("buried"):
        yield "buried-jobs"
    if not view.rules.has_metric(tube.state.server.name, tube.name):
        yield "needs-rule"


def server_json(view: View, state: ServerState) -> Json:
    """Return one server."""
    reading, fresh = state.reading, state.fresh(view.now, view.max_age_s)
    restart = view.events.last_restart(state.server)
    return {
        "name": state.server.name,
        "address": state.server.address,
        "up": fresh is not None,
        "late": is_late(state, view.now),
        "ageSeconds": rounded(last_reply(reading).age_s(view.now)) if reading else None,
        "failure": state.failure.message if state.failure else None,
        "tubes": len(reading.tubes) if reading else None,
        "draining": fresh.draining if fresh else None,
        "timeoutsPerSecond": rounded(reading.timeouts_per_second) if reading else None,
        "problems": list(_problems(view, state)),
        "restartedAt": restart.at_s if restart else None,
        "restart": restart.text.partition(": ")[2] if restart else None,
        "lostJobs": restart is not None and restart.kind == "loss",
    }


def _problems(view: View, state: ServerState) -> Iterator[Json]:
    """Yield sentences about workers, each with the tubes that it names."""
    reading, name = state.reading, state.server.name
    if reading is None or is_late(state, view.now):
        return
    stuck = [tube for tube in reading.idle if reading.stuck_s(tube) is not None]
    if stuck:
        shown = sorted(stuck)[:_MAX_NAMED]
        more = [count(len(stuck) - len(shown), "more tube")] if len(stuck) > len(shown) else []
        yield {
            "text": f"Workers on {name} are stuck: jobs are ready in {listing([*shown, *more])}, and connections watch,"
            " but none takes a job. Check what the workers wait for, or restart them.",
            "tubes": shown,
        }
    if reading.timeouts_per_second:
        often = f"{known(reading.timeouts_per_second)} per second"
        yield {
            "text": f"Jobs on {name} exceed their time to run (TTR), {often}, so other workers get them too: workers"
            " hang, or the TTR is too short for the work.",
            "tubes": [],
        }


def servers_json(view: View) -> Sequence[Json]:
    """Return all servers."""
    return [server_json(view, state) for state in view.snapshot.servers]


@dataclass(frozen=True, slots=True)
class Query:
    """What to show of all tubes."""

    q: str = ""
    """Words that the names of server and tube must contain, in any case."""
    sort: str = "ready"
    descending: bool = True
    page: int = 1
    size: int = 50
    gone: bool = True
    """Include tubes seen earlier."""

    def to_json(self) -> Json:
        """Return it as in a page's address."""
        sort = f"-{self.sort}" if self.descending else self.sort
        return {"q": self.q, "sort": sort, "page": self.page, "size": self.size, "gone": int(self.gone)}


def parse_query(query: Mapping[str, str]) -> Query:
    """Raise RequestError for a query that makes no sense."""

    def number(name: str, default: int, limit: int) -> int:
        text = query.get(name, str(default))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[: _MAX_DIGITS + 1]) <= limit):
            raise RequestError(f"{name} must be a number from 1 to {limit}, not {text[:20]!r}")
        return int(text)

    sort = query.get("sort", "-ready")
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise RequestError(f"tubes can't be sorted by {name[:40]!r}; valid values: {', '.join(SORTS)}")
    search = query.get("q", "")
    if len(search) > MAX_SEARCH:
        raise RequestError(f"a search has at most {MAX_SEARCH} characters")
    page, size = number("page", 1, 10**_MAX_DIGITS), number("size", 50, MAX_SIZE)
    return Query(search, name, sort.startswith("-"), page, size, query.get("gone", "1") != "0")


def overview(view: View, query: Query) -> Json:
    """Return the page of tubes that `query` asks for, or the last page if there are fewer."""
    found = _sorted_tubes(view, query)
    pages = max(1, -(-len(found) // query.size))
    page = min(query.page, pages)
    shown = found[(page - 1) * query.size : page * query.size]
    return {
        "now": round(view.now.unix_s, 3),
        "servers": servers_json(view),
        "tubes": [row(view, tube_now(view, state, name)) for name, state in shown],
        "total": len(found),
        "page": page,
        "pages": pages,
        "query": query.to_json(),
    }


def _sorted_tubes(view: View, query: Query) -> list[tuple[str, ServerState]]:
    """Return the names and servers of all tubes found, in order: unknown numbers last, equal ones by name.

    Ten thousand tubes take a few milliseconds: keys are plain numbers, and sorting is stable.
    """
    words = query.q.lower().split()
    there: list[tuple[str, ServerState]] = []
    gone: list[tuple[str, ServerState]] = []
    for state in sorted(view.snapshot.servers, key=lambda state: state.server.name):
        server = state.server.name.lower()
        rest = [word for word in words if word not in server]
        past = view.past.of(state.server) if query.gone else ()
        for names, found in ((state.reading.names if state.reading else (), there), (past, gone)):
            found += [(name, state) for name in names if all(word in name.lower() for word in rest)]
    if query.sort in {"tube", "server"}:
        found = sorted(there + gone, key=itemgetter(0))
        if query.sort == "server":
            found.sort(key=lambda pair: pair[1].server.name)
        return found[::-1] if query.descending else found
    found = sorted(there, key=itemgetter(0)) + sorted(gone, key=itemgetter(0))
    key_of = {id(state): _sort_key(view, state, query) for state in view.snapshot.servers}
    keys = [key_of[id(state)](name) for name, state in found]
    return [found[at] for at in sorted(range(len(found)), key=keys.__getitem__)]


def _sort_key(view: View, state: ServerState, query: Query) -> Callable[[str], float]:
    """Return a function from a tube's name to its sort key, a number."""
    reading, sign = state.reading, -1 if query.descending else 1
    if reading is None:
        return lambda _name: inf
    tubes, oldest_s = reading.tubes, view.now.monotonic_s - view.max_age_s
    number = TIMES["pause_left"] if query.sort == "pauseLeft" else COUNTED.get(query.sort)

    def key(name: str) -> float:
        stats = tubes.get(name)
        if (stats.answered_at if stats else reading.answered_at(name)).monotonic_s < oldest_s:
            return inf
        unknown = float_info.max  # an invalid field, or a rate that isn't known yet: before stale readings
        if number is None:
            if name not in reading.earlier if stats else reading.listed_earlier_at is None:
                return unknown  # without the cost of ten thousand exceptions
            try:
                grown = growth(RATES[query.sort], ServerReading(state, reading), name)
            except NoValueError:
                return unknown
            return sign * grown.gained / grown.window_ms
        try:
            return sign * number(stats) if stats else 0
        except InvalidFieldError:
            return unknown

    return key


def tube_page(view: View, state: ServerState, tube: str, autoscalers: AutoscalerStore) -> Json:
    """Return everything about one tube of one server, whether it exists or not."""
    links = [link.autoscaler for link in view.links if link.covers(state.server.name, tube)]
    names = list(dict.fromkeys(links))[:_MAX_AUTOSCALERS]
    here, reading = tube_now(view, state, tube), state.reading
    history = view.history.series(here.ref)
    last = reading.tubes.get(tube) if reading else None
    jobs_read = {name: number_of(name, last) for name in STATES}
    return {
        "now": round(view.now.unix_s, 3),
        "server": server_json(view, state),
        "tube": {
            **row(view, here),
            **{field: here.number(field) for field in (*COUNTED, *TIMES) if field not in STATES},
            "seenAt": last.answered_at.unix_s if last else view.past.of(state.server).get(tube),
            **_trend(view, here, history),
            "drainSeconds": _drain_s(view, here),
        },
        "history": history,
        "lastRead": {"t": reading.answered_at(tube).unix_s, **jobs_read} if reading else None,
        "autoscalers": [series for name in names if (series := autoscalers.series(name)) is not None],
        "events": view.events.of(state.server, tube, names, view.now.unix_s, autoscalers.events(names)),
    }


def _trend(view: View, tube: TubeNow, history: Mapping[str, Sequence[Any]]) -> Json:
    """Return by how many jobs per second ready + reserved changes, and when it is 0 if that shrinks; None if unknown.

    Periods in which the console itself changed jobs, or the server restarted, don't count.
    """
    unknown = {"netPerSecond": None, "emptySeconds": None, "ownChanges": False}
    ready, reserved = tube.number("ready"), tube.number("reserved")
    if ready is None or reserved is None:
        return unknown
    samples = [history[name][-_TREND_STEPS:] for name in ("t", "ready", "reserved")]
    points = [*zip(*samples, strict=True), (view.now.unix_s, ready, reserved)]
    restart, uptime_s = view.events.last_restart(tube.state.server), view.now.unix_s - view.now.monotonic_s
    grown, length_s, own = 0, 0.0, False
    for (start_s, *before), (end_s, *after) in pairwise(points):
        if None in before or None in after or (restart and start_s < restart.at_s <= end_s):
            continue
        # the reading of a sample may be older than the sample
        if view.own_changes.overlap(tube.ref, start_s - uptime_s - view.max_age_s, end_s - uptime_s):
            own = True
            continue
        grown += sum(after) - sum(before)
        length_s += end_s - start_s
    if length_s < STEP_S:
        return {**unknown, "ownChanges": own}
    net = grown / length_s
    return {
        "netPerSecond": rounded(net),
        "emptySeconds": rounded((ready + reserved) / -net) if net < 0 and not tube.is_paused else None,
        "ownChanges": own,
    }


def _drain_s(view: View, tube: TubeNow) -> float | int | None:
    """Return the metric beanstalkd_tube_drain_seconds of this server's tube.

    None if it has no value, or counts jobs that this console deleted.
    """
    reading = tube.state.reading
    if tube.stats is None or reading is None:
        return None
    earlier = reading.earlier.get(tube.name)
    since = earlier.answered_at if earlier else reading.listed_earlier_at
    if since and view.own_changes.overlap(tube.ref, since.monotonic_s, view.now.monotonic_s, deleting=True):
        return None
    selector = Selector((Requirement("tube", "in", frozenset({tube.name})),))
    alone = EvaluationContext(Snapshot((tube.state,)), view.now, view.max_age_s)
    try:
        (value,) = resolve(MetricQuery(DRAIN.name, "", selector), alone).values()
    except MetricError:
        return None
    return rounded(parse_quantity(value.quantity))
