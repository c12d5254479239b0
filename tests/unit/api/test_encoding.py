"""Objects are written as Kubernetes' own encoders write them."""

import json
import re

import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.api.negotiation import JSON, YAML
from app.api.response import encode

OBJECTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.text() | st.text("a\n \x85\u2028\ufeff:#-'\"") | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def test_json_is_compact_and_ends_with_a_line_end() -> None:
    assert encode({"kind": "Status", "items": []}, JSON) == b'{"kind":"Status","items":[]}\n'


def test_pretty_json_is_indented() -> None:
    assert encode({"kind": "Status"}, JSON, indent=True) == b'{\n  "kind": "Status"\n}'


def test_json_is_harmless_in_a_web_page_and_always_utf8() -> None:
    assert encode({"a": "<&>é\u2028\udcff"}, JSON) == '{"a":"\\u003c\\u0026\\u003eé\\u2028\\ufffd"}\n'.encode()


def test_yaml_is_sorted_and_quotes_strings_that_look_like_other_types() -> None:
    item = {
        "value": "0",
        "timestamp": "2026-01-01T00:00:00Z",
        "metricName": "tube-default",
        "n": "y",
        "f": "1e3",
        "k": "*",
    }
    assert encode({"metadata": {}, "items": [item], "said": "found '=': x\n\nmore"}, YAML).decode() == (
        "items:\n"
        '- f: "1e3"\n'
        "  k: '*'\n"
        "  metricName: tube-default\n"
        '  "n": "y"\n'
        '  timestamp: "2026-01-01T00:00:00Z"\n'
        '  value: "0"\n'
        "metadata: {}\n"
        "said: |-\n"
        "  found '=': x\n"
        "\n"
        "  more\n"
    )


@given(OBJECTS)
def test_yaml_and_json_have_the_same_content(content: dict[str, object]) -> None:
    assert yaml.safe_load(encode(content, YAML)) == json.loads(encode(content, JSON)) == content


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_any_text_is_written_with_replacement_characters(text: str) -> None:
    content = {"message": text, "details": {"name": text}}
    written = re.sub("[\ud800-\udfff]", "\ufffd", text)
    expected = {"message": written, "details": {"name": written}}
    assert json.loads(encode(content, JSON)) == json.loads(encode(content, JSON, indent=True)) == expected
    assert yaml.safe_load(encode(content, YAML)) == expected
