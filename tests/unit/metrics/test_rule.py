"""Patterns pick names as a shell does, quickly whatever they are."""

from fnmatch import fnmatchcase
from itertools import product
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.rules import Glob


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (("checkout",), "checkout", True),
        (("checkout",), "Checkout", False),
        (("checkout",), "checkout-1", False),
        (("a.c",), "abc", False),
        (("$(a);",), "$(a);", True),
        (("checkout-*",), "checkout-", True),
        (("checkout-*",), "checkout-a/b;c", True),
        (("checkout-*",), "my-checkout-1", False),
        (("*",), "anything", True),
        (("?",), "ab", False),
        (("shard-[0-3]",), "shard-3", True),
        (("shard-[0-3]",), "shard-4", False),
        (("shard-[!0-3]",), "shard-4", True),
        (("[a-]",), "-", True),
        (("a", "b*"), "bc", True),
        (("a", "b*"), "ab", False),
        (("x*y", "z"), "xy\n", False),
        ((), "a", False),
        ((), "", False),
    ],
)
def test_a_name_matches_a_glob(patterns: tuple[str, ...], name: str, fits: bool) -> None:
    assert Glob(patterns).matches(name) is fits


def test_matches_keep_their_order() -> None:
    assert Glob(("b", "a*", "c")).of(["c", "ab", "x", "b", "a"]) == ["c", "ab", "b", "a"]
    assert Glob(()).of(["a"]) == []


def test_plain_names_are_recognized() -> None:
    assert Glob(("b", "a", "b")).exact == ("b", "a")
    assert Glob(("b", "a", "b")).is_exact
    assert Glob(("b", "a*", "a?", "[a]")).exact == ("b",)
    assert not Glob(("b", "a*")).is_exact


@given(
    st.lists(st.text("aAb-*?[]!/.", max_size=8), max_size=4),
    st.lists(st.text("aAb-/.", min_size=1, max_size=8), max_size=8),
)
def test_a_name_matches_if_it_matches_one_of_the_globs(patterns: list[str], names: list[str]) -> None:
    glob = Glob(tuple(patterns))
    assert glob.of(names) == [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


@given(
    st.lists(st.sampled_from(["a", "A", "b", "-", "*", "?", "[a-b]", "[!a]", "[!A-Z]", "[!b-]"]), max_size=4).map(
        "".join
    ),
    st.text("aAbB-", min_size=1, max_size=5),
)
def test_case_insensitively_a_name_matches_in_any_case(pattern: str, name: str) -> None:
    spellings = map("".join, product(*({one.lower(), one.upper()} for one in name)))
    assert Glob((pattern,)).matches_in_any_case(name) is any(map(Glob((pattern,)).matches, spellings))


def _fits(name: str, pattern: str) -> bool:
    """The rule itself, slowly."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_fits(name[skipped:], pattern[1:]) for skipped in range(len(name) + 1))
    return bool(name) and pattern[0] in {"?", name[0]} and _fits(name[1:], pattern[1:])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_stars_stand_for_any_characters(pattern: str, name: str) -> None:
    assert Glob((pattern,)).matches(name) is _fits(name, pattern)


@pytest.mark.parametrize(
    "pattern", ["*a" * 99 + "b", "*" * 199 + "b", "*?" * 99 + "b", "*[a-z]" * 33 + "b", "a*" * 99 + "b"]
)
def test_no_glob_takes_long(pattern: str) -> None:
    glob = Glob((pattern,))
    began = process_time()
    for _ in range(100):
        assert not glob.matches("a" * 200)
    assert process_time() - began < 0.5
