"""Jobs that a pause of their tube holds back can be left out: by the label `paused`, or by a rule."""

import pytest

from app.metrics.query import UnknownMetricError
from app.metrics.rules import Hold
from tests.unit.metrics.given import (
    TUBE,
    asked,
    by_label,
    counts,
    explained,
    known,
    next_job,
    quantities,
    rule,
    server,
    tube,
)

AGE, PUT, JOBS = (
    "beanstalkd_tube_next_job_age_seconds",
    "beanstalkd_tube_jobs_put_per_second",
    "beanstalkd_tube_jobs",
)
PAUSED = tube(
    "a",
    ready=30,
    reserved=2,
    current_jobs_urgent=9,
    current_jobs_delayed=4,
    current_jobs_buried=3,
    current_watching=5,
    total_jobs=100,
    cmd_delete=50,
    pause=60,
    pause_time_left=20,
)
EARLIER = {"earlier": {"a": counts(61, 40, 20), "b": counts(61, 0, 0)}, "next_jobs": {"a": next_job(42)}}
EU = server("eu", PAUSED, tube("b", ready=1, reserved=1, total_jobs=60), **EARLIER)
US = server("us", tube("a", ready=7, reserved=1, total_jobs=60), earlier={"a": counts(61, 0, 0)})


@pytest.mark.parametrize(
    ("selector", "values"),
    [
        ("", ["40"]),
        ("paused=false", ["10"]),
        ("paused!=true", ["10"]),
        ("paused notin (true)", ["10"]),
        ("paused=true", ["30"]),
        ("paused", ["10", "30"]),
        ("!paused", ["40"]),
        ("tube=a,paused=false", ["10"]),
        ("paused,paused notin (true,false)", []),
    ],
)
def test_a_tubes_metric_is_divided_by_pause(selector: str, values: list[str]) -> None:
    assert quantities(asked("tube-a", selector, known(EU, US))) == values


def test_a_tube_that_is_missing_or_not_paused_has_no_job_held_back() -> None:
    assert quantities(asked("tube-gone", "paused=false", known(EU, US))) == ["0"]
    assert quantities(asked("tube-gone", "paused=true", known(EU, US))) == ["0"]
    assert quantities(asked("tube-b", "paused", known(EU, US))) == ["2", "0"]


@pytest.mark.parametrize(
    ("metric", "selector", "values"),
    [
        (JOBS, "tube=a,server=eu,paused=false", {"ready": "0", "reserved": "2", "delayed": "0", "buried": "0"}),
        (JOBS, "tube=a,server=eu,paused=true", {"ready": "30", "reserved": "0", "delayed": "4", "buried": "3"}),
        (JOBS, "tube=a,server=us,paused=false", {"ready": "7", "reserved": "1", "delayed": "0", "buried": "0"}),
    ],
)
def test_only_reserved_jobs_of_a_paused_tube_count(metric: str, selector: str, values: dict[str, str]) -> None:
    assert by_label(asked(metric, selector, known(EU, US)), "state") == values


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("beanstalkd_tube_urgent_jobs", {"eu": "0", "us": "0"}),
        (PUT, {"eu": "0", "us": "1"}),
        (AGE, {"eu": "0"}),
    ],
)
def test_the_tube_is_paused_on_one_server_only(metric: str, values: dict[str, str]) -> None:
    us = server("us", tube("a", total_jobs=60), earlier={"a": counts(61, 0, 0)})
    assert by_label(asked(metric, "tube=a,paused=false", known(EU, us)), "server") == values


def test_without_any_tube_there_is_still_a_value() -> None:
    assert quantities(asked(JOBS, "state=ready,paused=false", known(server("eu")))) == ["0"]


@pytest.mark.parametrize(
    ("metric", "selector", "message"),
    [
        ("tube-a", "paused=ignore", "tube-a has no paused 'ignore'; valid values: 'false', 'true'"),
        (JOBS, "paused=no", "beanstalkd_tube_jobs has no paused 'no'; valid values: 'false', 'true'"),
        (JOBS, "pause=false", "no label 'pause'; it has 'paused', 'server', 'state', 'tube'"),
        ("beanstalkd_tube_workers_watching", "paused=false", "no label 'paused'; it has 'server', 'tube'"),
        ("beanstalkd_tube_drain_seconds", "paused=false", "no label 'paused'"),
    ],
)
def test_a_label_that_never_matches_is_an_error(metric: str, selector: str, message: str) -> None:
    with pytest.raises(UnknownMetricError, match=message):
        asked(metric, selector, known(EU, US))


@pytest.mark.parametrize(
    ("value", "ignored", "counted"),
    [
        ("ready + reserved", "10", "40"),
        ("reserved", "3", "3"),
        ("urgent", "0", "9"),
        ("delayed", "0", "4"),
        ("buried", "0", "3"),
        ("total", "160", "160"),
        ("watching", "5", "5"),
        ("pause_left", "20", "20"),
        ("put_per_second", "1", "2"),
        ("deleted_per_second", "500m", "500m"),
        ("next_job_age_seconds", "0", "0"),
    ],
)
def test_a_rule_can_ignore_paused_tubes(value: str, ignored: str, counted: str) -> None:
    us = server(
        "us",
        tube("a", ready=7, reserved=1, total_jobs=60),
        earlier={"a": counts(61, 0, 0)},
        next_jobs={"a": next_job(0)},
    )
    for ignores, expected in ((True, ignored), (False, counted)):
        given = known(EU, us, rules=[rule(tubes="a", value=value, ignores_paused=ignores)])
        assert quantities(asked("backlog", "", given)) == [expected]


def test_a_glob_counts_the_tubes_that_are_not_paused() -> None:
    given = known(EU, US, rules=[rule(ignores_paused=True, per=TUBE)])
    assert by_label(asked("backlog", "", given), "tube") == {"a": "10", "b": "2"}


def test_a_pause_counts_until_its_last_moment() -> None:
    ending = server("eu", tube("a", ready=3, pause=60, pause_time_left=0))
    assert quantities(asked("tube-a", "paused=false", known(ending))) == ["0"]


def test_a_held_value_is_that_of_the_last_reading() -> None:
    old = server("eu", tube("a", ready=3, reserved=1, pause=5, pause_time_left=1, age_s=100), age_s=100, failure="x")
    given = known(old, rules=[rule(on_failure=Hold(300), ignores_paused=True)])
    assert quantities(asked("backlog", "", given)) == ["1"]


@pytest.mark.parametrize(
    ("metric", "selector", "paused"),
    [
        ("tube-a", "", "count"),
        ("tube-a", "paused=false", "ignore"),
        ("tube-a", "paused=true", "count"),
        (JOBS, "tube=a,paused!=true", "ignore"),
        ("tube-a", "!paused", "count"),
        ("tube-a", "paused notin (true,false)", "count"),
        ("tube-a", "paused=maybe", "count"),
        ("backlog", "", "ignore"),
    ],
)
def test_what_is_ignored_is_explained(metric: str, selector: str, paused: str) -> None:
    data = explained(metric, selector, known(EU, US, rules=[rule(tubes="a", ignores_paused=True)]))
    assert data["rule"]["paused"] == paused
    assert ("Of a paused tube, only reserved jobs count." in data["rule"]["meaning"]) is (paused == "ignore")
    assert {each["server"]: each["ignored"] for each in data["tubes"]} == {"eu": paused == "ignore", "us": False}


@pytest.mark.parametrize(
    ("metric", "selector", "sentence"),
    [
        (PUT, "paused=false", "Of a paused tube, put_per_second counts as 0."),
        (AGE, "tube=a,paused=false", "Of a paused tube, next_job_age_seconds counts as 0."),
        ("beanstalkd_tube_urgent_jobs", "paused=false", "Of a paused tube, urgent counts as 0."),
        ("beanstalkd_tube_workers_watching", "paused=false", ""),
        ("beanstalkd_tube_workers_watching", "paused!=true", ""),
        ("beanstalkd_tube_jobs_deleted_per_second", "paused!=true", ""),
        ("busy", "", ""),
        ("weighted", "", "Of a paused tube, put_per_second and ready count as 0."),
    ],
)
def test_what_a_pause_changes_is_explained(metric: str, selector: str, sentence: str) -> None:
    rules = [
        rule(name="busy", value="reserved", ignores_paused=True),
        rule(name="weighted", value="ready + 30 * put_per_second", ignores_paused=True),
    ]
    data = explained(metric, selector, known(EU, US, rules=rules))
    assert (" Of a paused tube" in data["rule"]["meaning"]) is bool(sentence)
    assert data["rule"]["meaning"].endswith(sentence)
    assert any(each["ignored"] for each in data["tubes"]) is bool(sentence)


def test_a_pauses_time_is_never_below_zero() -> None:
    given = known(server("eu", tube("a", pause=60, pause_time_left=-1)), rules=[rule(value="pause_left")])
    assert quantities(asked("backlog", "", given)) == ["0"]
    (row,) = explained("tube-a", "", given)["tubes"]
    assert (row["paused"], row["pauseSecondsLeft"], row["fields"]["pause_left"]) == (True, 0, 0)


def test_the_arithmetic_leaves_out_what_is_ignored() -> None:
    given = known(EU, US, rules=[rule(tubes="a", ignores_paused=True)])
    for metric, selector in (("tube-a", "paused=false"), ("backlog", "")):
        assert [item["arithmetic"] for item in explained(metric, selector, given)["items"]] == ["7 + 3"]
    data = explained(PUT, "tube=a,paused=false", given)
    assert [(item["arithmetic"], item["value"]) for item in data["items"]] == [("0", "0"), ("60 / 60", "1")]


def test_a_pause_of_another_reading_is_not_a_rate_that_is_missing() -> None:
    """While the tube is paused, its rate isn't needed."""
    new = server("eu", tube("a", ready=3, pause=60, pause_time_left=9), listed_earlier_at=None)
    assert quantities(asked(PUT, "tube=a,paused=false", known(new))) == ["0"]
