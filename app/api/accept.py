"""The Accept header, taken apart as the Go library under Kubernetes' servers does it: its order is a part of the wire.

Source: github.com/munnerz/goautoneg.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cmp_to_key

MOST_CLAUSES = 256
"""Of a longer header the rest isn't read: clients send a dozen at most, and sorting a million takes seconds."""
_MOST_BY_INSERTION = 12
"""Go's sort inserts so few, which shows, because the comparison isn't an order."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One of the media ranges that a client accepts."""

    type: str
    subtype: str
    quality: float
    parameters: Mapping[str, str]

    def matches(self, media_type: str) -> bool:
        """Whether the range takes a media type in; its parameters have no say."""
        return f"{self.type}/{self.subtype}" in {media_type, f"{media_type.partition('/')[0]}/*", "*/*"}


def clauses(accept: str) -> list[Clause]:
    """Accept taken apart, what is wanted most first."""
    parsed = list(filter(None, map(_clause, accept.split(",", MOST_CLAUSES)[:MOST_CLAUSES])))
    return (
        _sorted_by_insertion(parsed) if len(parsed) <= _MOST_BY_INSERTION else sorted(parsed, key=cmp_to_key(_compare))
    )


def _clause(part: str) -> Clause | None:
    media_type, _, rest = part.strip(" ").partition(";")
    main, _, subtype = media_type.partition("/")
    main, subtype = main.strip(" "), subtype or ("*" if main.strip(" ") == "*" else "")
    if not subtype or "/" in subtype.removesuffix("/"):
        return None
    quality, parameters = 1.0, {}
    for parameter in rest.split(";"):
        key, _, value = parameter.partition("=")
        if not value or "=" in value.removesuffix("="):
            continue
        if key.strip(" ") == "q":
            quality = number(value)
        else:
            parameters[key.strip(" ")] = value.removesuffix("=").strip(" ")
    return Clause(main, subtype.removesuffix("/").strip(" "), quality, parameters)


def number(text: str) -> float:
    """A quality; one that isn't a number is none."""
    try:
        return float(text) if text.strip() == text and "_" not in text else 0.0
    except ValueError:
        return 0.0


def _comes_before(one: Clause, other: Clause) -> bool:
    return (
        one.quality > other.quality
        or (one.type != "*" and other.type == "*")
        or (one.subtype != "*" and other.subtype == "*")
    )


def _compare(one: Clause, other: Clause) -> int:
    return _comes_before(other, one) - _comes_before(one, other)


def _sorted_by_insertion(found: list[Clause]) -> list[Clause]:
    for end in range(1, len(found)):
        at = end
        while at and _comes_before(found[at], found[at - 1]):
            found[at - 1], found[at] = found[at], found[at - 1]
            at -= 1
    return found
