"""Kubernetes' quantities as whole thousandths: all that an autoscaler sees of them."""

import re
from fractions import Fraction

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
