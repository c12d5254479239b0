"""Wrong passwords are limited per source and in total; the right password isn't delayed by others."""

import asyncio

import pytest

from app.console.errors import RequestError
from app.console.login import ALL_GUESSES, GUESSES, MAX_SOURCES, FormLimiter, LoginLimiter, network_of


def wrong(limiter: LoginLimiter, source: str, times: int, now_s: float = 0) -> int:
    """How many of so many guesses at once were looked at."""
    return sum(limiter.take(source, "", now_s) == 0 for _ in range(times))


def test_a_source_can_try_ten_passwords_and_then_one_in_six_seconds() -> None:
    limiter = LoginLimiter(0)
    assert wrong(limiter, "10.0.0.1", 100) == GUESSES[0]
    assert limiter.take("10.0.0.1", "", 0) == pytest.approx(6)
    assert limiter.take("10.0.0.1", "", 6.01) == 0
    assert limiter.take("10.0.0.1", "", 6.01) > 5
    assert wrong(limiter, "10.0.0.1", 2000, now_s=3600) == GUESSES[0]


def test_many_sources_together_have_a_limit_too() -> None:
    limiter = LoginLimiter(0)
    assert sum(wrong(limiter, f"10.0.{number}.1", 10) for number in range(200)) == ALL_GUESSES[0]
    assert limiter.take("192.0.2.1", "", 0) > 0


def test_wrong_passwords_of_one_source_dont_lock_out_another() -> None:
    limiter = LoginLimiter(0)
    wrong(limiter, "10.0.0.1", 1000)
    assert limiter.take("10.0.0.2", "", 0) == 0


def test_right_passwords_arent_counted() -> None:
    limiter = LoginLimiter(0)
    for _ in range(1000):
        assert limiter.take("10.0.0.1", "", 0) == 0
        limiter.put_back("10.0.0.1", "", 0)


def test_the_number_of_stored_sources_is_limited() -> None:
    limiter = LoginLimiter(0)
    for number in range(MAX_SOURCES + 10):
        limiter.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "", float(number))
    assert len(limiter._sources) == MAX_SOURCES  # noqa: SLF001 - memory shows nowhere else


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
def test_a_source_is(source: str, network: str) -> None:
    assert network_of(source) == network


@pytest.mark.anyio
async def test_of_slow_unauthenticated_clients_those_that_wait_longest_are_ended() -> None:
    limiter, ended = FormLimiter(per_source=3, total=5), list[str]()

    async def form(source: str, name: str) -> None:
        try:
            async with limiter.arriving(source, 60):
                await asyncio.sleep(60)
        except RequestError as error:
            assert error.status == 503  # noqa: PT017 - any other end is a failure
            ended.append(name)

    tasks = []
    for source, name in (("10.0.0.1", "a"), ("10.0.0.2", "b"), ("10.0.0.3", "c")):
        tasks += [asyncio.create_task(form(source, f"{name}{number}")) for number in range(4)]
        await asyncio.sleep(0.01)
    assert set(ended) == {"a0", "b0", "a1", "a2", "a3", "b1", "c0"}
    for task in tasks:
        task.cancel()


def test_a_browser_that_signed_in_before_has_its_own_limit() -> None:
    limiter = LoginLimiter(0)
    browser = limiter.remember("", 0)
    assert wrong(limiter, "10.0.0.1", 100) == GUESSES[0]
    for number in range(200):
        wrong(limiter, f"10.1.{number}.1", 10)
    assert limiter.take("10.0.0.1", browser, 0) == 0
    assert limiter.take("10.0.0.1", "unknown", 0) > 0
    assert sum(limiter.take("10.0.0.9", browser, 0) == 0 for _ in range(100)) == GUESSES[0] - 1
    assert limiter.remember(browser, 0) == browser
    assert limiter.remember("unknown", 0) not in {"unknown", browser}
