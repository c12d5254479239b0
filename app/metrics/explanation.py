"""Servers and tubes as the JSON of `?explain=true`: each number with its age."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

from app.beanstalkd.reading import ServerState
from app.metrics.fields import COUNTED, NEXT_JOB_AGE, RATES, TIMES, invalid_fields, is_paused, number_of
from app.metrics.freshness import ServerReading
from app.metrics.query import EvaluationContext, NoValueError
from app.metrics.rates import growth, next_job_age, per_second

Json = Mapping[str, Any]


def server_info(state: ServerState, named: Sequence[str] | None, context: EvaluationContext) -> Json:
    """Return a server; its age is that of its oldest reply about the tubes in `named`, or of its listing."""
    reading, failure, age_s = state.reading, state.failure, None
    if reading is not None:
        answers = [reading.answered_at(tube) for tube in named or ()] or [reading.listed_at]
        age_s = max(answered_at.age_s(context.now) for answered_at in answers)
    return {
        "name": state.server.name,
        "address": state.server.address,
        "fresh": age_s is not None and age_s <= context.max_age_s,
        "ageSeconds": rounded(age_s),
        "failure": failure.message if failure else None,
        "failingForSeconds": rounded(failure.since.age_s(context.now)) if failure else None,
        # of all tubes, those included that a tenant may not see
        "timeoutsPerSecond": rounded(reading.timeouts_per_second) if reading and not context.rules.tenancy else None,
    }


def tube_info(server: ServerReading, tube: str, context: EvaluationContext) -> Json:
    """Return a tube of a server, whether it exists or not. Rates and ages that aren't known are left out.

    An invalid field is null; `invalid` says why.
    """
    stats = server.reading.tubes.get(tube)
    fields: dict[str, float | int | None] = {field: number_of(field, stats) for field in (*COUNTED, *TIMES)}
    for rate in sorted(RATES):
        with suppress(NoValueError):
            fields[rate] = rounded(per_second([growth(rate, server, tube)]))
    with suppress(NoValueError):
        fields[NEXT_JOB_AGE] = next_job_age(server, tube, context).age_s
    return {
        "server": server.state.server.name,
        "tube": tube,
        "exists": stats is not None,
        "ageSeconds": rounded(server.reading.answered_at(tube).age_s(context.now)),
        "fields": fields,
        "invalid": invalid_fields(stats),
        "paused": is_paused(stats),
        "pauseSecondsLeft": fields["pause_left"],
        "workersStuckForSeconds": rounded(server.reading.stuck_s(tube)),
    }


def rounded(number: float | Fraction | None) -> float | int | None:
    """Return a number for people: at most three decimals."""
    if number is None:
        return None
    written = round(float(number), 3)
    return int(written) if written.is_integer() else written
