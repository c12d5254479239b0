"""Kubernetes quantities (apimachinery's pkg/api/resource), exactly: parsed, written, and shown to people."""

import re
from decimal import Decimal, localcontext
from fractions import Fraction

MAX_MILLI = 2**63 - 1
"""The most thousandths that the HPA controller's int64 holds."""

_LARGE = ("", "k", "M", "G", "T", "P", "E")
_SMALL = ("", "m", "u", "n")
_FACTORS: dict[str, Fraction] = {
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate(_LARGE)},
    **{suffix: Fraction(1, 1000) ** power for power, suffix in enumerate(_SMALL)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE])([+-]?[0-9]{1,9})|([a-zA-Z]*))")
_MAX_LENGTH = 1000
"""Characters; kube-apiserver doesn't validate those in annotations."""
_MAX_EXPONENT = 30
_DECIMALS = 6


class QuantityError(ValueError):
    """The text isn't a quantity; `str()` is a sentence."""


def parse_quantity(text: str) -> Fraction:
    """Parse a quantity such as `2`, `1500m`, `3k`, `4Gi` or `1e3`. Raises QuantityError."""
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    number, is_power, exponent, suffix = match.groups() if match else ("", None, "", None)
    if is_power and abs(int(exponent)) <= _MAX_EXPONENT:
        return Fraction(number) * Fraction(10) ** int(exponent)
    if suffix not in _FACTORS:
        raise QuantityError(f"{text[:60]!r} isn't a quantity, like 2, 1500m or 3k")
    return Fraction(number) * _FACTORS[suffix]


def format_quantity(value: int | Fraction) -> str:
    """Return the canonical form: the largest suffix that keeps the number whole, such as `1500m`, `12` or `3k`.

    Like Kubernetes, it rounds up what is finer than a nano.
    """
    if isinstance(value, Fraction):
        nanos = -(-value.numerator * 10**9 // value.denominator)
        if nanos % 10**9:
            at = 3
            while nanos % 1000 == 0:
                nanos //= 1000
                at -= 1
            return f"{nanos}{_SMALL[at]}"
        value = nanos // 10**9
    at = 0
    while value and value % 1000 == 0 and at < len(_LARGE) - 1:
        value //= 1000
        at += 1
    return f"{value}{_LARGE[at]}"


def milli(quantity: Fraction) -> int:
    """Return thousandths, rounded away from 0 and limited to an int64, as the HPA controller reads a quantity.

    Source: Quantity.MilliValue.
    """
    thousandths = abs(quantity) * 1000
    rounded = min(-(-thousandths.numerator // thousandths.denominator), MAX_MILLI)
    return rounded if quantity >= 0 else -rounded


def plain(thousandths: int) -> str:
    """Return thousandths as people write a number: `20`, `1.5`, `0.025`."""
    return show_number(Fraction(thousandths, 1000))


def show_number(value: Fraction) -> str:
    """Return a number for people: `12`, `0.5`; with `≈` before one that has more than six decimals."""
    if abs(value) >= 10**20:
        with localcontext(prec=6):
            return f"≈{(Decimal(value.numerator) / Decimal(value.denominator)).normalize():e}"
    sign = ""
    if (value * 10**_DECIMALS).denominator != 1:
        if abs(value) < 1:
            with localcontext(prec=3):
                small = (Decimal(value.numerator) / Decimal(value.denominator)).normalize()
            return f"≈{small:f}" if small.adjusted() >= -_DECIMALS else f"≈{small:e}"
        sign, value = "≈", round(value, 3)
    return f"{sign}{Decimal(int(value * 10**_DECIMALS)).scaleb(-_DECIMALS).normalize():f}"
