"""Rates of counters, and the age of the next job: what is computed from more than one reply of beanstalkd."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil, inf, lcm
from operator import attrgetter
from typing import NamedTuple

from app.beanstalkd.protocol import InvalidFieldError, TubeStats
from app.beanstalkd.reading import Counts
from app.beanstalkd.recorder import MIN_WINDOW_S
from app.clock import Instant
from app.metrics.freshness import ServerReading, describe, invalid
from app.metrics.query import (
    EvaluationContext,
    InvalidReadingError,
    StaleReadingError,
    TooFewReadingsError,
    TooManyTubesError,
)

COUNTERS: Mapping[str, Callable[[TubeStats | Counts], int | None]] = {
    "put_per_second": attrgetter("total_jobs"),
    "deleted_per_second": attrgetter("cmd_delete"),
}
"""Counter of each rate."""
MAX_AGES = 100
"""Tubes per query whose next job's age is read: each takes two commands per second on a separate connection."""

_MAX_EXACT_MS = 1 << 128
"""Limit of the windows' common multiple. Thousands of tubes have hundreds of windows, and their exact sum has more
digits than any formula accepts."""
_FINEST = 10**9
"""A Kubernetes quantity has nothing below a billionth."""


class Growth(NamedTuple):
    """Increase of a counter within a window."""

    gained: int
    window_ms: int


class Age(NamedTuple):
    """Age of the next job."""

    age_s: int
    """Whole seconds; 0 if no job is ready or the tube is paused."""
    answered_at: Instant


def growth(rate: str, server: ServerReading, tube: str) -> Growth:
    """Return by how much the tube's counter grew within the window.

    Raises TooFewReadingsError, InvalidReadingError.
    """
    reading, counter = server.reading, COUNTERS[rate]
    stats, before = reading.tubes.get(tube), reading.earlier.get(tube)
    answered_at = reading.answered_at(tube)
    if stats is None and before is None and reading.listed_earlier_at is not None:
        before, answered_at = Counts(reading.listed_earlier_at, 0, 0), reading.listed_at
    try:
        now = counter(stats) if stats else 0
    except InvalidFieldError as error:
        raise invalid(error, [server]) from error
    gained, window_ms = 0, 0
    if before is not None and now is not None and (earlier := counter(before)) is not None:
        gained = max(0, now - earlier)
        window_ms = round(before.answered_at.age_s(answered_at) * 1000)
    if window_ms <= 0:
        raise TooFewReadingsError(
            f"{rate} of tube {tube!r} needs readings of {describe(server.state)} over at least {MIN_WINDOW_S:g} s;"
            f" retry in {MIN_WINDOW_S:g} seconds"
        )
    return Growth(gained, window_ms)


def per_second(growths: Iterable[Growth]) -> Fraction:
    """Return the exact sum of rates; with very many different windows it is rounded up to a billionth."""
    counts: dict[int, int] = {}
    for gained, window_ms in growths:
        if gained:
            counts[window_ms] = counts.get(window_ms, 0) + gained
    common_ms = lcm(*counts)  # one division at the end: adding thousands of fractions one by one takes seconds
    total = Fraction(1000 * sum(gained * (common_ms // window_ms) for window_ms, gained in counts.items()), common_ms)
    return total if common_ms <= _MAX_EXACT_MS else Fraction(ceil(total * _FINEST), _FINEST)


def whole_seconds(window_ms: int) -> int:
    """Return a window as values report it: at least 1."""
    return max(1, round(window_ms / 1000))


def check_number_of_ages(metric: str, tubes: int) -> None:
    """Raise TooManyTubesError if one query needs the ages of more than MAX_AGES tubes."""
    if tubes > MAX_AGES:
        raise TooManyTubesError(
            f"{metric} needs the next-job age of {tubes:,} tubes, the limit is {MAX_AGES}; cover fewer tubes, or"
            " select some by label"
        )


def next_job_age(server: ServerReading, tube: str, context: EvaluationContext) -> Age:
    """Return for how long a worker could have taken the tube's next job, as far as that is known.

    Raises StaleReadingError, InvalidReadingError; before the first read, TooFewReadingsError.
    """
    reading = server.reading
    stats = reading.tubes.get(tube)
    try:
        # the number of pauses isn't used here, but without it the end of the last pause is unknown
        pause_s, _, ready = (stats.pause, stats.cmd_pause_tube, stats.current_jobs_ready) if stats else (0, 0, 0)
    except InvalidFieldError as error:
        raise invalid(error, [server]) from error
    if pause_s or not ready:
        return Age(0, reading.answered_at(tube))
    read = reading.next_jobs.get(tube)
    if read is None:
        raise TooFewReadingsError(
            f"next-job age of tube {tube!r} on {describe(server.state)} is read on demand, and the first read is in"
            " progress; retry in a second"
        )
    read_s = read.answered_at.age_s(context.now)
    if read_s > context.limit_s:
        raise StaleReadingError(
            f"next-job age of tube {tube!r} on {describe(server.state)} was last read {read_s:.0f} s ago"
            f" (maxAge {context.max_age_s:g} s); retry in a second",
            read_s,
        )
    if read.invalid is not None:
        raise InvalidReadingError(f"{describe(server.state)} has {InvalidFieldError(read.invalid, tube)}")
    unpaused_at = reading.unpaused.get(tube)
    unpaused_s = inf if unpaused_at is None else max(0, unpaused_at.age_s(read.answered_at))
    return Age(int(min(read.age_s or 0, unpaused_s)), read.answered_at)
