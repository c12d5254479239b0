"""Rates of retries and log lines are bounded."""

from itertools import islice

import pytest
from structlog.testing import capture_logs

from app.ratelimit import RateLimitedWarning, TokenBucket, backoff


def test_bucket_allows_a_burst_and_then_a_rate() -> None:
    bucket = TokenBucket(burst=2, interval_s=6.0, now_s=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert bucket.wait_s(0.0) == 6.0
    assert bucket.wait_s(4.0) == pytest.approx(2.0)
    assert [bucket.take(6.0), bucket.take(6.0)] == [True, False]


def test_bucket_never_holds_more_than_the_burst() -> None:
    bucket = TokenBucket(burst=2, interval_s=1.0, now_s=0.0)
    bucket.put_back()
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]


def test_token_that_is_put_back_can_be_taken_again() -> None:
    bucket = TokenBucket(burst=1, interval_s=1.0, now_s=0.0)
    assert bucket.take(0.0)
    bucket.put_back()
    assert bucket.take(0.0)


def test_repeated_warning_is_logged_once_per_interval_with_the_number_suppressed() -> None:
    now = 0.0
    limited = RateLimitedWarning(clock=lambda: now)
    with capture_logs() as lines:
        for _ in range(1000):
            limited.warning("refused a client", peer="192.0.2.1")
        now += 10
        limited.warning("refused a client", peer="192.0.2.2")
        now += 10
        limited.warning("refused a client", peer="192.0.2.3")
    logged = [(line["peer"], line.get("suppressed")) for line in lines]
    assert logged == [("192.0.2.1", None), ("192.0.2.2", 999), ("192.0.2.3", None)]


def test_backoff_grows_up_to_its_maximum_and_is_jittered() -> None:
    delays = list(islice(backoff(1, 5), 2000))
    for delay, most in zip(delays, [1, 2, 4, *[5] * 1997], strict=True):
        assert most / 2 <= delay <= most
    assert len(set(delays)) > 1000
