"""Requested tubes: they are read every second, however many others there are."""

from collections import OrderedDict
from collections.abc import Iterable

from app.beanstalkd.protocol import is_tube_name
from app.clock import Instant

REQUESTED_S = 300.0
"""Seconds for which a request counts: autoscalers ask every 15 s, people look again after minutes."""
MAX_REQUESTED = 1000
"""Requested tubes beside those that are always read: clients may ask for any name."""


class Demand:
    """The tubes to read every second, and those whose next job's age is read."""

    def __init__(self, always: Iterable[str] = (), ages: Iterable[str] = ()) -> None:
        self._ages = _Names(ages)
        self._tubes = _Names(always)

    def request(self, tubes: Iterable[str], now: Instant) -> None:
        """Note that these were asked for; names that no tube can have are ignored."""
        self._tubes.request(tubes, now)

    def request_ages(self, tubes: Iterable[str], now: Instant) -> None:
        """Note that the age of these tubes' next job was asked for, and with it the tubes."""
        self._ages.request(tubes, now)

    def tubes(self, now: Instant) -> tuple[str, ...]:
        """Return the tubes to read every second, each once."""
        return tuple(dict.fromkeys((*self._tubes.current(now), *self._ages.current(now))))

    def ages(self, now: Instant) -> tuple[str, ...]:
        """Return the tubes whose next job's age is read."""
        return self._ages.current(now)


class _Names:
    def __init__(self, always: Iterable[str]) -> None:
        self._always = tuple(dict.fromkeys(filter(is_tube_name, always)))
        self._known = frozenset(self._always)
        self._requested: OrderedDict[str, float] = OrderedDict()  # name to monotonic seconds, the oldest request first

    def request(self, tubes: Iterable[str], now: Instant) -> None:
        requested = self._requested
        for tube in tubes:
            if tube in requested:
                requested[tube] = now.monotonic_s
                requested.move_to_end(tube)
            elif tube not in self._known and is_tube_name(tube):
                requested[tube] = now.monotonic_s
                if len(requested) > MAX_REQUESTED:
                    requested.popitem(last=False)

    def current(self, now: Instant) -> tuple[str, ...]:
        while self._requested and now.monotonic_s - next(iter(self._requested.values())) > REQUESTED_S:
            self._requested.popitem(last=False)
        return (*self._always, *self._requested)
