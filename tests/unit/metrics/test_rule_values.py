"""A rule's numbers are those of its tubes and servers, combined first and computed once."""

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.reading import ServerState
from app.metrics.query import (
    NoResultError,
    SameServerError,
    StaleReadingError,
    TooFewReadingsError,
    TooManyTubesError,
    UnknownMetricError,
)
from app.metrics.rules import Label
from app.metrics.selector import parse_selector
from app.quantity import format_quantity
from tests.unit.metrics.given import (
    SERVER,
    TUBE,
    ago,
    asked,
    by_label,
    counts,
    known,
    next_job,
    quantities,
    rule,
    server,
    tube,
)

EU = server("eu", tube("a", ready=1, reserved=2), tube("b-1", ready=3), tube("B", ready=100))
US = server("us", tube("a", ready=10), tube("b-2", ready=20, reserved=5))


def test_without_per_a_rule_is_one_sum() -> None:
    (value,) = asked("Backlog", "", known(EU, US, rules=[rule(tubes="a b-*")]))
    assert (value.metric_name, dict(value.labels), value.quantity) == ("Backlog", {}, "41")


def test_a_formula_is_computed_once_from_the_sums() -> None:
    """A ratio of sums, not a sum of ratios."""
    halves = rule(tubes="a", value="ready / ( reserved + 1 )")
    assert quantities(asked("backlog", "", known(EU, US, rules=[halves]))) == [format_quantity(Fraction(11, 3))]


def test_by_tube_a_rule_has_an_item_for_each_that_exists_or_is_named() -> None:
    kept = rule(tubes="b-* a gone", per=TUBE)
    assert by_label(asked("backlog", "", known(EU, US, rules=[kept])), "tube") == {
        "a": "13",
        "b-1": "3",
        "b-2": "25",
        "gone": "0",
    }


def test_by_server_a_rule_has_an_item_for_each() -> None:
    assert by_label(asked("backlog", "", known(EU, US, rules=[rule(tubes="a", per=SERVER)])), "server") == {
        "eu": "3",
        "us": "10",
    }


def test_by_both_a_match_counts_where_it_exists_and_a_name_everywhere() -> None:
    values = asked("backlog", "", known(EU, US, rules=[rule(tubes="a b-*", per=SERVER | TUBE)]))
    assert [(value.labels["server"], value.labels["tube"], value.quantity) for value in values] == [
        ("eu", "a", "3"),
        ("eu", "b-1", "3"),
        ("us", "a", "10"),
        ("us", "b-2", "25"),
    ]


def test_a_rule_covers_the_servers_that_it_names() -> None:
    down = server("asia", age_s=60, failure="connection refused")
    given = known(EU, US, down, rules=[rule(tubes="a", servers=frozenset({"eu", "us"})), rule("all", "a")])
    assert quantities(asked("backlog", "", given)) == ["13"]
    with pytest.raises(StaleReadingError, match=r"'asia' .*connection refused.*; onFailure of all is fail"):
        asked("all", "", given)


def test_a_server_that_a_rule_names_but_isnt_configured_is_an_error() -> None:
    with pytest.raises(StaleReadingError, match="no beanstalkd named 'mars' is configured"):
        asked("backlog", "", known(EU, rules=[rule(servers=frozenset({"eu", "mars"}))]))


def test_a_selector_limits_what_a_rule_reads() -> None:
    down = server("us", tube("a", ready=10, age_s=60), age_s=60)
    given = known(EU, down, rules=[rule(per=SERVER | TUBE)])
    assert quantities(asked("backlog", "server=eu,tube=a", given)) == ["3"]
    assert quantities(asked("backlog", "server=eu,tube in (a,gone)", given)) == ["3", "0"]
    assert quantities(asked("backlog", "server!=us,tube!=B,tube!=a", given)) == ["3"]
    with pytest.raises(StaleReadingError, match="'us'"):
        asked("backlog", "tube=a", given)


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("tube=a", "backlog has no label 'tube'; it has 'server'"),
        ("server=mars", "backlog has no server 'mars'; valid values: 'eu', 'us'"),
        ("state=ready", "backlog has no label 'state'; it has 'server'"),
    ],
)
def test_a_condition_that_no_item_can_match_is_an_error(selector: str, words: str) -> None:
    with pytest.raises(UnknownMetricError, match=words):
        asked("backlog", selector, known(EU, US, rules=[rule(per=SERVER)]))


def test_a_tube_that_a_rule_doesnt_cover_is_an_error() -> None:
    with pytest.raises(UnknownMetricError, match=r"backlog doesn't cover tube 'mail'; it covers a, b-\*"):
        asked("backlog", "tube=mail", known(EU, rules=[rule(tubes="a b-*", per=TUBE)]))


def test_a_sum_over_no_tube_is_0_as_of_the_listing() -> None:
    (value,) = asked("backlog", "", known(server("eu", age_s=3), rules=[rule(tubes="x-*")]))
    assert (value.quantity, value.answered_at) == ("0", ago(3))


@pytest.mark.parametrize("selector", ["", "tube!=b-1", "tube notin (a,b-1)"])
@pytest.mark.parametrize("per", [TUBE, SERVER | TUBE])
def test_by_tube_a_rule_without_existing_tubes_is_0(per: frozenset[Label], selector: str) -> None:
    """An empty list is an error to the autoscaler, which would keep its replicas for ever."""
    values = asked("backlog", selector, known(server("eu", age_s=3), rules=[rule(tubes="x-*", per=per)]))
    assert [(value.labels, value.quantity) for value in values] == [({"server": "eu"} if per >= SERVER else {}, "0")]
    assert values[0].answered_at == ago(3)


def test_a_selector_that_leaves_no_existing_tube_is_0() -> None:
    given = known(EU, rules=[rule(tubes="b-*", per=TUBE), rule("named", "a", per=TUBE)])
    assert quantities(asked("backlog", "tube!=b-1", given)) == ["0"]
    for name, selector in (("backlog", "!tube"), ("named", "tube!=a")):  # and where there can't be one, none
        assert asked(name, selector, given) == ()


def test_times_are_combined_by_their_maximum() -> None:
    states = [server(name, tube("a", pause_time_left=left)) for name, left in (("eu", 30), ("us", 40))]
    assert quantities(asked("backlog", "", known(*states, rules=[rule(value="pause_left")]))) == ["40"]


def test_rates_are_summed_and_have_the_longest_window() -> None:
    states = [
        server(name, tube("a", cmd_delete=30), earlier={"a": counts(1 + window_s, 0, 0)})
        for name, window_s in (("eu", 10), ("us", 60))
    ]
    (value,) = asked("backlog", "", known(*states, rules=[rule(tubes="a", value="deleted_per_second")]))
    assert (value.quantity, value.window_s) == ("3500m", 60)
    with pytest.raises(TooFewReadingsError, match="needs readings of"):
        asked("backlog", "", known(EU, rules=[rule(tubes="a", value="deleted_per_second")]))


def test_the_longest_age_of_a_next_job_applies() -> None:
    states = [
        server(name, tube("a", ready=1), next_jobs={"a": next_job(age_s, asked_s=2)})
        for name, age_s in (("eu", 7), ("us", 9))
    ]
    (value,) = asked("backlog", "", known(*states, rules=[rule(value="next_job_age_seconds")]))
    assert (value.quantity, value.answered_at) == ("9", ago(2))


def test_the_number_of_tubes_in_a_query_of_the_age_is_limited() -> None:
    many = server("eu", *[tube(f"t{number}") for number in range(101)])
    given = known(many, rules=[rule(value="next_job_age_seconds", per=TUBE)])
    with pytest.raises(TooManyTubesError, match="of 101 tubes, the limit is 100"):
        asked("backlog", "", given)
    assert quantities(asked("backlog", "tube=t1", given)) == ["0"]


def test_a_formula_without_a_result_names_the_rule_and_the_item() -> None:
    given = known(EU, rules=[rule(tubes="a b-1", value="ready / reserved", per=TUBE)])
    with pytest.raises(
        NoResultError, match="backlog has no value for tube 'b-1': divides by reserved, which is 0; onFailure"
    ):
        asked("backlog", "", given)
    assert quantities(asked("backlog", "tube=a", given)) == ["500m"]


def test_one_server_with_two_names_is_an_error_for_any_rule() -> None:
    duplicate = ServerState(US.server, EU.reading, attempted=True)
    with pytest.raises(SameServerError, match="'eu' and 'us' are the same server"):
        asked("backlog", "", known(EU, duplicate, rules=[rule()]))


def test_a_glob_requires_a_fresh_listing_and_exact_names_their_own_replies() -> None:
    old_sweep = server("eu", tube("a", ready=1, age_s=1), age_s=30)
    given = known(old_sweep, rules=[rule("exact", "a"), rule("glob", "a*"), rule("by-tube", "*", per=TUBE)])
    assert quantities(asked("exact", "", given)) == ["1"]
    assert quantities(asked("by-tube", "tube=a", given)) == ["1"]
    for name in ("glob", "by-tube"):
        with pytest.raises(StaleReadingError):
            asked(name, "", given)


def test_a_match_older_than_its_listing_does_not_count() -> None:
    given = known(server("eu", tube("a"), tube("b", age_s=20)), rules=[rule()])
    with pytest.raises(StaleReadingError, match="last read of tube 'b' 20 s ago"):
        asked("backlog", "", given)


def test_a_rules_max_age_applies() -> None:
    given = known(server("eu", tube("a", ready=1, age_s=20), age_s=20), rules=[rule(max_age_s=30), rule("short")])
    assert quantities(asked("backlog", "", given)) == ["1"]
    with pytest.raises(StaleReadingError, match=r"\(maxAge 15 s\)"):
        asked("short", "", given)


names = st.sampled_from(["a", "b", "ab", "B", "a.b", "c/d"])
numbers = st.integers(0, 50)
servers = st.lists(st.dictionaries(names, st.tuples(numbers, numbers), max_size=5), min_size=1, max_size=3)
patterns = st.lists(st.sampled_from(["a", "b", "gone", "a*", "*", "?", "[ab]*", "x*"]), min_size=1, max_size=3)


@given(servers, patterns, st.frozensets(st.sampled_from(Label)))
def test_any_rule_has_the_value_of_a_plain_loop(
    contents: list[dict[str, tuple[int, int]]], of_tubes: list[str], per: frozenset[Label]
) -> None:
    states = [
        server(f"s{number}", *[tube(name, ready=ready, reserved=reserved) for name, (ready, reserved) in tubes.items()])
        for number, tubes in enumerate(contents)
    ]
    asks = rule(tubes=" ".join(of_tubes), value="ready + 3 * reserved + 1", per=per)
    got = {
        (value.labels.get("server"), value.labels.get("tube")): value.quantity
        for value in asked("backlog", "", known(*states, rules=[asks]))
    }
    assert got == {key: format_quantity(number) for key, number in reference(contents, of_tubes, per).items()}


def reference(
    contents: list[dict[str, tuple[int, int]]], of_tubes: Iterable[str], per: frozenset[Label]
) -> dict[tuple[str | None, str | None], int]:
    sums: dict[tuple[str | None, str | None], int] = {}
    if not per:
        sums[None, None] = 0
    for number, tubes in enumerate(contents):
        if per == {Label.SERVER}:
            sums[f"s{number}", None] = 0
        for name in {*tubes, "a", "b", "gone"}:
            named = name in of_tubes
            if not named and not (name in tubes and any(fits(name, pattern) for pattern in of_tubes)):
                continue
            key = f"s{number}" if Label.SERVER in per else None, name if Label.TUBE in per else None
            ready, reserved = tubes.get(name, (0, 0))
            sums[key] = sums.get(key, 0) + ready + 3 * reserved
    if not sums:  # no tube at all, which each server by itself, or all of them together, answer
        of_none = [f"s{number}" for number in range(len(contents))] if Label.SERVER in per else [None]
        sums = {(key, None): 0 for key in of_none}
    return {key: number + 1 for key, number in sums.items()}


def fits(name: str, pattern: str) -> bool:
    return {
        "a*": name.startswith("a"),
        "*": True,
        "?": len(name) == 1,
        "[ab]*": name[0] in "ab",
        "x*": name.startswith("x"),
    }.get(pattern, name == pattern)


@given(servers, names)
def test_a_tubes_metric_equals_its_rule(contents: list[dict[str, tuple[int, int]]], name: str) -> None:
    states = [
        server(f"s{number}", *[tube(each, ready=ready, reserved=reserved) for each, (ready, reserved) in tubes.items()])
        for number, tubes in enumerate(contents)
    ]
    if name.lower() == "b":  # which may mean two
        return
    given = known(*states, rules=[rule(tubes=name, per=TUBE)])
    (one,), (other,) = asked(f"tube-{name}", "", given), asked("backlog", "", given)
    assert one[1:] == other[1:]


conditions = st.builds(
    "{}{}".format,
    st.sampled_from(["tube", "server"]),
    st.sampled_from(["=a", "!=a", " in (a,b,s0)", " notin (B,s1)", "!=s0", "=s1", "", " in (s0,ab)"]),
)
selectors = st.lists(conditions, max_size=3).map(",".join)


@given(servers, selectors, st.sampled_from(["backlog", "beanstalkd_tube_jobs", "beanstalkd_tube_urgent_jobs"]))
def test_a_selector_keeps_matching_items_and_adds_zeros_for_named_ones(
    contents: list[dict[str, tuple[int, int]]], selector: str, metric: str
) -> None:
    states = [
        server(f"s{number}", *[tube(each, ready=ready, reserved=reserved) for each, (ready, reserved) in tubes.items()])
        for number, tubes in enumerate(contents)
    ]
    given = known(*states, rules=[rule(per=SERVER | TUBE)])
    whole = {tuple(sorted(value.labels.items())): value for value in asked(metric, "", given)}
    try:
        left = {tuple(sorted(value.labels.items())): value for value in asked(metric, selector, given)}
    except UnknownMetricError as error:  # of a server that isn't there
        assert "no server" in str(error) or "two values of server" in str(error)  # noqa: PT017 - either is right
        return
    matches = parse_selector(selector).matches
    assert {labels for labels in whole if matches(dict(labels))} == left.keys() & whole.keys()
    assert all(matches(dict(labels)) for labels in left)
    for labels, value in left.items():
        assert value == whole[labels] if labels in whole else value.quantity == "0"
