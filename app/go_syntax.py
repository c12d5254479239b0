"""Text in a request, read as the Go library under Kubernetes' servers reads it: queries, escapes, numbers, durations.

What isn't UTF-8 stays as lone surrogates (PEP 383) until it is written again. Source: Go's net/url, strconv and time.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

MOST_PARAMETERS = 10_000
"""Of a query: net/url reads nothing of a longer one."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
_DURATION_PART = re.compile(r"(?=.)(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^0-9.]*)", re.DOTALL)
_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_MOST_NS = 2**63
_FRACTION_DIGITS, _FRACTION = 18, 10**18
"""What follows is less than a nanosecond of any unit."""
_BYTES = {byte: f"\\x{byte:02x}" for byte in (*range(0x20), *range(0x80, 0x100))} | {ord('"'): '\\"', ord("\\"): r"\\"}


class GoSyntaxError(ValueError):
    """The text isn't what it should be; `str()` is what Go says."""


def unescaped(raw: bytes) -> str:
    """Text without its percent-encodings. Raises GoSyntaxError."""
    if b"%" not in raw:
        return raw.decode("utf-8", "surrogateescape")
    bad = _BAD_ESCAPE.search(raw)
    if bad:
        escape = raw[bad.start() : bad.start() + 3].decode("utf-8", "surrogateescape")
        raise GoSyntaxError(f"invalid URL escape {quote(escape)}")
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def parse_query(query: bytes) -> Mapping[str, list[str]]:
    """Every key's values, in their order; a part with `;` or a bad escape is left out."""
    values: dict[str, list[str]] = {}
    if query.count(b"&") >= MOST_PARAMETERS:
        return values
    for part in query.split(b"&"):
        if not part or b";" in part:
            continue
        key, _, value = part.replace(b"+", b" ").partition(b"=")
        try:
            values.setdefault(unescaped(key), []).append(unescaped(value))
        except GoSyntaxError:
            continue
    return {key: listed for key, listed in values.items() if listed}


def quote(text: str) -> str:
    """`%q`: in double quotes, everything odd as an escape."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that isn't UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_int(text: str) -> int:
    """`strconv.ParseInt` with base 10 and 64 bits. Raises GoSyntaxError."""
    unsigned = text[1:] if text.startswith(("+", "-")) else text
    rest = unsigned.lstrip("0123456789")
    digits = unsigned[: len(unsigned) - len(rest)]
    number = _number(digits) * (-1 if text.startswith("-") else 1)
    too_much = abs(number) >= 2**64  # Go stops there, before it sees what else is wrong
    if not too_much and (rest or not digits):
        raise GoSyntaxError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if too_much or not -(2**63) <= number < 2**63:
        raise GoSyntaxError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return number


def _number(digits: str) -> int:
    """Its value, or one that is too much for 64 bits as well: int() takes no thousands of digits."""
    return int(digits.lstrip("0")[:21] or "0")


def parse_duration_s(text: str) -> float:
    """`time.ParseDuration`, in seconds. Raises GoSyntaxError."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    total_ns = 0
    for part in _DURATION_PART.finditer(rest if rest != "0" else ""):
        total_ns += _part_ns(part, text)
        if total_ns > _MOST_NS:
            raise _no_duration(text)
    if not rest or sign * total_ns == _MOST_NS:
        raise _no_duration(text)
    return sign * total_ns / 1e9


def _part_ns(part: re.Match[str], text: str) -> int:
    whole, unit = _number(part["whole"]), part["unit"]
    if whole > _MOST_NS or not (part["whole"] or part["fraction"]):
        raise _no_duration(text)
    if not unit:
        raise GoSyntaxError(f"time: missing unit in duration {_quote_bytes(text)}")
    if unit not in _UNITS_NS:
        raise GoSyntaxError(f"time: unknown unit {_quote_bytes(unit)} in duration {_quote_bytes(text)}")
    fraction = int((part["fraction"] or "")[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
    return whole * _UNITS_NS[unit] + fraction * _UNITS_NS[unit] // _FRACTION


def _no_duration(text: str) -> GoSyntaxError:
    return GoSyntaxError(f"time: invalid duration {_quote_bytes(text)}")


def _quote_bytes(text: str) -> str:
    """As package time does it: a byte at a time, and nothing but ASCII is printable."""
    return '"' + text.encode("utf-8", "surrogateescape").decode("latin-1").translate(_BYTES) + '"'
