"""Label selectors mean here what they mean to kube-apiserver."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.selector import SelectorError, parse_selector

CHECKOUT = {"tube": "checkout", "server": "eu", "state": "ready", "shard": "7"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("   ", True),
        ("tube=checkout", True),
        ("tube==checkout", True),
        ("tube=Checkout", False),
        ("tube!=checkout", False),
        ("tube!=other", True),
        ("colour!=red", True),
        ("tube in (checkout,other)", True),
        ("tube in (other)", False),
        ("tube notin (other)", True),
        ("tube notin (checkout,other)", False),
        ("colour notin (red)", True),
        ("colour in (red)", False),
        ("tube", True),
        ("colour", False),
        ("!colour", True),
        ("!tube", False),
        ("shard>6", True),
        ("shard>7", False),
        ("shard<8", True),
        ("tube>6", False),
        ("colour>6", False),
        ("tube=checkout,state in (ready,reserved),!colour", True),
        ("tube=checkout,state=buried", False),
        (" tube = checkout , server != us ", True),
        ("tube=", False),
        ("colour in ()", False),
        ("tube in (,checkout)", True),
        ("in in (in)", False),
        ("tube=checkout,tube=other", False),
    ],
)
def test_a_selector_matches_as_in_kubernetes(text: str, matches: bool) -> None:
    assert parse_selector(text).matches(CHECKOUT) is matches


NO_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"
NO_VALUE = (
    'values[0][a]: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters,'
    " '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
    " '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
NO_NAME = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
PREFIXED = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("tube=default,", "found '', expected: identifier after ','"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("tube in x", "unable to parse requirement: found 'x' expected: '('"),
        ("tube in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("tube in (x y)", "unable to parse requirement: found 'y', expected: ',' or ')'"),
        ("tube in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("tube=a b", "found 'b', expected: ',' or 'end of string'"),
        ("tube=(", "unable to parse requirement: found '(', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("tube===x", "unable to parse requirement: found '=', expected: identifier"),
        (
            "tube<x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be"
            " an integer",
        ),
        ("a>-", f'unable to parse requirement: [values[0]: Invalid value: "-": {NO_INTEGER}, {NO_VALUE}]'),
        ('"a"', f'unable to parse requirement: <nil>: Invalid value: "\\"a\\"": name part {NO_NAME}'),
        ("a/b/c", f'unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label key {NO_NAME}{PREFIXED}'),
    ],
)
def test_an_invalid_selector_is_rejected_with_kubernetes_message(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as refused:
        parse_selector(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "text", ["/tube=x", "tube/=x", "UPPER/tube=x", "a" * 64, "tube=" + "a" * 64, "tube=-a", "tube=a/b", "-=x"]
)
def test_keys_and_values_must_be_valid_labels(text: str) -> None:
    with pytest.raises(SelectorError, match="must"):
        parse_selector(text)


@given(st.text(max_size=60) | st.text("tube=!(),<> in\t", max_size=40))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        parse_selector(text).matches(CHECKOUT)
    except SelectorError as refused:
        assert str(refused)  # noqa: PT017 - either outcome is right; nothing else may happen


def test_the_values_of_a_selector_are_known_without_reading_tubes() -> None:
    assert parse_selector("tube in (a,b),tube!=c").pinned("tube") == {"a", "b"}
    assert parse_selector("tube in (a,b),tube=b").pinned("tube") == {"b"}
    assert parse_selector("tube!=a").pinned("tube") is None


def test_of_very_many_problems_the_first_are_reported() -> None:
    with pytest.raises(SelectorError) as refused:
        parse_selector(f"tube in ({','.join(f'-{number}' for number in range(10_000))})")
    assert len(str(refused.value)) < 50_000
