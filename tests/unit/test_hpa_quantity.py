"""Quantities are read as thousandths, and shown as people write numbers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quantity import MOST, QuantityError, format_quantity, milli, parse_quantity, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("1500m", Fraction(3, 2)),
        ("0.5", Fraction(1, 2)),
        (".5k", 500),
        ("3M", 3_000_000),
        ("2Ki", 2048),
        ("1e3", 1000),
        ("5E-1", Fraction(1, 2)),
        ("2E", 2 * 10**18),
        ("-1m", Fraction(-1, 1000)),
    ],
)
def test_a_quantity_is_exact(text: str, value: Fraction) -> None:
    assert parse_quantity(text) == value


@given(st.fractions(min_value=0, max_value=10**15, max_denominator=10**9).map(lambda value: round(value, 9)))
def test_what_we_write_is_read_back(value: Fraction) -> None:
    assert parse_quantity(format_quantity(value)) == value


@pytest.mark.parametrize("text", ["", "two", "2x", "1.2.3", "--2", "1e", "1e999999999", "٣"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError, match="isn't a quantity"):
        parse_quantity(text)


def test_thousandths_are_rounded_up_and_bounded() -> None:
    assert [milli(Fraction(1, 3)), milli(Fraction(1, 10**9)), milli(Fraction(10**30))] == [334, 1, MOST]


@pytest.mark.parametrize(
    ("thousandths", "shown"), [(20_000, "20"), (1500, "1.5"), (25, "0.025"), (-1200, "-1.2"), (0, "0")]
)
def test_people_see_plain_numbers(thousandths: int, shown: str) -> None:
    assert plain(thousandths) == shown
