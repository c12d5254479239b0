"""A beanstalkd that DNS lists no more is let go where it surely holds nothing, and else waited for."""

from dataclasses import replace

import pytest

from app.beanstalkd.lingering import (
    IDLE_S,
    KNOWN_S,
    LINGER_S,
    Known,
    Lingering,
    is_doubted,
    is_read_elsewhere,
    is_succeeded,
    may_hold_jobs,
)
from app.beanstalkd.protocol import JobTotals, TubeStats
from app.beanstalkd.reading import Reading
from app.clock import Instant


def at(second: float) -> Instant:
    return Instant(1_800_000_000 + second, second)


NOW = at(1000)
EMPTY = JobTotals(at(999), 0, 0, 0, 0, 7)
IDLE = at(999 - IDLE_S)


def tube(name: str, *jobs: int) -> TubeStats:
    """Ready, reserved, delayed, buried."""
    return TubeStats(name, at(999), 0, *jobs, sum(jobs), 0, 0, 0, 0, 0, 0, 0)


def last(*tubes: TubeStats, jobs: JobTotals | None = EMPTY, idle_since: Instant | None = IDLE) -> Reading:
    return replace(Reading.of("life", at(999), tubes), jobs=jobs, idle_since=idle_since)


@pytest.mark.parametrize(
    ("reading", "may"),
    [
        pytest.param(last(), False, id="empty, and none came for a while"),
        pytest.param(last(tube("a", 0, 0, 0, 0)), False, id="its tubes are empty too"),
        pytest.param(last(idle_since=None), True, id="some were there"),
        pytest.param(last(jobs=None), True, id="nobody knows"),
        pytest.param(last(idle_since=at(999.1 - IDLE_S)), True, id="some came a moment ago"),
        pytest.param(replace(last(idle_since=at(999)), draining=True), False, id="none came, since it is draining"),
        pytest.param(replace(last(idle_since=at(999)), draining=False), True, id="it isn't draining"),
        pytest.param(replace(last(idle_since=None), draining=True), True, id="it is draining, and has some"),
        pytest.param(last(tube("a", 1, 0, 0, 0)), True, id="one came after its stats"),
        pytest.param(last(tube("a", 0, 0, 0, 1)), True, id="a buried one"),
        pytest.param(last(jobs=EMPTY._replace(answered_at=at(999.9 - KNOWN_S)), idle_since=at(0)), True, id="long ago"),
    ],
)
def test_it_may_hold_jobs_unless_all_that_was_heard_of_it_leaves_no_room_for_one(reading: Reading, may: bool) -> None:
    assert may_hold_jobs(reading, NOW) is may


def test_it_tells_why_since_when_how_many_and_until_what() -> None:
    lost = replace(last(tube("a", 1, 1, 1, 0), tube("b", 0, 0, 0, 2)), hostname="queue-0")
    lingering = Lingering.begin(lost, NOW)
    assert lingering.jobs == 5
    assert lingering.told("connection refused") == (
        "connection refused, and DNS hasn't listed its address since 2027-01-15T08:16:40Z: it is waited for until DNS"
        " does, or the host 'queue-0' is read at a new address, or DNS still doesn't at 2027-01-15T08:19:40Z"
    )
    nameless = Lingering.begin(replace(lost, hostname=None), NOW)
    assert "until DNS does, or DNS still doesn't at" in nameless.told("connection refused")


def test_it_is_waited_for_three_minutes() -> None:
    lingering = Lingering.begin(last(), NOW)
    assert not lingering.is_over(at(1000 + LINGER_S - 1))
    assert lingering.is_over(at(1000 + LINGER_S))


def known(
    life: str, hostname: str | None = "queue-0", *, listed_s: float = 0, read_s: float = 999, is_read: bool = True
) -> Known:
    reading = replace(Reading.of(life, at(read_s), ()), hostname=hostname)
    return Known(at(listed_s), reading, at(read_s), is_read, (life,))


LOST = known("old", read_s=500, is_read=False)
BACK = known("new", listed_s=501)


def test_its_pod_is_back_where_a_new_address_has_its_host_name() -> None:
    assert is_succeeded(LOST, [BACK, known("other", "queue-1")])


def test_a_pod_that_was_lost_at_several_addresses_one_after_the_other_is_back_for_each() -> None:
    again = known("newer", listed_s=501, read_s=600, is_read=False)
    back = known("newest", listed_s=601)
    assert is_succeeded(LOST, [back, again])
    assert is_succeeded(again, [LOST, back])
    assert not is_succeeded(LOST, [again])
    assert not is_succeeded(LOST, [back, again._replace(read_at=at(602))]), "two have its name at the same time"


@pytest.mark.parametrize(
    ("lost", "others"),
    [
        pytest.param(LOST, [], id="nobody"),
        pytest.param(LOST, [known("new", "queue-1", listed_s=501)], id="another host"),
        pytest.param(LOST, [known("new", None, listed_s=501)], id="nobody knows"),
        pytest.param(known("old", None, is_read=False), [known("new", None, listed_s=1000)], id="neither has a name"),
        pytest.param(LOST, [known("new", listed_s=499)], id="it was there before"),
        pytest.param(LOST, [BACK._replace(is_read=False)], id="it isn't read (any more)"),
        pytest.param(LOST, [BACK._replace(reading=None, is_read=False)], id="it was never read"),
        pytest.param(LOST, [BACK, known("other", listed_s=0)], id="the name says nothing, because others share it"),
    ],
)
def test_its_pod_isnt_back_while_there_is_doubt(lost: Known, others: list[Known]) -> None:
    assert not is_succeeded(lost, others)


def test_it_is_read_elsewhere_where_another_address_leads_or_led_to_it() -> None:
    restarted = BACK._replace(lives=("newer", "old"))
    assert is_read_elsewhere(LOST, [BACK, known("old")])
    assert is_read_elsewhere(LOST, [restarted])
    assert not is_read_elsewhere(LOST, [BACK])
    assert not is_read_elsewhere(LOST, [restarted._replace(is_read=False)])
    assert not is_read_elsewhere(LOST._replace(reading=None), [known("old")])


def test_its_last_reading_is_doubted_beside_an_address_that_came_since() -> None:
    assert is_doubted(LOST, [known("other"), BACK._replace(reading=None, is_read=False)])
    assert not is_doubted(LOST, [known("other", listed_s=499)])
