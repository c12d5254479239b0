"""When a beanstalkd that can't be reached is tried again, and how errors name the reason."""

import os
import random
import socket
from collections.abc import Iterator
from itertools import count

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
_DOUBLINGS = 10  # far beyond the cap already; keeps 2 ** attempt small


def retry_delays() -> Iterator[float]:
    """Yield seconds to wait before each attempt: doubled up to a cap, with jitter so that clients spread out."""
    for attempt in count():
        ceiling_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(attempt, _DOUBLINGS))
        yield ceiling_s * random.uniform(0.5, 1)  # noqa: S311 - jitter keeps no secret


def describe_error(error: OSError) -> str:
    """Return a clause that follows the server's name: "connection refused"."""
    if isinstance(error, socket.gaierror):
        return f"DNS lookup failed ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "timed out"
    if error.errno:
        return os.strerror(error.errno).lower()  # asyncio's strerror hides the reason: "Connect call failed"
    return "it closed the connection"  # greenstalk raises an OSError without errno
