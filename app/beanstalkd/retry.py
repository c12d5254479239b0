"""A beanstalkd that can't be reached: how it is spoken of, and when it is tried again."""

import os
import random
import socket
from collections.abc import Iterator
from itertools import count

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
_DOUBLINGS = 10  # far beyond the cap already; keeps 2 ** attempt small for ever


def retry_delays() -> Iterator[float]:
    """Seconds to wait before each new attempt: doubled up to a cap, jittered so that not all clients return at once."""
    for attempt in count():
        ceiling_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(attempt, _DOUBLINGS))
        yield ceiling_s * random.uniform(0.5, 1)  # noqa: S311 - jitter keeps no secret


def because(error: OSError) -> str:
    """A clause after the server's name: "connection refused"."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return f"its name can't be resolved ({error.strerror})"
    if error.errno:
        return os.strerror(error.errno).lower()  # asyncio's own strerror hides the reason: "Connect call failed"
    return "it closed the connection"  # what an OSError of greenstalk means


def because_unresolved(error: OSError) -> str:
    """The same of a look-up."""
    reason = because(error)
    return reason if isinstance(error, socket.gaierror) else f"its name can't be resolved ({reason})"
