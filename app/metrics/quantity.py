"""Exact numbers the way Kubernetes writes them (apimachinery's resource.Quantity, decimal format), and people."""

from decimal import Decimal, localcontext
from fractions import Fraction

_LARGE = ("", "k", "M", "G", "T", "P", "E")
_SMALL = ("", "m", "u", "n")
_DECIMALS = 6


def format_quantity(value: int | Fraction) -> str:
    """The canonical form: the largest suffix that keeps the number whole, `1500m`, `12`, `3k`.

    What is finer than a nano is rounded up, as Kubernetes does: a quantity never promises less than there is.
    """
    if isinstance(value, Fraction) and value.denominator != 1:
        return _format_small(value)
    return _format_whole(int(value))


def _format_whole(value: int) -> str:
    suffix = 0
    while value and value % 1000 == 0 and suffix < len(_LARGE) - 1:
        value //= 1000
        suffix += 1
    return f"{value}{_LARGE[suffix]}"


def _format_small(value: Fraction) -> str:
    for suffix in _SMALL:
        if value.denominator == 1:
            return f"{value.numerator}{suffix}"
        value *= 1000
    nanos = -(-value // 1000)
    return format_quantity(Fraction(nanos, 10**9))


def show_number(value: Fraction) -> str:
    """For people: `12`, `0.5`; with a `≈` before what has more than six decimals."""
    if abs(value) >= 10**20:
        with localcontext(prec=6):
            return f"≈{(Decimal(value.numerator) / Decimal(value.denominator)).normalize():e}"
    if (value * 10**_DECIMALS).denominator == 1:
        return _digits(value)
    if abs(value) >= 1:
        return f"≈{_digits(round(value, 3))}"
    with localcontext(prec=3):
        small = (Decimal(value.numerator) / Decimal(value.denominator)).normalize()
    return f"≈{small:f}" if small.adjusted() >= -_DECIMALS else f"≈{small:e}"


def _digits(value: Fraction) -> str:
    return f"{Decimal(int(value * 10**_DECIMALS)).scaleb(-_DECIMALS).normalize():f}"
