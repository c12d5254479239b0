"""Each number of `stats-tube` is a metric with labels for server and tube."""

from dataclasses import replace

import pytest

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Failure, ServerState
from app.metrics.built_in import NAMES
from app.metrics.query import (
    MetricQuery,
    NoResultError,
    SameServerError,
    StaleReadingError,
    TooFewReadingsError,
    TooManyTubesError,
    UnknownMetricError,
)
from app.metrics.resolve import resolve
from app.metrics.selector import parse_selector
from tests.unit.metrics.given import (
    ago,
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
    unread,
)

AGE, DRAIN = "beanstalkd_tube_next_job_age_seconds", "beanstalkd_tube_drain_seconds"
BUSY = tube(
    "a",
    ready=3,
    reserved=2,
    current_jobs_urgent=1,
    current_waiting=4,
    current_watching=5,
    current_using=6,
)


def test_a_label_that_the_metric_does_not_have_is_an_error() -> None:
    with pytest.raises(UnknownMetricError, match="no label 'address'; it has 'paused', 'server', 'state', 'tube'"):
        asked("beanstalkd_tube_jobs", "address=10.0.0.1", known(server("eu", BUSY)))


def test_two_names_of_one_server_are_an_error() -> None:
    one = server("queue", tube("a", ready=1))
    with pytest.raises(SameServerError, match="'queue' and 'eu' are the same server"):
        asked("tube-a", "", known(one, replace(server("eu"), reading=one.reading)))


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("beanstalkd_tube_urgent_jobs", "1"),
        ("beanstalkd_tube_workers_waiting", "4"),
        ("beanstalkd_tube_workers_watching", "5"),
        ("beanstalkd_tube_producers_using", "6"),
    ],
)
def test_a_metric_per_tube_is_one_field_by_server_and_tube(metric: str, value: str) -> None:
    given = known(server("eu", BUSY), server("us"))
    (eu, us) = asked(metric, "tube=a", given)
    assert (eu.metric_name, dict(eu.labels), eu.quantity) == (metric, {"server": "eu", "tube": "a"}, value)
    assert (dict(us.labels), us.quantity) == ({"server": "us", "tube": "a"}, "0")
    assert quantities(asked(metric.upper(), "tube=a,server=eu", given)) == [value]


@pytest.mark.parametrize("metric", [name for name in NAMES if name != "beanstalkd_tube_jobs"])
def test_only_jobs_have_a_state(metric: str) -> None:
    with pytest.raises(UnknownMetricError, match="has no label 'state'; it has "):
        asked(metric, "tube=a,state=ready", known(server("eu", BUSY)))


@pytest.mark.parametrize("metric", NAMES)
def test_no_metric_reports_an_outage_as_a_number(metric: str) -> None:
    for state in (unread("eu"), server("eu", tube("a", age_s=60), age_s=60, failure="connection refused")):
        with pytest.raises(StaleReadingError, match=r"beanstalkd 'eu' .* can't be read"):
            asked(metric, "tube=a", known(state))


def test_selected_tubes_must_be_fresh_themselves() -> None:
    """A sweep over very many tubes takes long; requested tubes are read in between."""
    old_sweep = server("eu", tube("hot", ready=3, age_s=1), tube("cold", age_s=30), age_s=30)
    given = known(old_sweep)
    assert quantities(asked("tube-hot", "", given)) == ["3"]
    assert quantities(asked("beanstalkd_tube_jobs", "tube=hot,state=ready", given)) == ["3"]
    for metric, selector in (("tube-cold", ""), ("beanstalkd_tube_jobs", "tube=cold"), ("beanstalkd_tube_jobs", "")):
        with pytest.raises(StaleReadingError, match=r"last read( of tube 'cold')? 30 s ago"):
            asked(metric, selector, given)


def test_a_requested_tube_that_is_missing_is_as_fresh_as_that_reply() -> None:
    given = known(server("eu", age_s=30, missed={"gone": ago(2)}))
    (value,) = asked("tube-gone", "", given)
    assert (value.quantity, value.answered_at) == ("0", ago(2))


def test_with_too_many_tubes_to_read_often_the_error_has_the_fix() -> None:
    large = server("eu", tube("cold", age_s=30), age_s=40, sweep_s=17)
    given = known(large, rules=[rule("sum", "c*")])
    for metric in ("beanstalkd_tube_jobs", "sum"):
        with pytest.raises(StaleReadingError, match=r"takes 17 s, so .*; name the tubes exactly, or raise maxAge"):
            asked(metric, "", given)
    with pytest.raises(StaleReadingError, match="only queried tubes are read at once, so retry in a second; last read"):
        asked("tube-cold", "", given)
    with pytest.raises(StaleReadingError, match="can't be read: connection refused"):
        asked("tube-cold", "", known(replace(large, failure=Failure("connection refused", ago(9)))))
    with pytest.raises(StaleReadingError, match="can't be read: waiting for the next poll"):
        asked("tube-cold", "", known(server("eu", tube("cold", age_s=30), age_s=40, sweep_s=1)))


def test_a_stale_tube_and_a_stale_server_are_different_errors() -> None:
    given = known(server("eu", tube("a", age_s=20)))
    with pytest.raises(StaleReadingError, match="last read of tube 'a' 20 s ago"):
        asked("tube-a", "", given)
    with pytest.raises(StaleReadingError, match="last read of tube 'a' 20 s ago"):
        asked("beanstalkd_tube_jobs", "", given)


def draining(*stats: TubeStats, **earlier: int) -> ServerState:
    return server(
        "eu",
        *stats,
        earlier={name: counts(11, 0, before) for name, before in earlier.items()},
        listed_earlier_at=ago(11),
    )


def test_drain_time_is_the_jobs_divided_by_the_deletion_rate_of_all_servers() -> None:
    us = server("us", tube("a", ready=5, cmd_delete=30), earlier={"a": counts(11, 0, 20)}, listed_earlier_at=ago(11))
    given = known(draining(tube("a", ready=3, reserved=2, cmd_delete=40), a=0), us)
    (value,) = asked(DRAIN, "tube=a", given)
    assert (dict(value.labels), value.quantity, value.window_s) == ({"tube": "a"}, "2", 10)


def test_without_jobs_drain_time_is_zero() -> None:
    given = known(draining(tube("a", cmd_delete=4), a=4))
    assert by_label(asked(DRAIN, "tube in (a,gone)", given), "tube") == {"a": "0"}


def test_of_several_tubes_and_servers_the_longest_time_is_the_value() -> None:
    """An HPA adds values up: three servers whose next job waits for 10 s each would make 30 s."""
    eu = server(
        "eu",
        tube("a", ready=3, cmd_delete=10),
        tube("b", ready=4, cmd_delete=10),
        earlier={"a": counts(11, 0, 0), "b": counts(11, 0, 0)},
        next_jobs={"a": next_job(10), "b": next_job(4)},
        listed_earlier_at=ago(11),
    )
    us = server("us", tube("a", ready=1), next_jobs={"a": next_job(12, asked_s=3)}, listed_earlier_at=ago(11))
    (age,) = asked(AGE, "tube in (a,b)", known(us, eu))
    assert (dict(age.labels), age.quantity, age.answered_at) == ({"server": "us", "tube": "a"}, "12", ago(3))
    (drain,) = asked(DRAIN, "", known(eu))
    assert (dict(drain.labels), drain.quantity) == ({"tube": "b"}, "4")
    for metric, given, arithmetic in (
        (AGE, known(us, eu), "oldest of 4 (server=us,tube=a): 12"),
        (DRAIN, known(eu), "longest of 2 (tube=b): (4 + 0) / 1"),
    ):
        data = explained(metric, "tube in (a,b)", given)
        assert [item["arithmetic"] for item in data["items"]] == [arithmetic]
        assert {each["tube"] for each in data["tubes"]} == {"a", "b"}


def test_a_paused_tube_has_no_drain_time_while_the_pause_holds_back_jobs() -> None:
    pause = {"pause": 3600, "cmd_pause_tube": 1, "cmd_delete": 10}
    with pytest.raises(
        NoResultError, match=r"for tube 'a': it is paused on beanstalkd 'eu' \(.*\), so its 3 ready jobs"
    ):
        asked(DRAIN, "tube=a", known(draining(tube("a", ready=3, **pause), a=0)))
    assert quantities(asked(DRAIN, "tube=a", known(draining(tube("a", reserved=2, **pause), a=0)))) == ["2"]


def test_without_deletions_drain_time_is_undefined() -> None:
    given = known(draining(tube("a", ready=3, reserved=1, cmd_delete=4), a=4))
    with pytest.raises(
        NoResultError, match="has no value for tube 'a': 4 jobs are waiting and none was deleted recently"
    ):
        asked(DRAIN, "", given)


def test_the_age_of_the_next_job_is_the_probes() -> None:
    given = known(server("eu", tube("a", ready=3), tube("b"), next_jobs={"a": next_job(42, asked_s=0.5)}))
    (value,) = asked(AGE, "tube=a", given)
    assert (value.quantity, value.answered_at) == ("42", ago(0.5))
    assert by_label(asked(AGE, "tube in (a,b,gone)", given), "tube") == {"a": "42"}
    assert by_label(asked(AGE, "tube in (b,gone)", given), "tube") == {"b": "0"}


def test_a_job_that_went_meanwhile_has_no_age() -> None:
    assert quantities(
        asked(AGE, "tube=a", known(server("eu", tube("a", ready=1), next_jobs={"a": next_job(None)})))
    ) == ["0"]


def test_the_first_query_of_an_age_waits_for_the_next_poll() -> None:
    with pytest.raises(TooFewReadingsError, match=r"next-job age of tube 'a' on beanstalkd 'eu'.*retry in a second"):
        asked(AGE, "tube=a", known(server("eu", tube("a", ready=3))))


def test_an_old_age_is_stale() -> None:
    given = known(server("eu", tube("a", ready=3), next_jobs={"a": next_job(42, asked_s=400)}))
    with pytest.raises(StaleReadingError, match=r"was last read 400 s ago \(maxAge 15 s\); retry"):
        asked(AGE, "tube=a", given)


def test_the_age_is_only_for_tubes_that_are_named() -> None:
    with pytest.raises(TooManyTubesError, match="only for listed tubes"):
        asked(AGE, "", known(server("eu", tube("a"))))


def test_the_number_of_tubes_in_a_query_of_the_age_is_limited() -> None:
    """Each takes two commands a second on a connection of its own."""

    def naming(number: int) -> MetricQuery:
        names = ",".join(f"t{each}" for each in range(number))
        return MetricQuery(AGE, "shop", parse_selector(f"tube in ({names})"))

    given = known(server("eu"))
    assert (len(resolve(naming(100), given).values()), len(resolve(naming(100), given).wanted().ages)) == (1, 100)
    assert resolve(naming(101), given).wanted().ages == ()
    with pytest.raises(TooManyTubesError, match="of 101 tubes, the limit is 100"):
        resolve(naming(101), given).values()


@pytest.mark.parametrize("metric", NAMES)
def test_a_selector_that_no_tube_can_match_gets_no_items(metric: str) -> None:
    assert asked(metric, "tube=a,tube=b", known(server("eu", BUSY))) == ()
    if metric != AGE:
        assert asked(metric, "!tube", known(server("eu", BUSY, listed_earlier_at=ago(9)))) == ()


@pytest.mark.parametrize("metric", [name for name in NAMES if name != AGE])
@pytest.mark.parametrize(
    ("selector", "tenancy"), [("tube!=a", None), ("tube notin (a,b)", None), ("", {"shop": "x-*"})]
)
def test_a_list_without_tubes_is_0(metric: str, selector: str, tenancy: dict[str, str] | None) -> None:
    """An empty list is an error to the autoscaler, which would keep its replicas for ever."""
    states = [server(name, BUSY, age_s=3, listed_earlier_at=ago(9)) for name in ("eu", "us")]
    given = known(*states, tenancy=tenancy)
    values = asked(metric, selector, given)
    assert set(quantities(values)) == {"0"}
    assert {value.answered_at for value in values} == {ago(3)}
    assert not any("tube" in value.labels for value in values)
    data = explained(metric, selector, given)
    assert ([item["value"] for item in data["items"]], data["error"]) == (list(quantities(values)), None)


def test_a_list_without_tubes_has_labels_for_servers_and_states() -> None:
    given = known(server("eu", BUSY), server("us", BUSY))
    values = asked("beanstalkd_tube_jobs", "tube!=a,state in (ready,reserved)", given)
    assert [(value.labels["server"], value.labels["state"]) for value in values] == [
        (name, state) for name in ("eu", "us") for state in ("ready", "reserved")
    ]
