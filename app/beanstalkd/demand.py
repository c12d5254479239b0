"""Which tubes somebody asks for: they are read every second, however many others there are."""

from collections import OrderedDict
from collections.abc import Iterable

from app.beanstalkd.protocol import is_tube_name
from app.clock import Instant

WANTED_S = 300.0
"""For so long after it was asked for is a tube wanted: autoscalers ask every 15 s, people look again after minutes."""
MOST_WANTED = 1000
"""Tubes asked for, beside those that are always wanted: strangers may ask for any name."""


class Demand:
    """Told of each request, asked at each round."""

    def __init__(self, always: Iterable[str] = (), ages: Iterable[str] = ()) -> None:
        self._ages = _Names(ages)
        self._tubes = _Names(always)

    def want(self, tubes: Iterable[str], now: Instant) -> None:
        """These were asked for; names that no tube can have are left out."""
        self._tubes.ask(tubes, now)

    def want_ages(self, tubes: Iterable[str], now: Instant) -> None:
        """The age of these tubes' next job was asked for, and with it the tubes."""
        self._ages.ask(tubes, now)

    def tubes(self, now: Instant) -> tuple[str, ...]:
        """Those to read every second, each once."""
        return tuple(dict.fromkeys((*self._tubes.wanted(now), *self._ages.wanted(now))))

    def ages(self, now: Instant) -> tuple[str, ...]:
        """Those whose next job's age is to be asked for."""
        return self._ages.wanted(now)


class _Names:
    def __init__(self, always: Iterable[str]) -> None:
        self._always = tuple(dict.fromkeys(filter(is_tube_name, always)))
        self._known = frozenset(self._always)
        self._asked: OrderedDict[str, float] = OrderedDict()  # the longest unasked first

    def ask(self, tubes: Iterable[str], now: Instant) -> None:
        asked = self._asked
        for tube in tubes:
            if tube in asked:
                asked[tube] = now.monotonic_s
                asked.move_to_end(tube)
            elif tube not in self._known and is_tube_name(tube):
                asked[tube] = now.monotonic_s
                if len(asked) > MOST_WANTED:
                    asked.popitem(last=False)

    def wanted(self, now: Instant) -> tuple[str, ...]:
        while self._asked and now.monotonic_s - next(iter(self._asked.values())) > WANTED_S:
            self._asked.popitem(last=False)
        return (*self._always, *self._asked)
