"""Whether a beanstalkd can be read right now. Trouble is shown at once, long before its last reading is too old."""

from collections.abc import Sequence

from app.beanstalkd.reading import Reading, ServerState, Snapshot
from app.beanstalkd.session import PERIOD_S, pause_s
from app.clock import MONOTONIC, Instant

LATE_S = 1.5
"""Seconds without a reply, beyond those between two polls, after which a server that reports no failure is late."""


def is_late(state: ServerState, now: Instant) -> bool:
    """Return whether the last attempt to read a server failed, or its next reply is overdue."""
    if state.failure is not None or state.reading is None:
        return True
    return last_reply(state.reading).age_s(now) > LATE_S + _poll_interval_s(state.reading)


def late_servers(snapshot: Snapshot, now: Instant) -> Sequence[bool]:
    """Return for each server whether it is late."""
    return [is_late(state, now) for state in snapshot.servers]


def last_reply(reading: Reading) -> Instant:
    """Return the time of the newest reply that says something of the whole server: its tubes, or its jobs."""
    return max((reading.listed_at, reading.jobs.answered_at if reading.jobs else reading.listed_at), key=MONOTONIC)


def _poll_interval_s(reading: Reading) -> float:
    """Return the most seconds between two replies: with very many tubes, and none of them requested, of two sweeps."""
    sweep_s = reading.sweep_s or 0.0
    is_read_every_second = reading.jobs is not None and reading.jobs.answered_at.age_s(reading.listed_at) < 0
    return PERIOD_S + sweep_s if is_read_every_second else 2 * sweep_s + pause_s(sweep_s)
