"""Rates are exact, never negative, and an error until readings cover the shortest window."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.reading import ServerState
from app.metrics.formula import parse_formula
from app.metrics.query import TooFewReadingsError
from app.metrics.rates import Growth, per_second
from app.metrics.rules import Rule
from tests.unit.metrics.given import ago, asked, by_label, counts, glob, known, quantities, server, tube
from tests.unit.test_quantity import value_of

PUT, DELETED = "beanstalkd_tube_jobs_put_per_second", "beanstalkd_tube_jobs_deleted_per_second"


def busy(total: int = 150, deleted: int = 90) -> ServerState:
    return server(
        "eu",
        tube("a", total_jobs=total, cmd_delete=deleted, age_s=1),
        earlier={"a": counts(61, 120, 60)},
        listed_earlier_at=ago(61),
    )


def test_a_rate_is_the_increase_of_a_counter_over_the_time_between_two_readings() -> None:
    (put,) = asked(PUT, "tube=a", known(busy()))
    (deleted,) = asked(DELETED, "tube=a", known(busy()))
    assert (put.quantity, put.window_s, put.answered_at) == ("500m", 60, ago(1))
    assert (deleted.quantity, dict(deleted.labels)) == ("500m", {"server": "eu", "tube": "a"})


def test_a_counter_that_went_back_is_no_negative_rate() -> None:
    assert quantities(asked(PUT, "tube=a", known(busy(total=3)))) == ["0"]


def test_a_single_reading_has_no_rate() -> None:
    alone = server("eu", tube("a", total_jobs=5))
    for asks in ("tube=a", "tube=gone", ""):
        with pytest.raises(
            TooFewReadingsError, match=r"needs readings of beanstalkd 'eu' .* over at least 10 s; retry in 10 seconds"
        ):
            asked(PUT, asks, known(alone))


def test_an_unknown_tube_has_rate_0_after_two_readings() -> None:
    (value,) = asked(PUT, "tube=gone", known(busy()))
    assert (value.quantity, value.window_s) == ("0", 60)
    missed = server("eu", missed={"gone": ago(0.5)}, listed_earlier_at=ago(1))
    with pytest.raises(TooFewReadingsError):  # one listing and one miss aren't two listings
        asked(PUT, "tube=gone", known(missed))


def test_a_tube_new_within_the_window_counts_from_the_listing_before() -> None:
    came = server("eu", tube("new", total_jobs=4), earlier={"new": counts(3, 0, 0)}, listed_earlier_at=ago(61))
    assert quantities(asked(PUT, "", known(came))) == ["2"]


def test_lists_have_the_rate_of_every_tube() -> None:
    state = server(
        "eu",
        tube("a", total_jobs=20),
        tube("b", total_jobs=10),
        earlier={"a": counts(11, 0, 0), "b": counts(6, 0, 0)},
    )
    assert by_label(asked(PUT, "", known(state)), "tube") == {"a": "2", "b": "2"}


def added_up(growths: list[tuple[int, int]]) -> Fraction:
    return sum((Fraction(gained, window_ms) * 1000 for gained, window_ms in growths), Fraction(0))


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**6)), max_size=6))
def test_the_sum_of_rates_is_exact(growths: list[tuple[int, int]]) -> None:
    assert per_second(Growth(*each) for each in growths) == added_up(growths)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**6)), max_size=60))
def test_the_sum_of_very_many_rates_is_exact_to_the_billionth(growths: list[tuple[int, int]]) -> None:
    reference = added_up(growths)
    assert reference <= per_second(Growth(*each) for each in growths) < reference + Fraction(1, 10**9)


def test_a_formula_can_use_the_rates_of_thousands_of_tubes() -> None:
    tubes = [tube(f"t{number}", cmd_delete=3) for number in range(1000)]  # each over a window of its own
    earlier = {f"t{number}": counts(31 + number / 1000, 0, 0) for number in range(1000)}
    minutely = Rule("minutely", glob("t*"), parse_formula("60 * deleted_per_second"))
    (value,) = asked("minutely", "", known(server("eu", *tubes, earlier=earlier), rules=[minutely]))
    exact = added_up([(60 * 3, 30_000 + number) for number in range(1000)])
    assert exact <= value_of(value.quantity) < exact + Fraction(61, 10**9)


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.floats(0.5, 10), st.floats(0.002, 120, allow_subnormal=False))
def test_a_rate_is_written_exactly_to_the_nano(before: int, after: int, age_s: float, window_s: float) -> None:
    state = server(
        "eu", tube("a", total_jobs=after, age_s=age_s), age_s=age_s, earlier={"a": counts(age_s + window_s, before, 0)}
    )
    (value,) = asked(PUT, "tube=a", known(state))
    window_ms = round((state.reading.tubes["a"].answered_at.monotonic_s - ago(age_s + window_s).monotonic_s) * 1000)
    expected = Fraction(max(0, after - before) * 1000, window_ms)
    assert value_of(value.quantity) == Fraction(ceil(expected * 10**9), 10**9)
