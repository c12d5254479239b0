"""Names are matched once for as long as they are the same."""

from app.metrics.selection import GlobCache
from tests.unit.metrics.given import glob, server, tube

EU = server("eu", tube("a"), tube("b"), tube("ab"))


def test_matches_are_sorted() -> None:
    assert EU.reading
    assert list(GlobCache().matching(glob("a*"), EU.server.name, EU.reading.names)) == ["a", "ab"]


def test_matches_are_cached_while_the_names_are_the_same_object() -> None:
    cache = GlobCache()
    assert EU.reading
    assert cache.matching(glob("a*"), EU.server.name, EU.reading.names) is cache.matching(
        glob("a*"), EU.server.name, EU.reading.names
    )
    after = server("eu", tube("a"), tube("ac"))
    assert after.reading
    assert list(cache.matching(glob("a*"), after.server.name, after.reading.names)) == ["a", "ac"]


def test_if_all_match_nothing_is_copied() -> None:
    assert EU.reading
    assert GlobCache().matching(glob("*"), EU.server.name, EU.reading.names) is EU.reading.names


def test_servers_and_patterns_are_never_mixed_up() -> None:
    cache = GlobCache()
    states = [server("eu", tube("a")), server("us", tube("b")), server("asia", tube("c"))]
    for _ in range(2):
        for state, expected in zip(states, "abc", strict=True):
            assert state.reading
            assert list(cache.matching(glob("*"), state.server.name, state.reading.names)) == [expected]
            assert list(cache.matching(glob("z"), state.server.name, state.reading.names)) == []


def test_the_cache_is_limited() -> None:
    cache = GlobCache(size=2)
    assert EU.reading
    first = cache.matching(glob("a?"), EU.server.name, EU.reading.names)
    cache.matching(glob("b*"), EU.server.name, EU.reading.names)
    assert cache.matching(glob("a?"), EU.server.name, EU.reading.names) is first
    cache.matching(glob("[ab]"), EU.server.name, EU.reading.names)
    cache.matching(glob("c*"), EU.server.name, EU.reading.names)
    assert cache.matching(glob("a?"), EU.server.name, EU.reading.names) is not first
