"""While there is no value a rule says what its operator chose, and the error says what that was."""

from fractions import Fraction

import pytest

from app.beanstalkd.reading import ServerState
from app.metrics.query import (
    MetricError,
    NoResultError,
    SameServerError,
    StaleReadingError,
    TooFewReadingsError,
    UnknownMetricError,
)
from app.metrics.rule import policy_text
from app.metrics.rules import Fail, Hold, OnFailure, Substitute
from tests.unit.metrics.given import (
    NOW,
    SERVER,
    ago,
    asked,
    counts,
    known,
    quantities,
    rule,
    server,
    tube,
    unread,
)

HOLD, TEN = Hold(300), Substitute(Fraction(10))


def eu(age_s: float) -> ServerState:
    return server("eu", tube("a", ready=3, age_s=age_s), age_s=age_s, failure="connection refused")


def test_fail_returns_the_error() -> None:
    with pytest.raises(StaleReadingError) as stale:
        asked("backlog", "", known(eu(16), rules=[rule(on_failure=Fail())]))
    assert str(stale.value) == (
        "beanstalkd 'eu' (eu.example:11300) can't be read: connection refused; last read 16 s ago"
        " (maxAge 15 s); onFailure of backlog is fail"
    )


@pytest.mark.parametrize(("age_s", "held_s"), [(10, None), (15, None), (16, 1), (315, 300)])
def test_hold_uses_the_last_good_reading_with_its_timestamp(age_s: float, held_s: float | None) -> None:
    (value,) = asked("backlog", "", known(eu(age_s), rules=[rule(on_failure=HOLD)]))
    assert (value.quantity, value.answered_at, value.held_s) == ("3", ago(age_s), held_s)


def test_hold_ends_and_reports_when() -> None:
    with pytest.raises(StaleReadingError, match=r"\(maxAge 15 s\); onFailure of backlog \(hold 5m\) expired 12 s ago$"):
        asked("backlog", "", known(eu(327), rules=[rule(on_failure=HOLD)]))


def test_hold_has_no_value_for_a_server_never_read() -> None:
    with pytest.raises(
        StaleReadingError,
        match=r"waiting for the first poll; .* \(hold 5m\) has no reading to hold since beanscale started$",
    ):
        asked("backlog", "", known(unread("eu"), rules=[rule(on_failure=HOLD)]))


def test_hold_starts_after_the_rules_max_age() -> None:
    given = known(eu(325), rules=[rule(on_failure=HOLD, max_age_s=30), rule("short", on_failure=HOLD)])
    assert quantities(asked("backlog", "", given)) == ["3"]
    with pytest.raises(StaleReadingError, match="expired 10 s ago"):
        asked("short", "", given)


def test_a_held_value_of_one_server_adds_to_a_fresh_one_of_another() -> None:
    given = known(
        eu(100),
        server("us", tube("a", ready=4)),
        rules=[rule(on_failure=HOLD, per=SERVER), rule("sum", on_failure=HOLD)],
    )
    held, fresh = asked("backlog", "", given)
    assert (held.quantity, held.held_s, fresh.quantity, fresh.held_s) == ("3", 85, "4", None)
    (both,) = asked("sum", "", given)
    assert (both.quantity, both.answered_at, both.held_s) == ("7", ago(100), 85)


def test_a_rate_is_held_unchanged() -> None:
    state = server("eu", tube("a", cmd_delete=20, age_s=100), age_s=100, earlier={"a": counts(110, 0, 0)})
    (value,) = asked("backlog", "", known(state, rules=[rule(tubes="a", value="deleted_per_second", on_failure=HOLD)]))
    assert (value.quantity, value.window_s, value.held_s) == ("2", 10, 85)


def test_built_in_metrics_hold_nothing() -> None:
    with pytest.raises(StaleReadingError, match=r"\(maxAge 15 s\)$"):
        asked("tube-a", "", known(eu(16), rules=[rule(on_failure=HOLD)]))


@pytest.mark.parametrize(
    ("state", "value"),
    [
        pytest.param(eu(16), "ready", id="stale"),
        pytest.param(unread("eu"), "ready", id="never-read"),
        pytest.param(server("eu", tube("a")), "put_per_second", id="too-few-readings"),
        pytest.param(server("eu", tube("a", ready=1)), "next_job_age_seconds", id="age-awaited"),
        pytest.param(server("eu", tube("a", ready=1)), "ready / reserved", id="divided-by-0"),
    ],
)
def test_a_substitute_value_replaces_every_failure(state: ServerState, value: str) -> None:
    given = known(server("us", tube("a")), state, rules=[rule(tubes="a", value=value, on_failure=TEN)])
    (instead,) = asked("backlog", "", given)
    assert (instead.quantity, dict(instead.labels), instead.answered_at) == ("10", {}, NOW)


@pytest.mark.parametrize("policy", [HOLD, TEN])
def test_no_policy_applies_to_an_invalid_query(policy: OnFailure) -> None:
    given = known(unread("eu"), rules=[rule(on_failure=policy)])
    with pytest.raises(UnknownMetricError, match="no label 'tube'; it has no labels"):
        asked("backlog", "tube=a", given)


@pytest.mark.parametrize("policy", [HOLD, TEN])
def test_no_policy_counts_a_server_twice(policy: OnFailure) -> None:
    one, other = server("eu", tube("a", ready=3)), server("us", tube("a", ready=3))
    duplicate = ServerState(other.server, one.reading, attempted=True)
    with pytest.raises(SameServerError):
        asked("backlog", "", known(one, duplicate, rules=[rule(on_failure=policy)]))


@pytest.mark.parametrize(
    ("value", "kind"), [("ready / reserved", NoResultError), ("put_per_second", TooFewReadingsError)]
)
def test_hold_applies_to_missing_readings_and_not_to_undefined_values(value: str, kind: type[MetricError]) -> None:
    given = known(server("eu", tube("a", ready=1)), rules=[rule(tubes="a", value=value, on_failure=HOLD)])
    with pytest.raises(kind, match=r"is hold 5m$"):
        asked("backlog", "", given)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Fail(), "fail"),
        (Hold(300), "hold 5m"),
        (Substitute(Fraction(10)), "value 10"),
        (Substitute(Fraction(1, 2)), "value 500m"),
    ],
)
def test_a_policy_is_formatted_for_people(policy: OnFailure, text: str) -> None:
    assert policy_text(policy) == text
