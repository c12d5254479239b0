"""Kubernetes' quantities as whole thousandths: all that an autoscaler sees of them.

Exact numbers the way Kubernetes writes them (apimachinery's resource.Quantity, decimal format), and people.
"""

import re
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


MOST = 2**63 - 1
"""What the controller's int64 holds."""

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([a-zA-Z]*|[eE][+-]?[0-9]+)")
_SUFFIXES: dict[str, Fraction] = {
    **{suffix: Fraction(1000) ** power for suffix, power in zip("num", (-3, -2, -1), strict=True)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{f"{suffix}i": Fraction(1024) ** (power + 1) for power, suffix in enumerate("KMGTPE")},
}
_FARTHEST = 30
"""Digits of an exponent beyond which nothing is a number of anybody's."""


class QuantityError(ValueError):
    """The text isn't a quantity; `str()` is a sentence."""


def parse_quantity(text: str) -> Fraction:
    """Read `2`, `1500m`, `3k`, `4Gi`, `1e3`. Raises QuantityError. Source: apimachinery's pkg/api/resource."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(f"{text[:60]!r} isn't a quantity, like 2, 1500m or 3k")
    number, suffix = match.groups()
    return Fraction(number) * _factor(suffix, text)


def _factor(suffix: str, text: str) -> Fraction:
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    exponent = suffix[1:]
    if suffix[:1] not in {"e", "E"} or not exponent.lstrip("+-").isdecimal() or abs(int(exponent[:9])) > _FARTHEST:
        raise QuantityError(f"{text[:60]!r} isn't a quantity, like 2, 1500m or 3k: {suffix[:20]!r} is no suffix")
    return Fraction(10) ** int(exponent)


def milli(quantity: Fraction) -> int:
    """Thousandths, rounded away from 0 and held within int64, as the controller reads it (Quantity.MilliValue)."""
    thousandths = abs(quantity) * 1000
    rounded = min(-(-thousandths.numerator // thousandths.denominator), MOST)
    return rounded if quantity >= 0 else -rounded


def plain(thousandths: int) -> str:
    """For people: `20`, `1.5`, `0.025`."""
    whole, rest = divmod(abs(thousandths), 1000)
    fraction = f".{rest:03}".rstrip("0") if rest else ""
    return f"{'-' if thousandths < 0 else ''}{whole}{fraction}"
