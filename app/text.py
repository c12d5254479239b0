"""Durations, counts and lists, as beanscale writes them for people and as Kubernetes writes them."""

import re
from collections.abc import Iterable

_FIRST_WORD = re.compile(r"(?!beanstalkd|beanscale)[a-z]+(?=[\s,:;\u2019']|\.(?:\s|$)|$)")
_SINGULAR = {
    "jobs": "job",
    "seconds": "second",
    "workers": "worker",
    "producers": "producer",
    "pauses": "pause",
}


def duration(seconds: float) -> str:
    """Return a duration for people, in whole seconds, at most two units: `0 s`, `1 min 30 s`, `2 h`, `3 d`."""
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((index for index, (number, _unit) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"


def duration_value(seconds: float) -> str:
    """Return a duration as settings.parse_duration reads it, for values and flags: `0.5s`, `5m`, `1m30s`, `2h`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = ((str(hours), "h"), (str(minutes), "m"), (f"{rest:g}", "s"))
    return "".join(number + unit for number, unit in parts if number != "0") or "0s"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, with `s` unless it is one: `1 job`, `20,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def measured(number: str, unit: str | None) -> str:
    """Return a number with its unit, if it has one: `20 jobs`, `1 job`, `0.5 jobs/s`, `1 second`.

    The singular of an operator's own unit isn't known. static/words.js follows the same rule.
    """
    noun, slash, time = (unit or "").partition("/")
    if number == "1":
        noun = _SINGULAR.get(noun, noun)
    return f"{number} {noun}{slash}{time}" if unit else number


def listing(items: Iterable[str], word: str = "and") -> str:
    """Return `a`, `a and b`, or `a, b and c`; an empty string for no items."""
    *others, last = list(items) or [""]
    return f"{', '.join(others)} {word} {last}" if others else last


def capital(sentence: str) -> str:
    """Return a sentence with a capital; names such as minReplicas, tube-orders and beanstalkd stay as they are.

    static/words.js follows the same rule.
    """
    first = _FIRST_WORD.match(sentence)
    return f"{sentence[0].upper()}{sentence[1:]}" if first else sentence


def shortened(text: str, limit: int) -> str:
    """Return at most `limit` characters of the text, and `…` if it has more."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def quoted(text: str) -> str:
    """Return the text in quotes, on one line; of a long one the first 60 characters and its length."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}… ({len(text):,} characters)"


def printable(text: str) -> str:
    """Return the text in one line, with `?` for what a terminal might execute or what changes its direction."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def known(value: float | None) -> str:
    """Return a number for people: `12,345`, or `unknown`."""
    if value is None:
        return "unknown"
    if isinstance(value, int):
        return f"{value:,}"
    return "< 0.1" if 0 < value < 0.05 else f"{value:,.1f}"
