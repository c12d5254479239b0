"""Queried tubes are requested for five minutes, and their number is limited."""

import pytest

from app.beanstalkd.demand import MAX_REQUESTED, REQUESTED_S, Demand
from app.clock import Instant


def at(second: float) -> Instant:
    return Instant(1_800_000_000 + second, second)


def test_a_tube_is_requested_for_five_minutes_after_a_query() -> None:
    demand = Demand()
    demand.request(["checkout"], at(0))
    demand.request(["mail"], at(10))
    assert demand.tubes(at(REQUESTED_S)) == ("checkout", "mail")
    assert demand.tubes(at(REQUESTED_S + 1)) == ("mail",)
    demand.request(["mail"], at(REQUESTED_S + 2))
    assert demand.tubes(at(2 * REQUESTED_S)) == ("mail",)


def test_tubes_of_rules_are_always_requested_and_read_once() -> None:
    demand = Demand(always=["checkout", "checkout", "mail"], ages=["mail"])
    demand.request(["checkout"], at(0))
    assert demand.tubes(at(1_000_000)) == ("checkout", "mail")
    assert demand.ages(at(1_000_000)) == ("mail",)


def test_a_tube_whose_job_age_is_requested_is_requested_itself() -> None:
    demand = Demand()
    demand.request_ages(["checkout"], at(0))
    assert demand.tubes(at(1)) == demand.ages(at(1)) == ("checkout",)
    assert demand.tubes(at(REQUESTED_S + 1)) == ()


@pytest.mark.parametrize("name", ["", "-checkout", "a b", "check\r\nout", "z" * 201])
def test_an_invalid_tube_name_is_never_requested(name: str) -> None:
    demand = Demand(always=[name], ages=[name])
    demand.request([name], at(0))
    demand.request_ages([name], at(0))
    assert demand.tubes(at(0)) == ()


def test_beyond_a_thousand_names_the_longest_unused_are_dropped_but_none_of_rules() -> None:
    demand = Demand(always=["rule"])
    demand.request(["first", "second"], at(0))
    demand.request((f"other-{number}" for number in range(MAX_REQUESTED - 2)), at(1))
    demand.request(["first"], at(2))
    demand.request(["one-more"], at(3))
    wanted = demand.tubes(at(3))
    assert len(wanted) == MAX_REQUESTED + 1
    assert {"rule", "first", "one-more"} <= set(wanted)
    assert "second" not in wanted


def test_a_namespace_that_asks_for_many_tubes_displaces_none_of_another() -> None:
    demand = Demand()
    demand.request(["checkout", "mail"], at(0), "shop")
    for second in range(3):
        demand.request((f"other-{number}" for number in range(2 * MAX_REQUESTED)), at(second), "greedy")
    wanted = demand.tubes(at(3))
    assert len(wanted) == MAX_REQUESTED
    assert {"checkout", "mail"} <= set(wanted)
    assert demand.tubes(at(REQUESTED_S + 3)) == ()
