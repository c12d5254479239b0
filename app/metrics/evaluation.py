"""From a metric's name and a selector to its values: pure, and no slower for ten thousand tubes than for one.

A tube that no server names holds 0 jobs, because beanstalkd forgets an empty tube that nobody uses; but only where
every server that the metric spans has a fresh reading. Everything else that isn't known is an error, never a number.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter

from app.clock import Instant
from app.metrics.quantity import format_quantity
from app.metrics.selector import Selector
from app.tubes.names import is_tube_name
from app.tubes.protocol import TubeStats
from app.tubes.snapshot import Reading, ServerState, Snapshot

TUBE_PREFIX = "tube-"
TUBE_JOBS = "beanstalkd_tube_jobs"
MOST_NAMED = 1000
"""Tubes that one selector may name: those that don't exist are answered too, so there is no other end to them."""

FEW_TUBES = 100
"""An answer about so many takes about a millisecond."""

JOBS_BY_STATE: Mapping[str, Callable[[TubeStats], int]] = {
    "ready": attrgetter("current_jobs_ready"),
    "reserved": attrgetter("current_jobs_reserved"),
    "delayed": attrgetter("current_jobs_delayed"),
    "buried": attrgetter("current_jobs_buried"),
}
"""Value of the `state` label → jobs; the states don't overlap."""


LABELS = frozenset({"server", "state", "tube"})
"""Of every item of beanstalkd_tube_jobs."""


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One item of an answer."""

    metric_name: str
    labels: Mapping[str, str]
    quantity: str
    """In Kubernetes' notation."""
    answered_at: Instant
    """When beanstalkd spoke: of several readings the oldest."""


class MetricError(Exception):
    """Why there is no value; `str()` is a sentence for the HPA's status."""


class UnknownMetricError(MetricError):
    """There is no metric of this name, or no value of a label that the selector demands."""


class AmbiguousMetricError(MetricError):
    """The name means more than one tube."""


class TooManyTubesError(MetricError):
    """More tubes are named than one answer may be about."""


class SameServerError(MetricError):
    """Two of the servers that the metric spans are one beanstalkd: its jobs would count twice."""


class StaleReadingError(MetricError):
    """A server that the metric spans has no reading that is new enough."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What every metric is computed from."""

    snapshot: Snapshot
    now: Instant
    max_age_s: float


def evaluate(metric: str, selector: Selector, given: Evaluation) -> tuple[MetricValue, ...]:
    """The values of one metric that match. Raises MetricError."""
    name = metric.lower()
    if name.startswith(TUBE_PREFIX):
        return _jobs_of_tube(metric, selector, given)
    if name == TUBE_JOBS:
        return tuple(_jobs_by_state(selector, given))
    raise UnknownMetricError(_unknown(metric, given.snapshot))


def spans_many_tubes(metric: str, selector: Selector) -> bool:
    """Whether the answer may be long: it names no tubes, or many."""
    if metric.lower() != TUBE_JOBS:
        return False
    pinned = selector.pinned("tube")
    return pinned is None or len(pinned) > FEW_TUBES


def metric_names(snapshot: Snapshot, most_tubes: int = 50) -> list[str]:
    """What discovery lists: the built-in metrics, and the first tubes by name that can stand in a resource's name."""
    tubes = sorted({tube for reading in _readings(snapshot) for tube in reading.tubes})
    fit = [TUBE_PREFIX + tube for tube in tubes if tube == tube.lower() and "/" not in tube]
    return [TUBE_JOBS, *fit[:most_tubes]]


def _jobs_of_tube(metric: str, selector: Selector, given: Evaluation) -> tuple[MetricValue, ...]:
    readings = [reading for _, reading in _readings_of(given.snapshot.servers, given)]
    tube = _tube_named(metric, readings, given.snapshot)
    labels = {"tube": tube}
    if not selector.matches(labels):
        return ()
    found = [reading.tubes[tube] for reading in readings if tube in reading.tubes]
    jobs = sum(stats.current_jobs_ready + stats.current_jobs_reserved for stats in found)
    oldest = min((reading.answered_at(tube) for reading in readings), key=attrgetter("monotonic_s"))
    return (MetricValue(metric, labels, format_quantity(jobs), oldest),)


def _tube_named(metric: str, readings: list[Reading], snapshot: Snapshot) -> str:
    """The tube that `tube-…` means, in any case: client-go asks in lower case whatever the HPA's author wrote."""
    asked = metric[len(TUBE_PREFIX) :]
    if not is_tube_name(asked):
        raise UnknownMetricError(_unknown(metric, snapshot))
    lower = asked.lower()
    meant = {name for reading in readings for name in reading.cased.get(lower, ())}
    if any(lower in reading.tubes for reading in readings):
        meant.add(lower)
    if not meant or (asked != lower and asked in meant):
        return asked
    return _only(meant, metric)


def _only(tubes: set[str], metric: str) -> str:
    if len(tubes) > 1:
        names = " and ".join(repr(tube) for tube in sorted(tubes))
        raise AmbiguousMetricError(
            f"metric {metric} may mean the tubes {names}, because Kubernetes asks for metrics in lower case;"
            f" name the tube by a label instead: metric {TUBE_JOBS} with matchLabels {{tube: …}}"
        )
    return tubes.pop()


def _jobs_by_state(selector: Selector, given: Evaluation) -> Iterable[MetricValue]:
    _check_labels(selector)
    readings = _readings_of(_spanned(selector, given.snapshot), given)
    states = [state for state in JOBS_BY_STATE if _may_be(selector, "state", state, JOBS_BY_STATE)]
    pinned = selector.pinned("tube")
    if pinned is not None and len(pinned) > MOST_NAMED:
        raise TooManyTubesError(
            f"the selector names {len(pinned):,} tubes, and at most {MOST_NAMED:,} are answered at once;"
            " ask several times, or without naming any"
        )
    for server, reading in readings:
        for tube in sorted(reading.tubes) if pinned is None else sorted(filter(is_tube_name, pinned)):
            for state in states:
                labels = {"server": server, "state": state, "tube": tube}
                if selector.matches(labels):
                    yield _count(labels, reading)


def _check_labels(selector: Selector) -> None:
    """Raises UnknownMetricError for a demand that nothing can meet; an empty answer wouldn't say why."""
    unknown = {part.key for part in selector.requirements if not part.matches({})} - LABELS
    if unknown:
        names = ", ".join(map(repr, sorted(unknown)))
        raise UnknownMetricError(f"{TUBE_JOBS} has no label {names}; it has {', '.join(map(repr, sorted(LABELS)))}")


def _count(labels: Mapping[str, str], reading: Reading) -> MetricValue:
    tube = labels["tube"]
    stats = reading.tubes.get(tube)
    jobs = JOBS_BY_STATE[labels["state"]](stats) if stats else 0
    return MetricValue(TUBE_JOBS, labels, format_quantity(jobs), reading.answered_at(tube))


def _spanned(selector: Selector, snapshot: Snapshot) -> list[ServerState]:
    """The servers that the selector leaves in; only they must be fresh."""
    by_name = {state.server.name: state for state in snapshot.servers}
    return [state for name, state in by_name.items() if _may_be(selector, "server", name, by_name)]


def _may_be(selector: Selector, key: str, value: str, known: Iterable[str]) -> bool:
    """Whether the conditions on this one label hold. Raises UnknownMetricError where only unknown values would do."""
    pinned = selector.pinned(key)
    if pinned is not None and pinned.isdisjoint(known):
        demanded = ", ".join(repr(name) for name in sorted(pinned)) or "two values at once"
        raise UnknownMetricError(f"{TUBE_JOBS} has no {key} {demanded}; there is {', '.join(map(repr, known))}")
    return all(part.matches({key: value}) for part in selector.requirements if part.key == key)


def _readings_of(states: Iterable[ServerState], given: Evaluation) -> list[tuple[str, Reading]]:
    """By server name: all fresh, and each another beanstalkd's. Raises StaleReadingError, SameServerError."""
    readings = [(state.server.name, _fresh(state, given)) for state in states]
    seen: dict[str, str] = {}
    for server, reading in readings:
        twin = seen.setdefault(reading.server_id, server)
        if twin != server:
            raise SameServerError(
                f"beanstalkd {twin!r} and {server!r} are one and the same (id {reading.server_id}), so its jobs would"
                " count twice; give it to beanscale once"
            )
    return readings


def _fresh(state: ServerState, given: Evaluation) -> Reading:
    reading = state.fresh(given.now, given.max_age_s)
    if reading is None:
        raise StaleReadingError(_stale(state, given))
    return reading


def _stale(state: ServerState, given: Evaluation) -> str:
    server = f"beanstalkd {state.server.name!r} ({state.server.address})"
    last = (
        f"its last good reading is {state.reading.listed_at.age_s(given.now):.0f} s old,"
        f" older than {given.max_age_s:g} s isn't served"
        if state.reading
        else "it was never read"
    )
    reason = state.failure.message if state.failure else "the first answer is awaited"
    return f"{server} can't be read: {reason}; {last}"


def _unknown(metric: str, snapshot: Snapshot) -> str:
    known = metric_names(snapshot)
    near = get_close_matches(metric.lower(), known, n=3)
    advice = (
        f"did you mean {' or '.join(near)}?" if near else f"there is {TUBE_JOBS}, and {TUBE_PREFIX}NAME for each tube"
    )
    return f"there is no metric {metric}; {advice}"


def _readings(snapshot: Snapshot) -> Iterable[Reading]:
    return (state.reading for state in snapshot.servers if state.reading)
