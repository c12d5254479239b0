"""How often something may happen, and how much at once: token bucket, slots, backoff, and rate-limited warnings."""

import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator

import structlog

_random = random.SystemRandom()
"""Not the module's generator, whose state threads share."""


class TokenBucket:
    """At most `burst` at once, then one every `interval_s` seconds. Starts full. Pure: time is monotonic seconds."""

    def __init__(self, burst: int, interval_s: float, now_s: float) -> None:
        self._burst = burst
        self._interval_s = interval_s
        self._tokens = float(burst)
        self._filled_at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a token is available; 0 if one is."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_at_s) / self._interval_s)
        self._filled_at_s = now_s
        return max(0.0, (1 - self._tokens) * self._interval_s)

    def take(self, now_s: float) -> bool:
        """Take a token. Return False if none is available."""
        if self.wait_s(now_s) > 0:
            return False
        self._tokens -= 1
        return True

    def put_back(self) -> None:
        """Return a token that turned out not to be needed."""
        self._tokens = min(self._burst, self._tokens + 1)


class Slots:
    """At most `most` at once, of which `each` of one client, so that one client can't take them all."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._of_client: dict[Hashable, int] = {}
        self._taken = 0

    def take(self, client: Hashable) -> bool:
        """Take a slot. Return False if none is left for this client."""
        of_client = self._of_client.get(client, 0)
        if self._taken >= self._most or of_client >= self._each:
            return False
        self._of_client[client] = of_client + 1
        self._taken += 1
        return True

    def release(self, client: Hashable) -> None:
        """Return a slot that was taken."""
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]
        self._taken -= 1


class FairQueue[Item]:
    """A queue in which clients take turns: many items of one client delay another's by only one."""

    def __init__(self) -> None:
        self._items: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        """The items of each client, the client whose turn is next first."""

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, client: Hashable, item: Item, *, first: bool = False) -> None:
        """Add an item as the last of this client, or as its first."""
        items = self._items.setdefault(client, deque())
        if first:
            items.appendleft(item)
        else:
            items.append(item)

    def take(self) -> Item:
        """Remove and return the next item. Raises KeyError if there is none."""
        client, items = self._items.popitem(last=False)
        item = items.popleft()
        if items:
            self._items[client] = items  # behind all others
        return item


class RateLimitedWarning:
    """A warning that clients can cause: at most `burst` lines at once, then one every `interval_s` seconds."""

    def __init__(self, burst: int = 1, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bucket = TokenBucket(burst, interval_s, clock())
        self._suppressed = 0

    def admit(self) -> dict[str, int] | None:
        """Return None if this line has to be suppressed, else what to add to it: `suppressed`, lines since the last."""
        if not self._bucket.take(self._clock()):
            self._suppressed += 1
            return None
        suppressed, self._suppressed = self._suppressed, 0
        return {"suppressed": suppressed} if suppressed else {}

    def warning(self, event: str, **values: object) -> None:
        """Log a warning with `values`, or count it as suppressed."""
        added = self.admit()
        if added is not None:
            structlog.get_logger().warning(event, **values, **added)


def backoff(first_s: float = 0.25, max_s: float = 5.0, factor: float = 2.0) -> Iterator[float]:
    """Yield the seconds to wait before each retry, endlessly: `first_s` times `factor` each time, at most `max_s`.

    Each is multiplied by 0.5 to 1 at random, so that clients that failed together don't return together.
    """
    delay_s = first_s
    while True:
        yield min(delay_s, max_s) * _random.uniform(0.5, 1)
        delay_s = min(delay_s * factor, max_s)
