"""A job's bytes as something to read: nothing is lost, rounded, run or hidden."""

import json
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.payloads import MAX_LAID_OUT, MAX_SHOWN, hex_dump, json_lines, payload, visible

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
CONTAINERS = st.lists(VALUES, max_size=5) | st.dictionaries(st.text(), VALUES, max_size=5)


def shown(body: bytes) -> tuple[str, str]:
    read = payload(body, len(body))
    return read.form, read.body


@pytest.mark.parametrize(
    ("body", "form", "text"),
    [
        pytest.param(b"", "text", "", id="nothing"),
        pytest.param(b"hello\tworld\r\n", "text", "hello\tworld\r\n", id="plain text"),
        pytest.param("Grüße 👋".encode(), "text", "Grüße 👋", id="text in UTF-8"),
        pytest.param(b'{"a":[1,2]}', "json", '{\n  "a": [\n    1,\n    2\n  ]\n}', id="JSON"),
        pytest.param(b"[]", "json", "[]", id="an empty array"),
        pytest.param(b' {"a" : { } } ', "json", '{\n  "a": {}\n}', id="an empty object in spaces"),
        pytest.param(b"12", "text", "12", id="a number alone is text"),
        pytest.param(b"[1,]", "text", "[1,]", id="nearly JSON"),
        pytest.param(b"[NaN]", "text", "[NaN]", id="JSON only for Python"),
        pytest.param(b'{"a":1}{"b":2}', "text", '{"a":1}{"b":2}', id="two objects"),
        pytest.param(b'["a\\u202eb"]', "json", '[\n  "a\\u202eb"\n]', id="an escape stays one"),
        pytest.param("a\u202eb".encode(), "text", "a⟦U+202E⟧b", id="what turns the direction"),
        pytest.param('["\u200b"]'.encode(), "json", '[\n  "⟦U+200B⟧"\n]', id="what has no width, in JSON"),
        pytest.param(b"a\rb\r\n", "text", "a⟦U+000D⟧b\r\n", id="a line written over"),
        pytest.param(b"<script>alert(1)</script>", "text", "<script>alert(1)</script>", id="markup is text"),
        pytest.param(
            b"\x1b[31mred", "hex", "00000000  1b 5b 33 31 6d 72 65 64                           |.[31mred|", id="ANSI"
        ),
        pytest.param(
            b'O:8:"Job\x00x"', "hex", hex_dump(b'O:8:"Job\x00x"'), id="PHP's serialised objects aren't made again"
        ),
        pytest.param(
            b"\x80\x04\x95abcdefghijklmnop",
            "hex",
            "00000000  80 04 95 61 62 63 64 65  66 67 68 69 6a 6b 6c 6d  |...abcdefghijklm|\n"
            "00000010  6e 6f 70                                          |nop|",
            id="pickle neither",
        ),
        pytest.param("\u009b31m".encode(), "hex", hex_dump("\u009b31m".encode()), id="a control character of C1"),
        pytest.param(b"caf\xe9", "hex", hex_dump(b"caf\xe9"), id="another encoding"),
        pytest.param(b"\xf0\x9f\x91", "hex", hex_dump(b"\xf0\x9f\x91"), id="half a character"),
    ],
)
def test_bytes_are_shown_by_their_type(body: bytes, form: str, text: str) -> None:
    assert shown(body) == (form, text)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("9007199254740993", id="beyond a double"),
        pytest.param("18446744073709551615", id="64 bits"),
        pytest.param("1e400", id="beyond any double"),
        pytest.param("0.1000000000000000055511151231257827", id="more digits than a double has"),
        pytest.param("1.50", id="its zero too"),
        pytest.param("-0", id="minus 0"),
        pytest.param("7" * 5000, id="more digits than Python converts"),
    ],
)
def test_a_number_is_shown_as_written(token: str) -> None:
    assert shown(f"[{token}]".encode()) == ("json", f"[\n  {token}\n]")


def test_a_repeated_key_is_shown_twice() -> None:
    assert shown(b'{"a":1,"a":2}') == ("json", '{\n  "a": 1,\n  "a": 2\n}')


@given(CONTAINERS, st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_json_is_indented_as_by_the_library(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert json_lines(written) == json.dumps(value, indent=2, ensure_ascii=ascii_only)


@given(st.text())
def test_invalid_json_is_never_indented(text: str) -> None:
    if json_lines(text) is not None:
        assert isinstance(json.loads(text), list | dict)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 30_000 + b"]" * 30_000, id="deep"),
        pytest.param(b"[" * 60_000, id="deep and open"),
        pytest.param(b'{"a":' * 10_000, id="deep objects"),
        pytest.param(b"[" * 60 + b"1," * 30_000 + b"1" + b"]" * 60, id="long once it is laid out"),
        pytest.param(b'["' + b"\\" * 60_000, id="a string that never ends"),
    ],
)
def test_json_beyond_the_limits_is_text(body: bytes) -> None:
    assert shown(body) == ("text", body.decode())


def test_long_json_within_the_limits_is_indented() -> None:
    form, text = shown(b"[" + b"1," * 30_000 + b"1]")
    assert form == "json"
    assert len(text) < MAX_LAID_OUT


@pytest.mark.parametrize(
    ("unit", "form"),
    [
        pytest.param("ab", "text", id="text"),
        pytest.param("a€b", "text", id="text whose last character is cut"),
        pytest.param("\x00", "hex", id="binary"),
    ],
)
def test_a_long_body_is_cut_and_its_size_shown(unit: str, form: str) -> None:
    body = (unit * 100_000).encode()
    read = payload(body, len(body))
    assert (read.size, read.shown, read.truncated, read.form) == (len(body), MAX_SHOWN, True, form)
    assert read.raw == body[:MAX_SHOWN].hex()


def test_the_beginning_of_long_json_is_text() -> None:
    assert payload(b"[1]", 1_000_000).form == "text"


def test_every_format_character_is_visible() -> None:
    """All of Unicode's, but those with a glyph of their own."""
    own_glyph = {"ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN"}
    turning = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}

    def is_unseen(character: str) -> bool:
        first_word = unicodedata.name(character, "").partition(" ")[0]
        of_no_glyph = unicodedata.category(character) in {"Cf", "Zl", "Zp"} and first_word not in own_glyph
        return of_no_glyph or unicodedata.bidirectional(character) in turning

    unseen = [character for character in map(chr, range(sys.maxunicode + 1)) if is_unseen(character)]
    assert len(unseen) > 100
    assert [character for character in unseen if visible(character) == character] == []
    assert visible("\u061c") == "⟦U+061C⟧"


@given(st.binary(max_size=200))
def test_a_hex_dump_has_every_byte(body: bytes) -> None:
    lines = hex_dump(body).splitlines()
    assert bytes.fromhex("".join(line[10:58] for line in lines)) == body


@given(st.binary(max_size=300))
def test_any_bytes_can_be_shown(body: bytes) -> None:
    read = payload(body, len(body))
    assert bytes.fromhex(read.raw) == body
    assert not any(unicodedata.category(character) == "Cc" for character in read.body if character not in "\t\r\n")
