"""Requested tubes: they are read every second, however many others there are."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from itertools import chain

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

    def request(self, tubes: Iterable[str], now: Instant, namespace: str = "") -> None:
        """Note that a namespace asked for these; names that no tube can have are ignored."""
        self._tubes.request(tubes, now, namespace)

    def request_ages(self, tubes: Iterable[str], now: Instant, namespace: str = "") -> None:
        """Note that a namespace asked for the age of these tubes' next job, and with it for the tubes."""
        self._ages.request(tubes, now, namespace)

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
        self._requested: defaultdict[str, OrderedDict[str, float]] = defaultdict(OrderedDict)
        """By namespace: name to monotonic seconds, the oldest request first."""
        self._number = 0  # of names in all namespaces

    def request(self, tubes: Iterable[str], now: Instant, namespace: str) -> None:
        requested = self._requested[namespace]
        for tube in tubes:
            if tube in requested:
                requested[tube] = now.monotonic_s
                requested.move_to_end(tube)
            elif tube not in self._known and is_tube_name(tube):
                requested[tube] = now.monotonic_s
                self._number += 1
                if self._number > MAX_REQUESTED:
                    # So no namespace displaces what others need, however many tubes it asks for.
                    is_largest = 2 * len(requested) > self._number
                    self._drop_oldest(requested if is_largest else max(self._requested.values(), key=len))

    def current(self, now: Instant) -> tuple[str, ...]:
        for namespace, requested in list(self._requested.items()):
            while requested and now.monotonic_s - next(iter(requested.values())) > REQUESTED_S:
                self._drop_oldest(requested)
            if not requested:
                del self._requested[namespace]
        return (*self._always, *dict.fromkeys(chain.from_iterable(self._requested.values())))

    def _drop_oldest(self, requested: OrderedDict[str, float]) -> None:
        requested.popitem(last=False)
        self._number -= 1
