"""Discovery lists the same few names for all clients; a misspelled name gets similar ones."""

import pytest

from app.metrics.built_in import NAMES
from app.metrics.query import UnknownMetricError
from app.metrics.resolve import metric_names
from tests.unit.metrics.given import asked, glob, known, rule, server, tube


def test_discovery_lists_built_in_metrics_rules_and_tubes_in_a_stable_order() -> None:
    us = server("us", tube("z"), tube("b"), tube("A"))
    given = known(server("eu", tube("b"), tube("a/b")), us, rules=[rule("zeta"), rule("alpha")])
    assert metric_names(given.snapshot, given.rules) == [*NAMES, "alpha", "zeta", "tube-b", "tube-z"]


def test_discovery_lists_no_tubes_if_they_are_excluded() -> None:
    given = known(server("eu", tube("b"), tube("z")), rules=[rule("alpha")])
    assert metric_names(given.snapshot, given.rules, tubes=False) == [*NAMES, "alpha"]


def test_jobs_by_state_are_listed_first_because_they_define_the_kind() -> None:
    assert NAMES[0] == "beanstalkd_tube_jobs"
    assert list(NAMES[1:]) == sorted(NAMES[1:])


def test_no_metric_is_listed_twice() -> None:
    given = known(server("eu", tube("a")), rules=[rule("tube-a")])
    names = metric_names(given.snapshot, given.rules)
    assert sorted(names) == sorted(set(names))


def test_discovery_omits_a_rule_of_some_namespaces() -> None:
    given = known(server("eu"), rules=[rule("theirs", namespaces=glob("shop")), rule("all")])
    assert metric_names(given.snapshot, given.rules) == [*NAMES, "all"]


@pytest.mark.parametrize(
    ("metric", "near"),
    [
        ("beanstalkd_tube_job", "beanstalkd_tube_jobs"),
        ("beanstalkd_tube_drain_second", "beanstalkd_tube_drain_seconds"),
        ("checkout-backlg", "checkout-backlog"),
        ("t-5000", "tube-t-5000"),
        ("tubes-t-7777", "tube-t-7777"),
    ],
)
def test_similar_names_include_built_in_metrics_rules_and_tubes(metric: str, near: str) -> None:
    many = server("eu", *[tube(f"t-{number:04}") for number in range(10_000)])
    given = known(many, rules=[rule("checkout-backlog")])
    with pytest.raises(UnknownMetricError) as unknown:
        asked(metric, "", given)
    assert near in unknown.value.near
    assert f"there is no metric {metric}; did you mean " in str(unknown.value)


def test_no_suggested_name_is_invalid_in_a_path() -> None:
    with pytest.raises(UnknownMetricError) as unknown:
        asked("tubes-mail-eu", "", known(server("eu", tube("mail/eu"), tube("mail.eu"))))
    assert unknown.value.near[0] == "tube-mail.eu"
    assert "tube-mail/eu" not in unknown.value.near


def test_without_similar_names_the_known_ones_are_listed() -> None:
    with pytest.raises(UnknownMetricError, match=r"there is beanstalkd_tube_jobs, and tube-NAME for each tube$"):
        asked("queue", "", known(server("eu")))
