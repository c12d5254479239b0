"""The query of a list: what changes its values is parsed, and an error names what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.request import MAX_CACHED_QUERY, ListOptions, parse_query
from app.metrics.selector import MAX_CONDITIONS
from tests.unit.api.requests import request


def list_options(query: bytes) -> ListOptions:
    return request(query=query).options


@pytest.mark.parametrize(
    "query",
    [
        b"limit=1&continue=x&resourceVersion=0&timeoutSeconds=1&allowWatchBookmarks=true&pretty=x&shardSelector=y",
        b"resourceVersion=7&resourceVersionMatch=Exact",
        b"fieldSelector=",
        b"timeout=1m30s",
        b"limit=",
    ],
)
def test_options_without_effect_are_accepted(query: bytes) -> None:
    assert list_options(query).error == ""


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"limit=x", "limit must be an integer"),
        (b"limit=x&timeoutSeconds=y", "limit must be an integer; timeoutSeconds must be an integer"),
        (b"labelSelector=%3Dx", "found '=', expected: !, identifier, or 'end of string'"),
        (b"fieldSelector=metadata.name%3Da", "field selectors are not supported here: use a label selector"),
        (b"fieldSelector=%29", "field selectors are not supported here"),
        (b"labelSelector=" + b"a," * MAX_CONDITIONS + b"a", "more than 100 conditions in one selector"),
    ],
)
def test_an_option_that_cant_be_parsed_is_an_error(query: bytes, message: str) -> None:
    assert list_options(query).error.startswith(message)


def test_a_selector_that_cant_be_parsed_has_no_effect_on_the_review() -> None:
    assert list_options(b"labelSelector=a+b").selector.requirements == ()


@pytest.mark.parametrize(
    ("query", "watch"),
    [
        (b"watch=true", True),
        (b"watch=1", True),
        (b"watch", True),
        (b"limit=x&watch=yes", True),
        (b"w%61tch=1", True),
        (b"watch=false", False),
        (b"watch=False", False),
        (b"watch=0", False),
        (b"", False),
    ],
)
def test_a_watch_is_recognized(query: bytes, watch: bool) -> None:
    assert list_options(query).watch is watch


def test_only_short_queries_are_cached() -> None:
    assert list_options(b"limit=1") is list_options(b"limit=1")
    long = b"limit=1&x=" + b"a" * MAX_CACHED_QUERY
    assert list_options(long) is not list_options(long)


def test_a_query_is_parsed_once_for_each_request() -> None:
    made = request(query=b"labelSelector=a&x=" + b"a" * MAX_CACHED_QUERY)
    assert made.options is made.options
    assert made.parameters is made.parameters


@pytest.mark.parametrize("comma", [b",", b"%2c", b"%2C"])
def test_many_conditions_are_not_cached_because_each_takes_a_hundred_times_its_size(comma: bytes) -> None:
    many = b"labelSelector=a" + comma.join([b"a"] * 20)
    assert list_options(many) == list_options(many)
    assert list_options(many) is not list_options(many)


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"a=1&a=2&b", {"a": ["1", "2"], "b": [""]}),
        (b"%61+b=c+d%2B", {"a b": ["c d+"]}),
        (b"a=%ff\xe9", {"a": ["\udcff\udce9"]}),
    ],
)
def test_a_query_is_split_into_parameters(query: bytes, values: dict[str, list[str]]) -> None:
    assert parse_query(query) == values


@given(st.binary(max_size=100))
def test_any_query_can_be_parsed(query: bytes) -> None:
    for part in (query, b"fieldSelector=" + query, b"labelSelector=" + query):
        list_options(part)
