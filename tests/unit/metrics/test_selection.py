"""Names are matched once for as long as they are the same."""

from app.metrics.selection import Matches
from tests.unit.metrics.given import glob, server, tube

EU = server("eu", tube("a"), tube("b"), tube("ab"))


def test_matches_are_those_that_fit_sorted() -> None:
    assert EU.reading
    assert list(Matches().of(glob("a*"), EU, EU.reading)) == ["a", "ab"]


def test_matches_are_kept_while_the_names_are_the_very_same() -> None:
    matches = Matches()
    assert EU.reading
    assert matches.of(glob("a*"), EU, EU.reading) is matches.of(glob("a*"), EU, EU.reading)
    after = server("eu", tube("a"), tube("ac"))
    assert after.reading
    assert list(matches.of(glob("a*"), after, after.reading)) == ["a", "ac"]


def test_where_all_fit_nothing_is_copied() -> None:
    assert EU.reading
    assert Matches().of(glob("*"), EU, EU.reading) is EU.reading.names


def test_servers_and_patterns_are_never_mixed_up() -> None:
    matches = Matches()
    states = [server("eu", tube("a")), server("us", tube("b")), server("asia", tube("c"))]
    for _ in range(2):
        for state, expected in zip(states, "abc", strict=True):
            assert state.reading
            assert list(matches.of(glob("*"), state, state.reading)) == [expected]
            assert list(matches.of(glob("z"), state, state.reading)) == []


def test_no_more_are_kept_than_it_was_told() -> None:
    matches = Matches(most=2)
    assert EU.reading
    first = matches.of(glob("a?"), EU, EU.reading)
    matches.of(glob("b*"), EU, EU.reading)
    assert matches.of(glob("a?"), EU, EU.reading) is first
    matches.of(glob("[ab]"), EU, EU.reading)
    matches.of(glob("c*"), EU, EU.reading)
    assert matches.of(glob("a?"), EU, EU.reading) is not first
