"""Numbers and lists in sentences."""

import pytest

from app.settings import parse_duration
from app.text import capital, count, duration, duration_value, listing, measured


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (59.6, "1 min"),
        (90, "1 min 30 s"),
        (7200, "2 h"),
        (12_000, "3 h 20 min"),
        (86_400 * 2 + 5, "2 d"),
    ],
)
def test_duration_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1m30s"), (7200, "2h"), (0.5, "0.5s"), (3661, "1h1m1s"), (15, "15s"), (300, "5m")]
)
def test_duration_as_a_value_can_be_parsed(seconds: float, text: str) -> None:
    assert duration_value(seconds) == text
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("number", "text"), [(0, "0 jobs"), (1, "1 job"), (20_000, "20,000 jobs")])
def test_count(number: int, text: str) -> None:
    assert count(number, "job") == text


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        ("20", "jobs", "20 jobs"),
        ("1", "jobs", "1 job"),
        ("1", "jobs/s", "1 job/s"),
        ("0.5", "jobs/s", "0.5 jobs/s"),
        ("1", "jobs/min", "1 job/min"),
        ("1", "orders", "1 orders"),
        ("1", "ms", "1 ms"),
        ("1", "address", "1 address"),
        ("3", None, "3"),
    ],
)
def test_a_number_with_its_unit(number: str, unit: str | None, text: str) -> None:
    assert measured(number, unit) == text


@pytest.mark.parametrize(
    ("clause", "sentence"),
    [
        ("jobs wait", "Jobs wait"),
        ("don't: it can't", "Don't: it can't"),
        ("unknown", "Unknown"),
        ("", ""),
        ("beanstalkd eu can't be read", "beanstalkd eu can't be read"),
        ("beanscale has no value", "beanscale has no value"),
        ("bodyHex must be hex", "bodyHex must be hex"),
        ("tube-orders is 4", "tube-orders is 4"),
        ("behavior.scaleUp is set", "behavior.scaleUp is set"),
    ],
)
def test_a_sentence_begins_with_a_capital_and_names_stay(clause: str, sentence: str) -> None:
    assert capital(clause) == sentence


@pytest.mark.parametrize(("items", "text"), [("", ""), ("a", "a"), ("ab", "a or b"), ("abc", "a, b or c")])
def test_listing(items: str, text: str) -> None:
    assert listing(items, "or") == text
