"""Quantities are exact, written as Kubernetes writes them, read as thousandths, and shown as people write numbers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quantity import (
    MAX_MILLI,
    QuantityError,
    format_quantity,
    milli,
    parse_quantity,
    plain,
    show_number,
)

SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def value_of(quantity: str) -> Fraction:
    digits = quantity.rstrip("numkMGTPE")
    return Fraction(int(digits)) * Fraction(10) ** SUFFIXES[quantity[len(digits) :]]


@pytest.mark.parametrize(
    ("value", "quantity"),
    [
        (0, "0"),
        (12, "12"),
        (1500, "1500"),
        (3000, "3k"),
        (7_000_000, "7M"),
        (-2000, "-2k"),
        (10**21, "1000E"),
        (Fraction(3, 2), "1500m"),
        (Fraction(1, 10**9), "1n"),
        (Fraction(1, 3), "333333334n"),
        (Fraction(-1, 3), "-333333333n"),
        (Fraction(1, 10**12), "1n"),
        (Fraction(2, 1), "2"),
        (Fraction(3000 * 10**12 - 1, 10**12), "3k"),
    ],
)
def test_a_quantity_has_the_largest_suffix_that_keeps_it_whole(value: int | Fraction, quantity: str) -> None:
    assert format_quantity(value) == quantity


@given(st.integers(-(10**20), 10**20))
def test_a_whole_number_is_never_changed(value: int) -> None:
    assert value_of(format_quantity(value)) == value


@given(st.fractions(-1000, 1000))
def test_a_fraction_is_rounded_up_by_less_than_a_nano(value: Fraction) -> None:
    assert 0 <= value_of(format_quantity(value)) - value < Fraction(1, 10**9)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (Fraction(0), "0"),
        (Fraction(1200), "1200"),
        (Fraction(5, 4), "1.25"),
        (Fraction(1, 10**6), "0.000001"),
        (Fraction(1, 3), "≈0.333"),
        (Fraction(-1, 3), "≈-0.333"),
        (Fraction(10**7, 3), "≈3333333.333"),
        (Fraction(1, 3 * 10**5), "≈0.00000333"),
        (Fraction(1, 10**9), "≈1e-9"),
        (Fraction(2**64), "18446744073709551616"),
        (Fraction(2**900), "≈8.45271e+270"),
    ],
)
def test_numbers_are_shown_exactly_or_marked_as_rounded(number: Fraction, shown: str) -> None:
    assert show_number(number) == shown


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
def test_a_written_quantity_is_read_back_unchanged(value: Fraction) -> None:
    assert parse_quantity(format_quantity(value)) == value


@pytest.mark.parametrize("text", ["", "two", "2x", "1.2.3", "--2", "1e", "1e999999999", "٣"])
def test_an_invalid_quantity_is_rejected(text: str) -> None:
    with pytest.raises(QuantityError, match="isn't a quantity"):
        parse_quantity(text)


def test_thousandths_are_rounded_up_and_bounded() -> None:
    assert [milli(Fraction(1, 3)), milli(Fraction(1, 10**9)), milli(Fraction(10**30))] == [334, 1, MAX_MILLI]


@pytest.mark.parametrize(
    ("thousandths", "shown"), [(20_000, "20"), (1500, "1.5"), (25, "0.025"), (-1200, "-1.2"), (0, "0")]
)
def test_quantities_are_formatted_for_people(thousandths: int, shown: str) -> None:
    assert plain(thousandths) == shown
