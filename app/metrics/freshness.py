"""The freshness rule: a value uses readings of at most `maxAge`, one per beanstalkd. Anything else is an error."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.beanstalkd.protocol import InvalidFieldError
from app.beanstalkd.reading import Reading, ServerState
from app.metrics.query import EvaluationContext, InvalidReadingError, SameServerError, StaleReadingError

_SHORT_SWEEP = 0.2
"""Share of the maximum age that a sweep over all tubes may take: the next one starts after five times its duration."""


class ServerReading(NamedTuple):
    """A server with its last reading."""

    state: ServerState
    reading: Reading


def fresh_servers(
    states: Iterable[ServerState], tubes: Sequence[str] | None, context: EvaluationContext
) -> Sequence[ServerReading]:
    """Return the readings of all servers, each fresh for `tubes`, or for the whole listing if None.

    Raises StaleReadingError and, if two servers are the same beanstalkd, SameServerError.
    """
    oldest_s = context.now.monotonic_s - context.limit_s
    servers: list[ServerReading] = []
    by_id: dict[str, ServerState] = {}
    for state in states:
        reading = state.reading
        if reading is None:
            why = f"{state.failure.message}; no usable reading" if state.failure else "waiting for the first poll"
            raise StaleReadingError(f"{describe(state)} can't be read: {why}")
        if tubes is None:
            if reading.listed_at.monotonic_s < oldest_s:
                raise stale(state, reading, None, context)
        else:
            for tube in tubes:
                if reading.answered_at(tube).monotonic_s < oldest_s:
                    raise stale(state, reading, tube, context)
        duplicate = by_id.setdefault(reading.server_id, state)
        if duplicate is not state:
            raise SameServerError(
                f"{duplicate.server.name!r} and {state.server.name!r} are the same server (id {reading.server_id}),"
                " so its jobs would be counted twice; configure it once"
            )
        servers.append(ServerReading(state, reading))
    return servers


def describe(state: ServerState) -> str:
    """Return how errors name a server."""
    return f"beanstalkd {state.server.name!r} ({state.server.address})"


def invalid(error: InvalidFieldError, servers: Iterable[ServerReading]) -> InvalidReadingError:
    """Return the error for a field of one of the servers' tubes that is invalid."""
    states = (each.state for each in servers if error.invalid in (each.reading.tubes.get(error.tube) or ()))
    return InvalidReadingError(f"{describe(next(states))} has {error}")


def stale(state: ServerState, reading: Reading, tube: str | None, context: EvaluationContext) -> StaleReadingError:
    """Return the error for a reading, or for one tube in it, that is too old."""
    age_s = (reading.listed_at if tube is None else reading.answered_at(tube)).age_s(context.now)
    sweep_s = reading.sweep_s
    if state.failure is not None:
        why = state.failure.message
    elif sweep_s is None or sweep_s < context.max_age_s * _SHORT_SWEEP:
        why = "waiting for the next poll"
    elif tube is None:
        why = (
            f"reading all its tubes takes {sweep_s:.0f} s, so it is polled less often; name the tubes exactly, or raise"
            " maxAge"
        )
    else:
        why = (
            "it has too many tubes to read all every second; only queried tubes are read at once, so retry in a second"
        )
    of_tube = f" of tube {tube!r}" if tube and reading.listed_at.age_s(context.now) <= context.limit_s else ""
    return StaleReadingError(
        f"{describe(state)} can't be read: {why}; last read{of_tube} {age_s:.0f} s ago"
        f" (maxAge {context.max_age_s:g} s)",
        age_s,
    )
