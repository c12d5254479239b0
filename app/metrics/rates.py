"""How fast counters grow: exactly, over the time between two readings of the same life of server and tube.

How long the job has waited that would be reserved next. It is read only for tubes that somebody asks for.
"""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil, lcm
from operator import attrgetter
from typing import NamedTuple

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Counts, Reading
from app.clock import Instant
from app.metrics.freshness import ReadServer, called
from app.metrics.metric import Evaluation, StaleReadingError, TooFewReadingsError, TooManyTubesError

COUNTERS: Mapping[str, Callable[[TubeStats | Counts], int]] = {
    "put_per_second": attrgetter("total_jobs"),
    "deleted_per_second": attrgetter("cmd_delete"),
}
"""Name of the rate → its counter."""

_MOST_EXACT_MS = 1 << 128
"""Of the windows' common multiple. Thousands of tubes are read in hundreds of portions, and with as many windows the
exact sum has more digits than any formula can go on with."""
_FINEST = 10**9
"""A Kubernetes quantity has nothing below a billionth."""


class Growth(NamedTuple):
    """What a counter gained."""

    gained: int
    window_ms: int


def growth(rate: str, server: ReadServer, tube: str, given: Evaluation) -> Growth:
    """What the tube's counter gained within the window. Raises TooFewReadingsError."""
    reading = server.reading
    stats, before = reading.tubes.get(tube), reading.earlier.get(tube)
    if stats is None:
        gained, window_ms = 0, _window_of_listings_ms(reading)
    elif before is None:
        gained, window_ms = 0, 0
    else:
        counter = COUNTERS[rate]
        gained = max(0, counter(stats) - counter(before))
        window_ms = round(before.answered_at.age_s(stats.answered_at) * 1000)
    if window_ms <= 0:
        first_s = reading.answered_at(tube).age_s(given.now)
        raise TooFewReadingsError(
            f"{rate} of {given.told(tube)} needs two readings of {called(server.state)};"
            f" the first came {max(first_s, 0):.1f} s ago: ask again in a second"
        )
    return Growth(gained, window_ms)


def per_second(growths: Iterable[Growth]) -> Fraction:
    """The sum of all rates; of very many different windows it is rounded up to a billionth."""
    counts: dict[int, int] = {}
    for gained, window_ms in growths:
        if gained:
            counts[window_ms] = counts.get(window_ms, 0) + gained
    common_ms = lcm(*counts)  # one division at the end: adding thousands of fractions one by one takes seconds
    total = Fraction(1000 * sum(gained * (common_ms // window_ms) for window_ms, gained in counts.items()), common_ms)
    return total if common_ms <= _MOST_EXACT_MS else Fraction(ceil(total * _FINEST), _FINEST)


def whole_seconds(window_ms: int) -> int:
    """As an answer tells its window: at least one."""
    return max(1, round(window_ms / 1000))


def _window_of_listings_ms(reading: Reading) -> int:
    first = reading.listed_earlier_at
    return round(first.age_s(reading.listed_at) * 1000) if first else 0


MOST_AGES = 100
"""Tubes that one answer may ask it of: each takes two commands a second on a connection of their own."""


class Age(NamedTuple):
    """Of the next job, as beanstalkd gave it."""

    age_s: int
    """Whole seconds; 0 where no job is ready."""
    answered_at: Instant


def check_number_of_ages(metric: str, tubes: int) -> None:
    """Raises TooManyTubesError where one answer would be about more than MOST_AGES."""
    if tubes > MOST_AGES:
        raise TooManyTubesError(
            f"{metric} asks for the next job's age of {tubes:,} tubes, and at most {MOST_AGES} are answered at once;"
            " let it span fewer, or name some by a selector"
        )


def next_job_age(server: ReadServer, tube: str, given: Evaluation) -> Age:
    """Raises StaleReadingError and, where it hasn't been read yet, TooFewReadingsError."""
    stats = server.reading.tubes.get(tube)
    if stats is None or not stats.current_jobs_ready:
        return Age(0, server.reading.answered_at(tube))
    read = server.reading.next_jobs.get(tube)
    if read is None:
        raise TooFewReadingsError(
            f"the age of the next job in {given.told(tube)} of {called(server.state)} is only read for who asks for it;"
            " it is being read now: ask again in a second"
        )
    age_s = read.answered_at.age_s(given.now)
    if age_s > given.limit_s:
        raise StaleReadingError(
            f"the age of the next job in {given.told(tube)} of {called(server.state)} was last read {age_s:.0f} s ago,"
            f" older than {given.max_age_s:g} s isn't served; it is being read now: ask again in a second",
            age_s,
        )
    return Age(read.age_s or 0, read.answered_at)
