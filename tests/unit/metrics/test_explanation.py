"""Every number can be traced: which rule, which server and tube, how old, what arithmetic, or which error."""

from dataclasses import replace
from fractions import Fraction

import pytest

from app.metrics.built_in import NAMES
from app.metrics.rules import Hold, Substitute
from tests.unit.metrics.given import (
    TUBE,
    ago,
    asked,
    counts,
    explained,
    glob,
    known,
    next_job,
    rule,
    server,
    tube,
    unread,
)

EU = server(
    "eu",
    tube("a", ready=3, reserved=1, cmd_delete=30, pause=60, pause_time_left=20),
    earlier={"a": counts(61, 0, 0)},
    listed_earlier_at=ago(61),
    next_jobs={"a": next_job(42)},
)
RUNNING = server(
    "eu", tube("a", ready=3, reserved=1, cmd_delete=30), earlier={"a": counts(61, 0, 0)}, next_jobs={"a": next_job(42)}
)
US = server("us", age_s=4, listed_earlier_at=ago(64))


def test_a_tubes_metric_is_explained_by_its_arithmetic_and_readings() -> None:
    data = explained("tube-a", "", known(EU, US))
    assert data["now"] == "2027-01-15T08:00:00Z"
    assert data["rule"] == {
        "name": "tube-a",
        "builtIn": True,
        "meaning": "Jobs ready and reserved in the tube, over all servers.",
        "tubes": ["a"],
        "servers": ["eu", "us"],
        "formula": "ready + reserved",
        "unit": "jobs",
        "paused": "count",
        "per": ["tube"],
        "onFailure": "fail",
        "maxAgeSeconds": 15,
        "namespaces": None,
    }
    assert data["items"] == [
        {"labels": {"tube": "a"}, "arithmetic": "3 + 1", "value": "4", "timestamp": "2027-01-15T07:59:56Z"}
    ]
    assert (data["error"], data["tubesOmitted"]) == (None, 0)
    assert data["servers"][0] == {
        "name": "eu",
        "address": "eu.example:11300",
        "fresh": True,
        "ageSeconds": 1,
        "failure": None,
        "failingForSeconds": None,
        "timeoutsPerSecond": None,
    }


def test_timeouts_of_all_tubes_are_no_tenants_business() -> None:
    eu = server("eu", tube("a"))
    assert eu.reading
    state = replace(eu, reading=replace(eu.reading, timeouts_per_second=0.5))
    for tenancy, shown in ((None, 0.5), ({"shop": "a"}, None)):
        assert explained("tube-a", "", known(state, tenancy=tenancy))["servers"][0]["timeoutsPerSecond"] == shown


def test_a_value_whose_first_read_is_in_progress_says_so() -> None:
    age = "beanstalkd_tube_next_job_age_seconds"
    assert explained(age, "tube=b", known(server("eu", tube("b", ready=1))))["error"]["firstRead"] is True
    assert explained("tube-a", "", known(unread("eu")))["error"]["firstRead"] is False


def test_a_tube_has_all_its_fields_and_omits_unknown_ones() -> None:
    there, gone = explained("tube-a", "", known(EU, server("us")))["tubes"]
    assert (there["server"], there["exists"], there["paused"], there["pauseSecondsLeft"]) == ("eu", True, True, 20)
    assert there["fields"] == {
        "ready": 3,
        "reserved": 1,
        "delayed": 0,
        "buried": 0,
        "urgent": 0,
        "using": 0,
        "watching": 0,
        "waiting": 0,
        "total": 0,
        "deleted": 30,
        "pauses": 0,
        "pause": 60,
        "pause_left": 20,
        "put_per_second": 0,
        "deleted_per_second": 0.5,
        "next_job_age_seconds": 0,
    }
    assert (gone["server"], gone["exists"], gone["fields"]["ready"]) == ("us", False, 0)
    assert "put_per_second" not in gone["fields"]


def test_a_rule_is_shown_as_written() -> None:
    backlog = rule(
        tubes="a b-*",
        value="ready / 2",
        per=TUBE,
        servers=frozenset({"eu"}),
        on_failure=Hold(300),
        max_age_s=30,
        namespaces=glob("shop shop-*"),
    )
    data = explained("backlog", "tube=a", known(EU, US, rules=[backlog]))
    assert data["rule"] == {
        "name": "backlog",
        "builtIn": False,
        "meaning": "ready / 2, for each tube by itself.",
        "tubes": ["a", "b-*"],
        "servers": ["eu"],
        "formula": "ready / 2",
        "unit": None,
        "paused": "count",
        "per": ["tube"],
        "onFailure": "hold 5m",
        "maxAgeSeconds": 30,
        "namespaces": ["shop", "shop-*"],
    }
    assert [each["name"] for each in data["servers"]] == ["eu"]
    assert [each["arithmetic"] for each in data["items"]] == ["3 / 2"]


@pytest.mark.parametrize(
    ("metric", "selector", "unit"),
    [
        ("tube-a", "", "jobs"),
        ("beanstalkd_tube_jobs", "tube=a", "jobs"),
        ("beanstalkd_tube_urgent_jobs", "tube=a", "jobs"),
        ("beanstalkd_tube_workers_waiting", "tube=a", "workers"),
        ("beanstalkd_tube_workers_watching", "tube=a", "workers"),
        ("beanstalkd_tube_producers_using", "tube=a", "producers"),
        ("beanstalkd_tube_jobs_put_per_second", "tube=a", "jobs/s"),
        ("beanstalkd_tube_jobs_deleted_per_second", "tube=a", "jobs/s"),
        ("beanstalkd_tube_drain_seconds", "tube=a", "seconds"),
        ("beanstalkd_tube_next_job_age_seconds", "tube=a", "seconds"),
        ("backlog", "", "jobs"),
        ("parcels", "", "parcels"),
    ],
)
def test_each_metric_has_a_unit(metric: str, selector: str, unit: str) -> None:
    rules = [rule(), rule("parcels", value="ready * 3", unit="parcels")]
    assert explained(metric, selector, known(EU, US, rules=rules))["rule"]["unit"] == unit


def test_a_held_value_has_its_duration_and_server() -> None:
    old = server("eu", tube("a", ready=3, age_s=100), age_s=100, failure="connection refused")
    data = explained("backlog", "", known(old, rules=[rule(on_failure=Hold(300))]))
    (item,), (eu,) = data["items"], data["servers"]
    assert (item["value"], item["heldForSeconds"], item["timestamp"]) == ("3", 85, "2027-01-15T07:58:20Z")
    assert (eu["fresh"], eu["ageSeconds"], eu["failure"], eu["failingForSeconds"]) == (
        False,
        100,
        "connection refused",
        100,
    )


def test_a_substitute_value_has_the_error_that_it_replaces() -> None:
    for state, value, reason in (
        (unread("eu"), "ready", "beanstalkd 'eu' (eu.example:11300) can't be read"),
        (server("eu", tube("a", ready=1)), "ready / reserved", "backlog has no value: divides by reserved, which is 0"),
    ):
        data = explained("backlog", "", known(state, rules=[rule(value=value, on_failure=Substitute(Fraction(10)))]))
        (item,) = data["items"]
        assert (item["value"], data["error"]) == ("10", None)
        assert item["arithmetic"].startswith(f"10 instead: {reason}")


def test_an_error_is_part_of_the_explanation() -> None:
    data = explained("tube-a", "", known(EU, unread("us")))
    assert data["error"]["reason"] == "ServiceUnavailable"
    assert "beanstalkd 'us'" in data["error"]["message"]
    assert (data["items"], data["rule"]["formula"]) == ([], "ready + reserved")
    assert [(each["name"], each["fresh"], each["ageSeconds"]) for each in data["servers"]] == [
        ("eu", True, 1),
        ("us", False, None),
    ]
    assert [each["server"] for each in data["tubes"]] == ["eu"]


def test_an_unknown_metric_has_no_rule_and_similar_names() -> None:
    data = explained("beanstalkd_tube_job", "", known(EU))
    assert (data["rule"], data["items"], data["tubes"]) == (None, [], [])
    assert (data["error"]["reason"], data["error"]["near"][0]) == ("NotFound", "beanstalkd_tube_jobs")


def test_an_invalid_selector_is_reported_with_the_rule() -> None:
    data = explained("backlog", "tube=a", known(EU, rules=[rule()]))
    assert (data["rule"]["name"], data["error"]["reason"], data["selector"]) == ("backlog", "NotFound", "tube=a")


def test_a_selector_with_other_tubes_is_no_error_for_a_tubes_metric() -> None:
    given = known(server("eu", tube("a", ready=3)), tenancy={"shop": "a"})
    selector = "tube in (a,b),server!=x"
    data = explained("tube-a", selector, given)
    assert (data["error"], [tube["tube"] for tube in data["tubes"]]) == (None, ["a"])
    assert [item["arithmetic"] for item in data["items"]] == ["3 + 0"]


@pytest.mark.parametrize(
    ("metric", "selector", "message"),
    [
        pytest.param(
            "beanstalkd_tube_jobs",
            "address=x",
            "has no label 'address'; it has 'paused', 'server', 'state', 'tube'",
            id="label",
        ),
        pytest.param("tube-a", "tube in (a,b)", "last read 60 s ago (maxAge 15 s)", id="hidden"),
        pytest.param("tube-a", "tube=b", "doesn't cover tube 'b'; it covers a", id="nothing"),
    ],
)
def test_the_error_is_that_of_the_response(metric: str, selector: str, message: str) -> None:
    given = known(server("eu", tube("a", age_s=60), age_s=60), tenancy={"shop": "a"})
    assert message in explained(metric, selector, given)["error"]["message"]


@pytest.mark.parametrize("metric", NAMES)
def test_every_built_in_metric_can_be_explained(metric: str) -> None:
    given = known(RUNNING)
    data = explained(metric, "tube=a", given)
    assert [(item["labels"], item["value"]) for item in data["items"]] == [
        (value.labels, value.quantity) for value in asked(metric, "tube=a", given)
    ]
    assert (data["error"], data["rule"]["builtIn"], [each["tube"] for each in data["tubes"]]) == (None, True, ["a"])
    assert data["rule"]["meaning"].endswith(".")


def test_the_drain_time_shows_its_division_and_its_window() -> None:
    (item,) = explained("beanstalkd_tube_drain_seconds", "tube=a", known(RUNNING))["items"]
    assert (item["arithmetic"], item["value"], item["window"]) == ("(3 + 1) / 0.5", "8", 60)


def test_a_rate_shows_its_count_and_seconds() -> None:
    one, other = (
        server(f"queue-{each}", tube("a", cmd_delete=each * 10), earlier={"a": counts(each + 0.5, 0, 0)})
        for each in (1, 2)
    )
    data = explained("beanstalkd_tube_jobs_deleted_per_second", "tube=a", known(one, other, EU))
    assert [(item["arithmetic"], item["value"]) for item in data["items"]] == [
        ("10 / 0.5", "20"),
        ("20 / 1.5", "13333333334n"),
        ("30 / 60", "500m"),
    ]


def test_a_hundred_tubes_and_items_are_shown_and_the_others_counted() -> None:
    many = server("eu", *[tube(f"t{number:03}", ready=number) for number in range(150)])
    data = explained("backlog", "", known(many, server("us"), rules=[rule(per=TUBE)]))
    assert (len(data["tubes"]), data["tubesOmitted"]) == (100, 50)
    assert (len(data["items"]), data["itemsOmitted"]) == (100, 50)
    assert data["total"] == str(sum(range(150)))
    assert data["items"][99]["arithmetic"] == "99 + 0"
