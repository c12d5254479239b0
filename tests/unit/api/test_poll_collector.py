"""Prometheus metrics of the servers: a current number, or none."""

from app.api.telemetry import PollCollector
from app.beanstalkd.protocol import JobTotals
from app.beanstalkd.reading import ServerState, Snapshot
from tests.unit.metrics.given import NOW, ago, server, tube, unread

BY_STATE = {"ready": 7.0, "reserved": 3.0, "delayed": 2.0, "buried": 1.0}


def exported(name: str, *states: ServerState) -> dict[tuple[str, ...], float]:
    """The figure's samples by the values of their labels."""
    figures = PollCollector(lambda: Snapshot(states), lambda: NOW, 15).collect()
    (figure,) = (each for each in figures if each.name == name)
    return {tuple(sample.labels.values()): sample.value for sample in figure.samples}


def holding(name: str, age_s: float = 1, failure: str = "") -> ServerState:
    """A server whose `stats` had jobs that many seconds ago."""
    return server(name, age_s=age_s, failure=failure, jobs=JobTotals(ago(age_s), 7, 3, 2, 1))


def test_all_jobs_of_a_server_are_exported_by_state() -> None:
    assert exported("beanscale_jobs", holding("eu")) == {
        ("eu", "eu.example", state): count for state, count in BY_STATE.items()
    }


def test_a_short_outage_keeps_the_numbers_until_max_age() -> None:
    state = holding("eu", age_s=15, failure="connection refused")
    assert len(exported("beanscale_jobs", state)) == 4
    assert exported("beanscale_beanstalkd_up", state) == {("eu", "eu.example"): 0}


def test_a_stale_reading_exports_no_number() -> None:
    assert exported("beanscale_jobs", holding("eu", age_s=15.1, failure="connection refused")) == {}
    assert exported("beanscale_jobs", holding("eu", age_s=15.1)) == {}


def test_a_server_never_read_and_an_absent_field_export_no_number() -> None:
    states = unread("eu"), server("us")
    assert exported("beanscale_jobs", *states) == {}
    assert exported("beanscale_beanstalkd_up", *states) == {("eu", "eu.example"): 0, ("us", "us.example"): 1}


def test_an_invalid_number_has_no_series_and_the_others_have_one() -> None:
    jobs = JobTotals(ago(1), 7, None, 2, 1, timeouts=5)
    state = server("eu", jobs=jobs)
    assert exported("beanscale_jobs", state) == {
        ("eu", "eu.example", each): count for each, count in BY_STATE.items() if each != "reserved"
    }
    assert exported("beanscale_job_timeouts", state) == {("eu", "eu.example"): 5}
    assert exported("beanscale_job_timeouts", server("eu", jobs=jobs._replace(timeouts=None))) == {}
    assert exported("beanscale_job_timeouts", server("eu", jobs=jobs._replace(answered_at=ago(16)))) == {}


def test_stuck_tubes_are_counted_while_the_reading_is_fresh() -> None:
    idle = {"a": ago(20), "b": ago(5), "gone": ago(20)}
    tubes = tube("a", ready=1), tube("b", ready=1)
    known = {"idle": idle, "returned_at": ago(20)}
    assert exported("beanscale_tubes_stuck", server("eu", *tubes, **known)) == {("eu", "eu.example"): 1}
    assert exported("beanscale_tubes_stuck", server("eu", *tubes, **known, age_s=16)) == {}
