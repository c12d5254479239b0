"""Queries, escapes, numbers and durations are read as Go reads them: what it makes of each is recorded here."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.go_syntax import GoSyntaxError, parse_duration_s, parse_int, parse_query, quote, unescaped


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"a=1&a=2&b", {"a": ["1", "2"], "b": [""]}),
        (b"a=1;b=2&c=3", {"c": ["3"]}),
        (b"a=%zz&a=%41", {"a": ["A"]}),
        (b"%61+b=c+d%2B", {"a b": ["c d+"]}),
        (b"&&=1&e==", {"": ["1"], "e": ["="]}),
        (b"a=%ff\xe9", {"a": ["\udcff\udce9"]}),
        (b"&".join([b"a=1"] * 10_001), {}),
    ],
)
def test_a_query_is_taken_apart(query: bytes, values: dict[str, list[str]]) -> None:
    assert parse_query(query) == values


@given(st.binary(max_size=200))
def test_any_query_can_be_read(query: bytes) -> None:
    parse_query(query)


@pytest.mark.parametrize(
    ("raw", "text"), [(b"/a%2Fb+c", "/a/b+c"), (b"%252F", "%2F"), (b"\xc3\xa9%C3%A9", "éé"), (b"%ff", "\udcff")]
)
def test_escapes_are_undone_once(raw: bytes, text: str) -> None:
    assert unescaped(raw) == text


@pytest.mark.parametrize(("raw", "escape"), [(b"a%zz", "%zz"), (b"a%", "%"), (b"%4", "%4"), (b"%a\x00b", r"%a\x00")])
def test_a_bad_escape_is_told(raw: bytes, escape: str) -> None:
    with pytest.raises(GoSyntaxError) as error:
        unescaped(raw)
    assert str(error.value) == f'invalid URL escape "{escape}"'


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('a"b\\c', r'"a\"b\\c"'),
        ("\n\x00\x7f", r'"\n\x00\x7f"'),
        ("é\udcff\u200b\U000e0001", r'"é\xff\u200b\U000e0001"'),
    ],
)
def test_odd_characters_are_quoted_as_escapes(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("+1", 1),
        ("-0", 0),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("-" + "0" * 5000 + "7", -7),
    ],
)
def test_whole_numbers(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "invalid syntax"),
        ("", "invalid syntax"),
        ("1_0", "invalid syntax"),
        ("٣", "invalid syntax"),
        ("+-1", "invalid syntax"),
        ("9223372036854775808", "value out of range"),
        ("9" * 10_000, "value out of range"),
        ("9" * 10_000 + "x", "value out of range"),
    ],
)
def test_what_is_no_number_of_64_bits(text: str, problem: str) -> None:
    with pytest.raises(GoSyntaxError) as error:
        parse_int(text)
    assert str(error.value) == f'strconv.ParseInt: parsing "{text}": {problem}'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5s", 5),
        ("1h2m", 3720),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("+1.s", 1),
        ("-1ms", -0.001),
        ("0s" * 30_000, 0),
        ("." + "0" * 60_000 + "1h", 0),
        ("-9223372036854775808ns", -(2**63) / 1e9),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'invalid duration ""'),
        ("x", 'invalid duration "x"'),
        (".s", 'invalid duration ".s"'),
        ("5", 'missing unit in duration "5"'),
        ("1s0", 'missing unit in duration "1s0"'),
        ("0s0", 'missing unit in duration "0s0"'),
        ("99999999999999999999x", 'invalid duration "99999999999999999999x"'),
        ("9223372036854775808ns", 'invalid duration "9223372036854775808ns"'),
        ("1é", r'unknown unit "\xc3\xa9" in duration "1\xc3\xa9"'),
        ("9999999999h", 'invalid duration "9999999999h"'),
    ],
)
def test_what_is_no_duration(text: str, problem: str) -> None:
    with pytest.raises(GoSyntaxError) as error:
        parse_duration_s(text)
    assert str(error.value) == f"time: {problem}"


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with suppress(GoSyntaxError):
        parse_duration_s(text)
