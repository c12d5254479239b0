"""What is known of servers and tubes, for people: each number with its age, and no judgement."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

from app.clock import Instant
from app.metrics.ages import next_job_age
from app.metrics.fields import COUNTED, NEXT_JOB_AGE, RATES, TIMES
from app.metrics.freshness import ReadServer, reason
from app.metrics.outcome import NoValueError
from app.metrics.question import Evaluation
from app.metrics.rates import growth, per_second
from app.tubes.snapshot import ServerState

Json = Mapping[str, Any]


def of_server(state: ServerState, named: Sequence[str] | None, given: Evaluation) -> Json:
    """One server; its age is that of its oldest answer about the tubes that are named, or of its listing."""
    age_s = _age_s(state, named, given)
    return {
        "name": state.server.name,
        "address": state.server.address,
        "member": state.member,
        "fresh": age_s is not None and age_s <= given.max_age_s and not state.doubted,
        "ageSeconds": rounded(age_s),
        "failure": reason(state, given),
        "failingForSeconds": rounded(state.failure.since.age_s(given.now)) if state.failure else None,
    }


def of_tube(server: ReadServer, tube: str, given: Evaluation) -> Json:
    """One tube of one server, whether it exists or not."""
    stats = server.reading.tubes.get(tube)
    left_s = stats.pause_time_left if stats else 0
    return {
        "server": server.state.server.name,
        "member": server.state.member,
        "tube": tube,
        "exists": stats is not None,
        "ageSeconds": rounded(server.reading.answered_at(tube).age_s(given.now)),
        "fields": dict(_fields(server, tube, given)),
        "paused": left_s > 0,
        "pauseSecondsLeft": left_s,
    }


def rounded(number: float | Fraction | None) -> float | int | None:
    """For people: three decimals, and none where there are none."""
    if number is None:
        return None
    written = round(float(number), 3)
    return int(written) if written.is_integer() else written


def _age_s(state: ServerState, named: Sequence[str] | None, given: Evaluation) -> float | None:
    reading = state.reading
    if reading is None:
        return None
    answers: Sequence[Instant] = [reading.answered_at(tube) for tube in named or ()]
    return max(answered_at.age_s(given.now) for answered_at in answers or [reading.listed_at])


def _fields(server: ReadServer, tube: str, given: Evaluation) -> Iterator[tuple[str, float | int | None]]:
    """By short name; rates and age where they are known."""
    stats = server.reading.tubes.get(tube)
    for field, number in (*COUNTED.items(), *TIMES.items()):
        yield field, number(stats) if stats else 0
    for rate in sorted(RATES):
        with suppress(NoValueError):
            yield rate, rounded(per_second([growth(rate, server, tube, given)]))
    with suppress(NoValueError):
        yield NEXT_JOB_AGE, next_job_age(server, tube, given).age_s
