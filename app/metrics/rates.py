"""How fast counters grow: exactly, over the time between two readings of the same life of server and tube."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil, lcm
from operator import attrgetter
from typing import NamedTuple

from app.metrics.freshness import ReadServer, called
from app.metrics.outcome import TooFewReadingsError
from app.metrics.question import Evaluation
from app.tubes.protocol import TubeStats
from app.tubes.snapshot import Counts, Reading

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
