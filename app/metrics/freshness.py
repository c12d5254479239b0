"""Readings that may count: new enough, and of each beanstalkd one. All else is an error, never a number."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.beanstalkd.reading import Reading, ServerState
from app.metrics.metric import Evaluation, SameServerError, StaleReadingError

_SHORT_SWEEP = 0.2
"""Of the age that a reading may have, what a look at all tubes may take: the next comes after five times as long."""


class ReadServer(NamedTuple):
    """A server with its reading, which is fresh where a value comes from it."""

    state: ServerState
    reading: Reading


def fresh_servers(
    states: Iterable[ServerState], tubes: Sequence[str] | None, given: Evaluation
) -> Sequence[ReadServer]:
    """All of them, each another beanstalkd's, and fresh for the tubes that are named, or (None) for whatever it lists.

    Raises StaleReadingError, SameServerError.
    """
    oldest_s = given.now.monotonic_s - given.limit_s
    servers = []
    for state in states:
        reading = state.reading
        if reading is None:
            raise _never_read(state, given)
        if tubes is None:
            if reading.listed_at.monotonic_s < oldest_s:
                raise stale(state, reading, None, given)
        else:
            for tube in tubes:
                if reading.answered_at(tube).monotonic_s < oldest_s:
                    raise stale(state, reading, tube, given)
        servers.append(ReadServer(state, reading))
    if len({server.reading.server_id for server in servers}) < len(servers):
        raise _same_server(servers)
    return servers


def called(state: ServerState) -> str:
    """A server as errors name it."""
    return f"beanstalkd {state.server.name!r} ({state.server.address})"


def stale(state: ServerState, reading: Reading, tube: str | None, given: Evaluation) -> StaleReadingError:
    """What is said of a reading that is too old, or of one tube in it."""
    answered_at = reading.listed_at if tube is None else reading.answered_at(tube)
    age_s = answered_at.age_s(given.now)
    why = reason(state, given) or _awaited(state, tube, given)
    of_tube = f" of {given.told(tube)}" if tube and reading.listed_at.age_s(given.now) <= given.limit_s else ""
    return StaleReadingError(
        f"{called(state)} can't be read: {why}; its last good reading{of_tube} is {age_s:.0f} s old,"
        f" older than {given.max_age_s:g} s isn't served",
        age_s,
    )


def _awaited(state: ServerState, tube: str | None, given: Evaluation) -> str:
    """What is said where nothing failed: of very many tubes most are read rarely."""
    sweep_s = state.reading.sweep_s if state.reading else None
    if sweep_s is None or sweep_s < given.max_age_s * _SHORT_SWEEP:
        return "the next answer is awaited"
    if tube is None:
        return (
            f"its tubes are so many that to tell of all takes it {sweep_s:.0f} s, so it is asked rarely; name"
            " tubes exactly, or let maxAge be longer"
        )
    return "its tubes are so many that only those are read at once that are asked for: ask again in a second"


def reason(state: ServerState, given: Evaluation) -> str | None:
    """Why it can't be read just now, as far as it may be told."""
    if state.failure is None:
        return None
    if given.rules.tenancy and state.failure.names_tube:
        return "invalid reply; see the beanscale server log"
    return state.failure.message


def outages(given: Evaluation) -> str | None:
    """All servers that can't be read just now, and why, as far as everybody may be told."""
    failed = [f"{state.server.name!r}: {reason(state, given)}" for state in given.snapshot.servers if state.failure]
    return f"can't be read: {'; '.join(failed)}" if failed else None


def _never_read(state: ServerState, given: Evaluation) -> StaleReadingError:
    why = reason(state, given)
    return StaleReadingError(
        f"{called(state)} can't be read: {f'{why}; no usable reading' if why else 'waiting for the first poll'}"
    )


def _same_server(servers: Sequence[ReadServer]) -> SameServerError:
    ids = [server.reading.server_id for server in servers]
    twice = next(server_id for server_id in ids if ids.count(server_id) > 1)
    names = [repr(server.state.server.name) for server in servers if server.reading.server_id == twice]
    return SameServerError(
        f"{' and '.join(names)} are the same server (id {twice}), so its jobs would be counted twice; configure it once"
    )
