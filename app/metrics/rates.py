"""Rates of counters, and the age of the next job: what is computed from more than one reply of beanstalkd."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil, lcm
from operator import attrgetter
from typing import NamedTuple

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Counts
from app.clock import Instant
from app.metrics.freshness import ServerReading, describe
from app.metrics.query import EvaluationContext, StaleReadingError, TooFewReadingsError, TooManyTubesError

COUNTERS: Mapping[str, Callable[[TubeStats | Counts], int]] = {
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
    """Whole seconds; 0 if no job is ready."""
    answered_at: Instant


def growth(rate: str, server: ServerReading, tube: str, context: EvaluationContext) -> Growth:
    """Return by how much the tube's counter grew within the window. Raises TooFewReadingsError."""
    reading = server.reading
    stats, before = reading.tubes.get(tube), reading.earlier.get(tube)
    gained, window_ms = 0, 0
    if stats is None:
        if reading.listed_earlier_at is not None:
            window_ms = round(reading.listed_earlier_at.age_s(reading.listed_at) * 1000)
    elif before is not None:
        counter = COUNTERS[rate]
        gained = max(0, counter(stats) - counter(before))
        window_ms = round(before.answered_at.age_s(stats.answered_at) * 1000)
    if window_ms <= 0:
        first_s = max(reading.answered_at(tube).age_s(context.now), 0)
        raise TooFewReadingsError(
            f"{rate} of tube {tube!r} needs a second reading of {describe(server.state)} (first: {first_s:.1f} s ago);"
            " retry in a second"
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
    """Return the age of the tube's next job. Raises StaleReadingError; before the first read, TooFewReadingsError."""
    stats = server.reading.tubes.get(tube)
    if stats is None or not stats.current_jobs_ready:
        return Age(0, server.reading.answered_at(tube))
    read = server.reading.next_jobs.get(tube)
    if read is None:
        raise TooFewReadingsError(
            f"next-job age of tube {tube!r} on {describe(server.state)} is read on demand, and the first read is in"
            " progress; retry in a second"
        )
    age_s = read.answered_at.age_s(context.now)
    if age_s > context.limit_s:
        raise StaleReadingError(
            f"next-job age of tube {tube!r} on {describe(server.state)} was last read {age_s:.0f} s ago"
            f" (maxAge {context.max_age_s:g} s); retry in a second",
            age_s,
        )
    return Age(read.age_s or 0, read.answered_at)
