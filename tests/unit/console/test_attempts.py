"""Guessing is slow, whoever guesses from wherever; who knows the password waits for nobody."""

from contextlib import ExitStack, suppress

import pytest

from app.console.sessions import A_SOURCE, ALL, MOST_SOURCES, Attempts, Crowd, CrowdedError, network_of


def wrong(attempts: Attempts, source: str, times: int, now_s: float = 0) -> int:
    """How many of so many guesses at once were looked at."""
    return sum(attempts.begin(source, now_s) == 0 for _ in range(times))


def test_a_source_may_guess_ten_times_and_then_once_in_six_seconds() -> None:
    attempts = Attempts(0)
    assert wrong(attempts, "10.0.0.1", 100) == A_SOURCE[0]
    assert attempts.begin("10.0.0.1", 0) == pytest.approx(6)
    assert attempts.begin("10.0.0.1", 6.01) == 0
    assert attempts.begin("10.0.0.1", 6.01) > 5
    assert wrong(attempts, "10.0.0.1", 2000, now_s=3600) == A_SOURCE[0]


def test_many_sources_together_have_a_limit_too() -> None:
    attempts = Attempts(0)
    assert sum(wrong(attempts, f"10.0.{number}.1", 10) for number in range(200)) == ALL[0]
    assert attempts.begin("192.0.2.1", 0) > 0


def test_one_guesser_doesnt_lock_another_source_out() -> None:
    attempts = Attempts(0)
    wrong(attempts, "10.0.0.1", 1000)
    assert attempts.begin("10.0.0.2", 0) == 0


def test_right_guesses_arent_counted() -> None:
    attempts = Attempts(0)
    for _ in range(1000):
        assert attempts.begin("10.0.0.1", 0) == 0
        attempts.was_right("10.0.0.1", 0)


def test_what_is_remembered_of_sources_is_bounded() -> None:
    attempts = Attempts(0)
    for number in range(MOST_SOURCES + 10):
        attempts.begin(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", float(number))
    assert len(attempts._by_source) == MOST_SOURCES  # noqa: SLF001 - memory shows nowhere else


@pytest.mark.parametrize(
    ("source", "network"),
    [
        pytest.param("10.0.0.1", "10.0.0.1", id="an IPv4 address"),
        pytest.param("2001:db8::1", "2001:db8::/64", id="a /64 is one guesser's"),
        pytest.param("2001:db8::ffff:1", "2001:db8::/64", id="whatever its end"),
        pytest.param("::ffff:10.0.0.1", "10.0.0.1", id="IPv4 in IPv6"),
        pytest.param("", "", id="nothing known"),
    ],
)
def test_a_guesser_is(source: str, network: str) -> None:
    assert network_of(source) == network


def enter(crowd: Crowd, source: str, times: int, stack: ExitStack) -> int:
    """How many of so many at once were let in."""
    inside = 0
    for _ in range(times):
        with suppress(CrowdedError):
            stack.enter_context(crowd.one_more(source))
            inside += 1
    return inside


def test_of_strangers_who_take_their_time_so_many_are_awaited() -> None:
    crowd = Crowd(most_of_a_source=3, most=5)
    with ExitStack() as stack:
        assert enter(crowd, "10.0.0.1", 9, stack) == 3
        assert enter(crowd, "10.0.0.2", 9, stack) == 2
        assert enter(crowd, "10.0.0.3", 9, stack) == 0
    with ExitStack() as stack:
        assert enter(crowd, "10.0.0.3", 9, stack) == 3
