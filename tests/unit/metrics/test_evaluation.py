"""A metric is a fresh reading or an error: never a guess, never another tube's number."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Failure, Reading, ServerState, Snapshot
from app.clock import Instant
from app.metrics.built_in import NAMES
from app.metrics.query import (
    AmbiguousMetricError,
    EvaluationContext,
    MetricQuery,
    MetricValue,
    SameServerError,
    StaleReadingError,
    TooManyTubesError,
    UnknownMetricError,
)
from app.metrics.resolve import metric_names, resolve
from app.metrics.rules import Rules
from app.metrics.selector import EVERYTHING, Selector, parse_selector
from app.settings import Server

NOW = Instant(1_800_000_000, 1000)
READ_AT = Instant(1_799_999_999, 999)


def tube(name: str, *, ready: int = 0, reserved: int = 0, delayed: int = 0, buried: int = 0) -> TubeStats:
    return TubeStats(name, READ_AT, 0, ready, reserved, delayed, buried, 0, 0, 0, 0, 0, 0, 0, 0)


def known(age_s: float = 1, failure: str = "", **servers: list[TubeStats]) -> EvaluationContext:
    at = Instant(NOW.unix_s - age_s, NOW.monotonic_s - age_s)
    states = tuple(
        ServerState(
            Server(name, f"{name}.example", 11300),
            Reading.of(f"id of {name}", at, [one._replace(answered_at=at) for one in tubes]),
            Failure(failure, NOW) if failure else None,
            attempted=True,
        )
        for name, tubes in servers.items()
    )
    return EvaluationContext(Snapshot(states), NOW, 15)


def asked(metric: str, selector: Selector, given: EvaluationContext, namespace: str = "shop") -> Sequence[MetricValue]:
    return resolve(MetricQuery(metric, namespace, selector), given).values()


def values(answer: Sequence[MetricValue]) -> list[str]:
    return [value.quantity for value in answer]


def counts(answer: Sequence[MetricValue]) -> Mapping[tuple[str, str, str], str]:
    return {(value.labels["server"], value.labels["tube"], value.labels["state"]): value.quantity for value in answer}


def test_a_tubes_metric_is_its_ready_and_reserved_jobs() -> None:
    given = known(eu=[tube("checkout", ready=3, reserved=2, delayed=7, buried=9)])
    assert values(asked("tube-checkout", EVERYTHING, given)) == ["5"]


def test_a_tubes_metric_is_the_sum_over_all_servers() -> None:
    given = known(eu=[tube("checkout", ready=3)], us=[tube("checkout", reserved=4)], asia=[tube("default")])
    assert values(asked("tube-checkout", EVERYTHING, given)) == ["7"]


@pytest.mark.parametrize("metric", ["tube-checkout", "beanstalkd_tube_jobs"])
def test_one_server_under_two_names_is_an_error_and_not_twice_its_jobs(metric: str) -> None:
    one, other = known(eu=[tube("checkout", ready=3)], us=[tube("checkout", ready=3)]).snapshot.servers
    assert one.reading
    same = replace(other, reading=one.reading)
    given = EvaluationContext(Snapshot((one, same)), NOW, 15)
    with pytest.raises(SameServerError, match="'eu' and 'us' are the same server"):
        asked(metric, EVERYTHING, given)
    assert len(asked("beanstalkd_tube_jobs", parse_selector("server=eu,state=ready"), given)) == 1


def test_a_vanished_tube_has_no_jobs() -> None:
    (value,) = asked("tube-checkout", EVERYTHING, known(eu=[tube("default")]))
    assert (value.quantity, dict(value.labels)) == ("0", {"tube": "checkout"})


def test_a_vanished_tube_has_no_jobs_by_state() -> None:
    answer = asked("beanstalkd_tube_jobs", parse_selector("tube=gone,state in (ready,reserved)"), known(eu=[], us=[]))
    assert counts(answer) == {
        ("eu", "gone", "ready"): "0",
        ("eu", "gone", "reserved"): "0",
        ("us", "gone", "ready"): "0",
        ("us", "gone", "reserved"): "0",
    }


def test_the_timestamp_is_that_of_the_oldest_reading() -> None:
    older = known(age_s=9, us=[tube("a")]).snapshot.servers
    newer = known(age_s=1, eu=[tube("a")]).snapshot.servers
    (value,) = asked("tube-a", EVERYTHING, EvaluationContext(Snapshot(newer + older), NOW, 15))
    assert value.answered_at.unix_s == NOW.unix_s - 9


def test_an_outage_is_never_zero() -> None:
    given = known(age_s=16, failure="connection refused", eu=[tube("checkout", ready=3)])
    for tube_name in ("checkout", "never-seen"):
        with pytest.raises(StaleReadingError) as stale:
            asked(f"tube-{tube_name}", EVERYTHING, given)
        assert str(stale.value) == (
            "beanstalkd 'eu' (eu.example:11300) can't be read: connection refused; last read 16 s ago (maxAge 15 s)"
        )


def test_before_the_first_reading_there_is_no_number() -> None:
    given = EvaluationContext(Snapshot((ServerState(Server("eu", "eu.example", 11300)),)), NOW, 15)
    with pytest.raises(StaleReadingError, match=r"waiting for the first poll$"):
        asked("tube-checkout", EVERYTHING, given)


def test_a_failing_server_is_served_from_its_last_reading_until_that_is_too_old() -> None:
    given = known(age_s=15, failure="connection refused", eu=[tube("checkout", ready=3)])
    assert values(asked("tube-checkout", EVERYTHING, given)) == ["3"]


def test_a_server_that_is_down_fails_only_metrics_that_cover_it() -> None:
    down = known(age_s=60, failure="connection refused", us=[tube("a", ready=1)]).snapshot.servers
    up = known(eu=[tube("a", ready=2)]).snapshot.servers
    given = EvaluationContext(Snapshot(up + down), NOW, 15)
    with pytest.raises(StaleReadingError, match="'us'"):
        asked("tube-a", EVERYTHING, given)
    for selector in ("server=eu,tube=a,state=ready", "server!=us,tube=a,state=ready"):
        assert values(asked("beanstalkd_tube_jobs", parse_selector(selector), given)) == ["2"]
    with pytest.raises(StaleReadingError, match="'us'"):
        asked("beanstalkd_tube_jobs", parse_selector("tube=a"), given)


def test_jobs_have_labels_for_server_tube_and_state() -> None:
    given = known(eu=[tube("a", ready=1, reserved=2, delayed=3, buried=4)], us=[tube("b", ready=5)])
    answer = counts(asked("beanstalkd_tube_jobs", EVERYTHING, given))
    assert answer[("eu", "a", "ready")] == "1"
    assert answer[("eu", "a", "reserved")] == "2"
    assert answer[("eu", "a", "delayed")] == "3"
    assert answer[("eu", "a", "buried")] == "4"
    assert answer[("us", "b", "ready")] == "5"
    assert len(answer) == 8


def test_an_unknown_state_or_server_is_an_error_with_the_known_ones() -> None:
    given = known(eu=[tube("a")])
    with pytest.raises(
        UnknownMetricError, match="no state 'redy'; valid values: 'ready', 'reserved', 'delayed', 'buried'"
    ):
        asked("beanstalkd_tube_jobs", parse_selector("tube=a,state=redy"), given)
    with pytest.raises(UnknownMetricError, match="no server 'us'; valid values: 'eu'"):
        asked("beanstalkd_tube_jobs", parse_selector("tube=a,server=us"), given)


@pytest.mark.parametrize("demand", ["queue=a", "queue in (a)", "tube=a,queue"])
def test_an_unknown_label_is_an_error_with_the_known_ones(demand: str) -> None:
    """An empty list is what the autoscaler calls "no metrics returned", without a word why."""
    with pytest.raises(UnknownMetricError, match="no label 'queue'; it has 'paused', 'server', 'state', 'tube'"):
        asked("beanstalkd_tube_jobs", parse_selector(demand), known(eu=[tube("a")]))


@pytest.mark.parametrize("demand", ["queue!=a", "queue notin (a)", "!queue"])
def test_an_unknown_label_can_be_excluded(demand: str) -> None:
    assert len(asked("beanstalkd_tube_jobs", parse_selector(demand), known(eu=[tube("a")]))) == 4


def test_an_unknown_metric_has_similar_names() -> None:
    given = known(eu=[tube("checkout")])
    with pytest.raises(UnknownMetricError, match="did you mean beanstalkd_tube_jobs"):
        asked("beanstalkd_tubes_jobs", EVERYTHING, given)
    with pytest.raises(UnknownMetricError, match="there is no metric queue"):
        asked("queue", EVERYTHING, given)
    with pytest.raises(UnknownMetricError, match="there is no metric tube-"):
        asked("tube-", EVERYTHING, given)


def test_a_metric_is_found_in_any_case_because_clients_query_in_lower_case() -> None:
    given = known(eu=[tube("Checkout", ready=3), tube("mail", ready=4)])
    assert [dict(value.labels) for value in asked("tube-checkout", EVERYTHING, given)] == [{"tube": "Checkout"}]
    assert values(asked("tube-MAIL", EVERYTHING, given)) == ["4"]
    assert values(asked("BEANSTALKD_TUBE_JOBS", parse_selector("tube=mail,state=ready"), given)) == ["4"]


def test_two_tubes_whose_names_differ_by_case_are_never_mixed_up() -> None:
    given = known(eu=[tube("Checkout", ready=3)], us=[tube("checkout", ready=4)])
    with pytest.raises(AmbiguousMetricError, match="'Checkout' and 'checkout'"):
        asked("tube-checkout", EVERYTHING, given)
    assert values(asked("tube-Checkout", EVERYTHING, given)) == ["3"]
    assert values(asked("beanstalkd_tube_jobs", parse_selector("tube=checkout,server=us,state=ready"), given)) == ["4"]


def test_names_that_differ_by_case_and_are_no_labels_require_a_rule() -> None:
    given = known(eu=[tube("Check;out"), tube("check;out")])
    with pytest.raises(AmbiguousMetricError, match="define a rule for each under metrics:"):
        asked("tube-check;out", EVERYTHING, given)


def test_a_selector_that_doesnt_match_gets_no_items() -> None:
    given = known(eu=[tube("checkout", ready=3)])
    assert asked("tube-checkout", parse_selector("tube=other"), given) == ()
    assert asked("tube-checkout", parse_selector("server"), given) == ()


def test_discovery_lists_at_most_fifty_tubes_that_can_be_queried() -> None:
    tubes = [tube(f"t{number:03}") for number in range(200)] + [tube("Upper"), tube("a/b")]
    names = metric_names(known(eu=tubes).snapshot, Rules())
    assert [name for name in names if name.startswith("tube-")] == [f"tube-t{number:03}" for number in range(50)]


def test_discovery_is_never_empty() -> None:
    unread = Snapshot((ServerState(Server("eu", "eu.example", 11300)),))
    assert metric_names(unread, Rules()) == list(NAMES)


def test_the_number_of_tubes_in_a_selector_is_limited() -> None:
    def naming(number: int) -> Sequence[MetricValue]:
        names = ",".join(f"tube-{each}" for each in range(number))
        return asked("beanstalkd_tube_jobs", parse_selector(f"state=ready,tube in ({names})"), known(eu=[]))

    assert len(naming(1000)) == 1000
    with pytest.raises(TooManyTubesError, match="lists 1,001 tubes, the limit is 1,000"):
        naming(1001)
