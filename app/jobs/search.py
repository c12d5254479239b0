"""Find jobs of a tube by text in their bodies, or its newest jobs, without changing anything.

beanstalkd lists no jobs, but it numbers them in the order of their puts, over all tubes. So a search examines IDs
downwards from the newest. `stats-job` shows whether there is a job with that ID and in which tube, and the jobs of the
tube are peeked. Nothing is reserved.

No command shows the newest ID. `total-jobs` counts the puts since the start. It is too small if a binlog restored older
jobs (they keep their IDs, the counter restarts at 0) or if puts were aborted (their IDs are lost). The next jobs of the
tube are lower bounds too. `newest_id` searches upwards from the highest of these.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from app.beanstalkd.protocol import check_tube_name, parse_field, parse_stats
from app.beanstalkd.reading import TubeRef
from app.jobs.actions import ShouldStop
from app.jobs.client import DEFAULT_TUBE
from app.jobs.peek import PEEKED, PeekConnection, PeekedJob, Stats, peek_connection, peeked

MAX_IDS = 20_000
"""IDs examined by one search."""
MAX_RESULTS = 50
"""Jobs returned by one search."""
WINDOW = 64
"""Commands in flight: their replies fit into any socket's buffers."""
FARTHEST = 1 << 26
"""IDs above the known ones among which the newest is searched."""

type Highest = Callable[[range], int | None]
"""Returns the highest ID of a range that has a job, or None."""


class StopReason(Enum):
    """Why a search ended."""

    NO_JOBS = auto()
    """The tube has none."""
    ALL = auto()
    """As many jobs were examined as the tube has."""
    FIRST_ID = auto()
    RESULTS = auto()
    IDS = auto()
    TIME = auto()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The jobs that a search found, and how far it got."""

    jobs: tuple[PeekedJob, ...]
    """Newest first, at most MAX_RESULTS."""
    top: int
    """The highest ID examined."""
    examined: int
    """IDs examined, from `top` downwards."""
    seen: int
    """Jobs of the tube among them."""
    cut: int
    """Those of them whose body is larger than the part that was searched."""
    held: int | None
    """Jobs that the tube had when `top` was known; None if unknown, or if the search didn't begin at the newest."""
    reason: StopReason

    @property
    def before(self) -> int | None:
        """Continue with the IDs below this one; None if nothing is left."""
        limited = self.reason in {StopReason.RESULTS, StopReason.IDS, StopReason.TIME}
        return self.top - self.examined + 1 if limited else None


def search(
    ref: TubeRef, text: bytes, before: int | None, should_stop: ShouldStop, max_ids: int = MAX_IDS
) -> SearchResult:
    """Return the newest jobs with an ID below `before` whose body contains `text`; ASCII letters match in any case.

    Only the first MAX_SHOWN bytes of a body are searched. Raises TubeNameError and BeanstalkdError.
    """
    check_tube_name(ref.tube)
    jobs: list[PeekedJob] = []
    seen = cut = examined = 0
    with peek_connection(ref.server) as connection:
        if _held(connection, ref.tube) == 0:
            return SearchResult((), 0, 0, 0, 0, 0, StopReason.NO_JOBS)
        if before is not None:
            top = before - 1
        else:
            top = newest_id(lambda ids: _highest(connection, ids, should_stop), _known_id(connection, ref.tube))
        # after `top`, so that the jobs at or below it are at least as many
        held = _held(connection, ref.tube) if before is None and not should_stop() else None
        limits = {
            StopReason.ALL: lambda: held is not None and seen >= held,
            StopReason.FIRST_ID: lambda: examined == top,
            StopReason.RESULTS: lambda: len(jobs) == MAX_RESULTS,
            StopReason.IDS: lambda: examined == max_ids,
            StopReason.TIME: should_stop,
        }
        reason = None
        for job_id, stats in _stats_downwards(connection, top, should_stop):
            examined += 1
            if stats is not None and stats.get("tube") == ref.tube:
                seen += 1
                found = connection.peek(f"peek {job_id}")
                if found is not None:
                    job = peeked(stats, found[1], found[2])
                    cut += job.size > len(job.beginning)
                    if text.lower() in job.beginning.lower():
                        jobs.append(job)
            reason = next((reason for reason, reached in limits.items() if reached()), None)
            if reason:
                break
        if reason is None:  # no ID was examined, or no time was left for the next ones
            reason = StopReason.TIME if examined < top else StopReason.FIRST_ID
    return SearchResult(tuple(jobs), top, examined, seen, cut, held, reason)


def _held(connection: PeekConnection, tube: str) -> int | None:
    """Return the tube's jobs in all states; None if one of the numbers isn't known."""
    held = connection.held(tube).values()
    known = [jobs for jobs in held if jobs is not None]
    return sum(known) if len(known) == len(held) else None


def newest_id(highest: Highest, known: int) -> int:
    """Return the newest job's ID, at least `known`; correct if fewer than WINDOW IDs in a row below it have no job.

    Examines windows of IDs at distances that halve, down to the next WINDOW IDs.
    """
    step = FARTHEST
    while step >= WINDOW:
        found = highest(range(known + step - WINDOW + 1, known + step + 1))
        known, step = (known, step // 2) if found is None else (found, step)
    return known


def _known_id(connection: PeekConnection, tube: str) -> int:
    """Return an ID that the newest job has at least."""
    connection.send(["stats"])
    total = parse_field(parse_stats(connection.stats_reply() or b""), "total-jobs")
    connection.use(tube)
    next_jobs = [connection.peek(f"peek-{state}") for state in PEEKED]
    connection.use(DEFAULT_TUBE)  # a used tube doesn't vanish
    return max(total if isinstance(total, int) else 0, *(job[0] for job in next_jobs if job is not None), 0)


def _highest(connection: PeekConnection, ids: range, should_stop: ShouldStop) -> int | None:
    """Return the highest of these IDs that has a job; None if none has, or there is no time left."""
    all_stats = _stats_jobs(connection, ids, should_stop) or ()
    return max((job_id for job_id, stats in zip(ids, all_stats, strict=False) if stats is not None), default=None)


def _stats_downwards(
    connection: PeekConnection, top: int, should_stop: ShouldStop
) -> Iterator[tuple[int, Stats | None]]:
    """Yield IDs and stats from `top` down to 1, or until there is no time left."""
    for first in range(top, 0, -WINDOW):
        ids = range(first, max(first - WINDOW, 0), -1)
        all_stats = _stats_jobs(connection, ids, should_stop)
        if all_stats is None:
            return
        yield from zip(ids, all_stats, strict=True)


def _stats_jobs(connection: PeekConnection, ids: range, should_stop: ShouldStop) -> Sequence[Stats | None] | None:
    """Return the stats of at most WINDOW jobs; None if time ran out, after which the connection can't be used."""
    connection.send(f"stats-job {job_id}" for job_id in ids)
    found: list[Stats | None] = []
    for _ in ids:
        if should_stop():
            return None
        body = connection.stats_reply()
        found.append(None if body is None else parse_stats(body))
    return found
