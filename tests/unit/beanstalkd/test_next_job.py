"""The age of a tube's next job from its stats-job reply, and from when it was seen before."""

from collections.abc import Mapping

import pytest

from app.beanstalkd.next_job import MAX_SEEN, next_job
from app.beanstalkd.protocol import InvalidField
from app.beanstalkd.reading import NextJob
from app.clock import Instant


def at(second: float) -> Instant:
    return Instant(1_800_000_000 + second, second)


def stats(job: int = 1, **fields: object) -> Mapping[str, str]:
    sent = {"id": job, "age": 100, "delay": 0, "reserves": 0, "kicks": 0} | fields
    return {key: str(value) for key, value in sent.items() if value is not None}


@pytest.mark.parametrize(
    ("fields", "uptime_s", "age_s"),
    [
        ({}, 1000, 100),
        ({"delay": 90}, 1000, 10),
        ({"delay": 101}, 1000, 0),
        ({"age": -5}, 1000, 0),
        ({}, 40, 40),
        ({"delay": 90}, 40, 10),
        ({"reserves": 1}, 1000, 0),
        ({"kicks": 1, "delay": 3600}, 1000, 0),
        ({"releases": 1, "buries": 1, "timeouts": 1}, 1000, 100),
    ],
)
def test_a_job_never_reserved_or_kicked_has_an_age_and_any_other_is_first_seen(
    fields: Mapping[str, object], uptime_s: int, age_s: int
) -> None:
    assert next_job(stats(**fields), uptime_s, None, at(0)).age_s == age_s


def test_a_job_counts_from_when_it_was_first_seen_until_it_is_reserved_or_kicked_again() -> None:
    job = next_job(stats(reserves=1), 1000, None, at(0))
    job = next_job(stats(reserves=1), 1000, job, at(7.9))
    assert job.age_s == 7
    assert next_job(stats(reserves=2), 1000, job, at(8)).age_s == 0
    assert next_job(stats(reserves=1, kicks=1), 1000, job, at(8)).age_s == 0
    assert next_job(stats(2, reserves=1), 1000, job, at(8)).age_s == 0
    assert next_job(stats(reserves=1), 3, job, at(8)).age_s == 3


def test_a_job_is_remembered_behind_a_few_others_and_not_behind_any_number() -> None:
    job = next_job(stats(reserves=1), 1000, None, at(0))
    for other in range(2, 1 + MAX_SEEN):
        job = next_job(stats(other, reserves=1), 1000, job, at(other))
    job = next_job(stats(99), 1000, job, at(50))  # never reserved: takes no room
    assert len(job.seen) == MAX_SEEN
    assert next_job(stats(reserves=1), 1000, job, at(60)).age_s == 60
    for other in range(2, 4 + MAX_SEEN):
        job = next_job(stats(other, reserves=2), 1000, job, at(70))
    assert len(job.seen) == MAX_SEEN
    assert next_job(stats(reserves=1), 1000, job, at(80)).age_s == 0


@pytest.mark.parametrize("field", ["age", "delay", "reserves", "kicks"])
@pytest.mark.parametrize("value", [None, "", "1.5", 10**30])
def test_an_invalid_field_is_an_error_of_this_tube(field: str, value: object) -> None:
    before = next_job(stats(reserves=1), 1000, None, at(0))
    job = next_job(stats(**{field: value}), 1000, before, at(1))
    assert (job.age_s, job.invalid and job.invalid.name, job.seen) == (None, field, before.seen)
    uptime = InvalidField("uptime", "sent no such field")
    assert next_job(stats(), uptime, None, at(1)) == NextJob(at(1), None, {}, uptime)
