"""One moment as the pages see it, and what a row about a tube says. Pure but for what it reads of the history.

Tubes that were there and are no more: beanstalkd forgets an empty tube that nobody uses, people don't. No I/O.

All servers and tubes as JSON: searched, sorted and paged here, so that ten thousand tubes cost a page no more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import ServerState, Snapshot, TubeRef
from app.clock import Instant
from app.console.autoscalers import AutoscalerLink
from app.console.errors import RequestError
from app.console.events import EventLog
from app.console.history import History
from app.metrics.explanation import rounded
from app.metrics.freshness import ReadServer
from app.metrics.metric import Evaluation, NoValueError
from app.metrics.rates import growth, per_second
from app.metrics.rules import COUNTED, Rules
from app.settings import Server

MOST_GONE = 10_000
"""Of one server; beyond them the one that went first is forgotten."""

_NOBODY: Mapping[str, float] = {}


class SeenTubes:
    """Told of each sample."""

    def __init__(self, most: int = MOST_GONE) -> None:
        self._most = most
        self._names: dict[Server, tuple[str, ...]] = {}
        self._gone: dict[Server, dict[str, float]] = {}

    def sample(self, snapshot: Snapshot) -> None:
        """Take the tubes that are there now."""
        for state in snapshot.servers:
            server, reading = state.server, state.reading
            if reading is None or self._names.get(server) is reading.names:
                continue
            gone = self._gone.setdefault(server, {})
            there = set(reading.names)
            for name in self._names.get(server, ()):
                if name not in there:
                    gone[name] = reading.listed_at.unix_s
            for name in there & gone.keys():
                del gone[name]
            while len(gone) > self._most:
                del gone[next(iter(gone))]
            self._names[server] = reading.names

    def gone(self, server: Server) -> Mapping[str, float]:
        """Tube → when it was first found gone, unix seconds."""
        return self._gone.get(server, _NOBODY)


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

    def state(self, server: str) -> ServerState | None:
        """Return the state of the server with this name, or None."""
        return next((state for state in self.snapshot.servers if state.server.name == server), None)

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
    def where(self) -> TubeRef:
        """For the history."""
        return TubeRef(self.state.server, self.name)

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
        "address": state.server.address,
        "up": fresh is not None,
        "ageSeconds": rounded(reading.listed_at.age_s(view.now)) if reading else None,
        "failure": state.failure.message if state.failure else None,
        "tubes": len(reading.tubes) if reading else None,
        "draining": fresh.draining if fresh else None,
        "restartedAt": view.events.restarted_at(state.server),
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


MOST_SIZE = 200
MOST_SEARCH = 200
_MOST_DIGITS = 6
_TEXTS = ("tube", "server")
SORTS = (*_TEXTS, *SHOWN, *RATES, "pauseLeft")


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody wants to see of all tubes."""

    q: str = ""
    """Words that server and tube must have in them, in any case."""
    sort: str = "ready"
    descending: bool = True
    page: int = 1
    size: int = 50
    gone: bool = True
    """Whether tubes seen earlier are shown too."""

    def written(self) -> Mapping[str, Any]:
        """As a page would ask for it."""
        sort = f"-{self.sort}" if self.descending else self.sort
        return {"q": self.q, "sort": sort, "page": self.page, "size": self.size, "gone": int(self.gone)}


def parse_query(given: Mapping[str, str]) -> Query:
    """Raises RequestError."""
    sort = given.get("sort", "-ready")
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise RequestError(f"tubes can't be sorted by {name[:40]!r}; sort is one of {', '.join(SORTS)}")
    search = given.get("q", "")
    if len(search) > MOST_SEARCH:
        raise RequestError(f"a search has {MOST_SEARCH} characters at most")
    return Query(
        q=search,
        sort=name,
        descending=sort.startswith("-"),
        page=_whole(given, "page", 1, 10**_MOST_DIGITS),
        size=_whole(given, "size", 50, MOST_SIZE),
        gone=given.get("gone", "1") != "0",
    )


def _whole(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[: _MOST_DIGITS + 1]) <= most):
        raise RequestError(f"{name} must be a number from 1 to {most}, and isn't: {text[:20]!r}")
    return int(text)


def overview(view: View, query: Query) -> Json:
    """The page that `query` asks for; the last one where there are fewer."""
    found = sorted(_found(view, query), key=_by(view, query))
    pages = max(1, -(-len(found) // query.size))
    page = min(query.page, pages)
    shown = found[(page - 1) * query.size : page * query.size]
    return {
        "now": round(view.now.unix_s, 3),
        "servers": [server_json(view, state) for state in view.snapshot.servers],
        "tubes": [row(view, each) for each in shown],
        "total": len(found),
        "page": page,
        "pages": pages,
        "query": query.written(),
    }


def _found(view: View, query: Query) -> Iterator[TubeNow]:
    words = query.q.lower().split()
    for state in view.snapshot.servers:
        names = state.reading.names if state.reading else ()
        gone = view.seen.gone(state.server) if query.gone else ()
        server = state.server.name.lower()
        for tube in (*names, *gone):
            if not words or _has(f"{server} {tube.lower()}", words):
                yield tube_now(view, state, tube)


def _has(text: str, words: list[str]) -> bool:
    return all(word in text for word in words)


def _by(view: View, query: Query) -> Callable[[TubeNow], tuple[Any, ...]]:
    """What isn't known comes last in either direction, and what is equal by its name."""
    if query.sort in _TEXTS:
        return _by_text(query)
    sign = -1 if query.descending else 1
    number = _number(view, query.sort)

    def key(each: TubeNow) -> tuple[Any, ...]:
        known = number(each)
        return known is None, sign * (known or 0), each.stats is None, each.name, each.state.server.name

    return key


def _by_text(query: Query) -> Callable[[TubeNow], tuple[Any, ...]]:
    turned = _turned if query.descending else str

    def key(each: TubeNow) -> tuple[Any, ...]:
        names = each.name, each.state.server.name
        return tuple(map(turned, names if query.sort == "tube" else names[::-1]))

    return key


def _turned(text: str) -> tuple[int, ...]:
    return (*(-ord(character) for character in text), 1)


def _number(view: View, field: str) -> Callable[[TubeNow], float | None]:
    if field in RATES:
        return lambda each: rate(view, each, field)
    if field == "pauseLeft":
        return pause_left
    return lambda each: count(each, field)
