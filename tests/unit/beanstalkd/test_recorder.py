"""Recorder follow one another: what a round learned isn't lost in a sweep, and counters belong to one life."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.protocol import JobTotals, TubeStats
from app.beanstalkd.reading import Counts, NextJob, Reading
from app.beanstalkd.recorder import MIN_WINDOW_S, RATE_WINDOW_S, Recorder, TubeReplies
from app.clock import Instant


def at(second: float) -> Instant:
    return Instant(1_800_000_000 + second, second)


def tube(name: str, second: float, total: int = 0, deleted: int = 0) -> TubeStats:
    return TubeStats(name, at(second), 0, total - deleted, 0, 0, 0, total, 0, 0, 0, deleted, 0, 0, 0)


def answers(second: float, *missed: str, **totals: int) -> TubeReplies:
    given = TubeReplies()
    given.tubes = {name: tube(name, second, total) for name, total in totals.items()}
    given.missed = dict.fromkeys(missed, at(second))
    return given


def swept(readings: Recorder, second: float, server_id: str = "life", **totals: int) -> Reading:
    return readings.record_sweep(server_id, at(second), answers(second, **totals), at(second), 0.1)


def renewed(readings: Recorder, second: float, *missed: str, **totals: int) -> Reading:
    return readings.record_round(answers(second, *missed, **totals), at(second))


def test_a_round_updates_requested_tubes_and_the_listing_keeps_its_age() -> None:
    readings = Recorder()
    swept(readings, 0, checkout=1, mail=1, fleeting=1)
    reading = renewed(readings, 1, "fleeting", "nobody", mail=2, Fresh=3)
    assert {name: stats.total_jobs for name, stats in reading.tubes.items()} == {"checkout": 1, "mail": 2, "Fresh": 3}
    assert reading.names == ("Fresh", "checkout", "mail")
    assert dict(reading.cased) == {"fresh": ("Fresh",)}
    assert reading.listed_at == at(0)
    asked = ("checkout", "mail", "fleeting", "nobody", "other")
    assert [reading.answered_at(name) for name in asked] == [at(0), at(1), at(1), at(1), at(0)]


def test_a_tube_that_is_back_isnt_missing() -> None:
    readings = Recorder()
    swept(readings, 0)
    renewed(readings, 1, "checkout")
    assert dict(renewed(readings, 2, checkout=1).missed) == {}


def test_names_are_the_same_object_while_no_tube_comes_or_goes() -> None:
    readings = Recorder()
    first = swept(readings, 0, checkout=1, Mail=1)
    again = renewed(readings, 1, checkout=2)
    last = swept(readings, 2, Mail=1, checkout=2)
    assert last.names is again.names is first.names
    assert last.cased is first.cased
    assert swept(readings, 3, checkout=2).names == ("checkout",)


def test_the_later_of_two_replies_about_a_tube_in_a_sweep_applies() -> None:
    sweep = answers(1, "gone", checkout=1, vanishing=1)
    sweep.update(answers(2, "vanishing", checkout=2, gone=5))
    assert (sweep.tubes["checkout"].total_jobs, sweep.tubes["gone"].total_jobs) == (2, 5)
    assert sweep.missed == {"vanishing": at(2)}


def test_next_jobs_are_kept_until_the_server_restarts() -> None:
    readings = Recorder()
    swept(readings, 0, checkout=1)
    readings.record_next_jobs({"checkout": NextJob(at(0), 7)})
    assert swept(readings, 1, checkout=1).next_jobs["checkout"].age_s == 7
    assert renewed(readings, 2, checkout=1).next_jobs["checkout"].age_s == 7
    assert not swept(readings, 3, "another life", checkout=1).next_jobs


def test_one_reading_has_no_earlier_counters() -> None:
    reading = swept(Recorder(), 0, checkout=1)
    assert dict(reading.earlier) == {}
    assert reading.listed_earlier_at is None


def test_a_new_tube_had_no_jobs_while_the_listing_omitted_it() -> None:
    readings = Recorder()
    swept(readings, 0)
    swept(readings, 1)
    assert swept(readings, 2, checkout=5).earlier["checkout"] == Counts(at(1), 0, 0)


@pytest.mark.parametrize("reborn", [{"total": 3, "deleted": 3}, {"total": 20, "deleted": 4}], ids=["jobs", "deletions"])
def test_a_counter_that_decreased_starts_again(reborn: Mapping[str, int]) -> None:
    readings = Recorder()
    for second, counts in enumerate([{"total": 10, "deleted": 5}, {"total": 12, "deleted": 6}, reborn]):
        one = TubeReplies()
        one.tubes = {"checkout": tube("checkout", second, **counts)}
        reading = readings.record_sweep("life", at(second), one, at(second), 0.1)
    assert reading.earlier["checkout"] == Counts(at(1), 0, 0)


def test_a_restarted_server_has_no_earlier_counters() -> None:
    readings = Recorder()
    swept(readings, 0, checkout=1)
    swept(readings, 1, checkout=2)
    reading = swept(readings, 2, "another life", checkout=3)
    assert dict(reading.earlier) == {}
    assert reading.listed_earlier_at is None


def taken(before: TubeReplies, second: float, count: int, own_connections: int) -> TubeReplies:
    """Return replies about two tubes of which every field is `count`."""
    fields = "".join(f"{field.replace('_', '-')}: {count}\n" for field in TubeStats._fields[2:-1])
    replies = TubeReplies(before.tubes)
    bodies = [(f"---\nname: {name}\n{fields}".encode(), name) for name in ("checkout", "default")]
    replies.take(bodies, at(second), own_connections)
    return replies


def test_an_equal_reply_is_a_new_confirmation_of_the_same_numbers() -> None:
    before = taken(TubeReplies(), 0, count=3, own_connections=1)
    after = taken(before, 1, count=3, own_connections=2)
    assert after.tubes["checkout"] == before.tubes["checkout"]._replace(answered_at=at(1))
    assert [replies.tubes["default"].current_watching for replies in (before, after)] == [2, 1]
    assert taken(after, 2, count=4, own_connections=2).tubes["checkout"].current_jobs_ready == 4


def test_after_a_long_outage_there_are_no_earlier_counters() -> None:
    readings = Recorder()
    swept(readings, 0, checkout=1)
    readings.resume(at(RATE_WINDOW_S))
    assert swept(readings, RATE_WINDOW_S, checkout=2).earlier["checkout"] == Counts(at(0), 1, 0)
    readings.resume(at(RATE_WINDOW_S * 2 + 1))
    assert dict(swept(readings, RATE_WINDOW_S * 2 + 1, checkout=3).earlier) == {}


def test_a_job_put_between_two_close_readings_has_no_rate_yet() -> None:
    readings = Recorder()
    swept(readings, 0)
    assert dict(renewed(readings, MIN_WINDOW_S / 2, checkout=1).earlier) == {}
    assert renewed(readings, 1, checkout=1).earlier["checkout"] == Counts(at(0), 0, 0)


def test_rates_are_over_about_half_a_minute() -> None:
    readings = Recorder()
    for second in range(200):
        reading = swept(readings, second, checkout=second)
        if second > 40:
            assert 24 <= reading.earlier["checkout"].answered_at.age_s(at(second)) <= 36
            assert reading.listed_earlier_at
            assert 24 <= reading.listed_earlier_at.age_s(at(second)) <= 36


def test_with_sweeps_minutes_apart_rates_cover_minutes_except_for_requested_tubes() -> None:
    readings = Recorder()
    for second in range(500):
        if second % 100 == 0:
            reading = swept(readings, second, checkout=second, mail=second)
        else:
            reading = renewed(readings, second, checkout=second)
        if second > 200:
            assert 24 <= reading.earlier["checkout"].answered_at.age_s(at(second)) <= 36
            assert reading.earlier["mail"].answered_at == at(second // 100 * 100 - 100)


def test_with_sweeps_minutes_apart_a_new_tubes_rate_lasts_until_the_next() -> None:
    readings = Recorder()
    swept(readings, 0, mail=1)
    swept(readings, 100, mail=1, checkout=5)
    for second in range(101, 200):
        reading = renewed(readings, second, mail=1)
    assert reading.earlier["checkout"] == Counts(at(0), 0, 0)
    assert swept(readings, 200, checkout=7).earlier["checkout"] == Counts(at(100), 5, 0)


def test_counters_beyond_63_bits_are_kept() -> None:
    readings = Recorder()
    swept(readings, 0, checkout=10**19 - 1)
    assert swept(readings, 1, checkout=10**19 - 1).earlier["checkout"].total_jobs == 10**19 - 1


@dataclass
class Reference:
    """All that was ever heard of each tube's present life, kept whole."""

    server_id: str = ""
    lives: dict[str, list[Counts]] = field(default_factory=dict)
    lacking: dict[str, Instant] = field(default_factory=dict)
    listed_at: Instant | None = None

    def hear(self, name: str, heard: Counts) -> None:
        life = self.lives.get(name)
        if life is None:
            lacked_at = self.lacking.get(name, self.listed_at)
            life = self.lives[name] = [Counts(lacked_at, 0, 0)] if lacked_at else []
        elif heard.total_jobs < life[-1].total_jobs or heard.cmd_delete < life[-1].cmd_delete:
            life = self.lives[name] = [Counts(life[-1].answered_at, 0, 0)]
        life.append(heard)

    def lack(self, name: str, moment: Instant) -> None:
        self.lives.pop(name, None)
        self.lacking[name] = moment


TUBES = ("checkout", "mail", "Log")
COUNTS = st.tuples(st.integers(0, 5), st.integers(0, 5))
STEPS = st.lists(
    st.tuples(
        st.floats(0.1, 12),
        st.sampled_from(["sweep", "sweep", "sweep", "round", "round", "restart"]),
        st.dictionaries(st.sampled_from(TUBES), COUNTS),
        st.sets(st.sampled_from(TUBES)),
    ),
    min_size=1,
    max_size=40,
)
"""Seconds until then; what is done; puts and deletions a tube; tubes that vanished first, so that theirs start at 0."""


@given(STEPS)
def test_earlier_counters_were_read_in_the_same_generation(
    steps: list[tuple[float, str, dict[str, tuple[int, int]], set[str]]],
) -> None:
    readings, reference = Recorder(), Reference()
    there: dict[str, tuple[int, int]] = {}
    second, life = 0.0, 0
    for after_s, done, came, vanished in steps:
        second += after_s
        if done == "restart":
            life, there = life + 1, {}
        there = {name: counts for name, counts in there.items() if name not in vanished}
        for name, (put, deleted) in came.items():
            total, deletions = there.get(name, (0, 0))
            there[name] = (total + put, deletions + deleted)
        reading = _step(readings, reference, f"life {life}", done, there, second)
        for name, stats in reading.tubes.items():
            _check(reading.earlier.get(name), reference.lives[name], stats)


def _step(
    readings: Recorder,
    reference: Reference,
    server_id: str,
    done: str,
    there: Mapping[str, tuple[int, int]],
    second: float,
) -> Reading:
    now, heard = at(second), TubeReplies()
    if reference.server_id != server_id:
        reference.__init__(server_id)  # type: ignore[misc]
        done = "sweep"
    asked = TUBES if done != "round" else TUBES[:2]
    for name in asked:
        if name in there:
            heard.tubes[name] = tube(name, second, *there[name])
            reference.hear(name, Counts(now, *there[name]))
        else:
            reference.lack(name, now)
            if done == "round":
                heard.missed[name] = now
    if done == "round":
        return readings.record_round(heard, now)
    reference.listed_at = now
    return readings.record_sweep(server_id, now, heard, now, 0.1)


def _check(earlier: Counts | None, life: list[Counts], stats: TubeStats) -> None:
    oldest_s = life[0].answered_at.age_s(stats.answered_at)
    if earlier is None:
        assert oldest_s < MIN_WINDOW_S, "a life that long has something earlier"
        return
    assert earlier in life
    assert earlier.answered_at.age_s(stats.answered_at) >= MIN_WINDOW_S
    assert stats.total_jobs >= earlier.total_jobs
    assert stats.cmd_delete >= earlier.cmd_delete


def server_stats(jobs: int, draining: str) -> bytes:
    states = "".join(f"current-jobs-{state}: 0\n" for state in ("urgent", "reserved", "delayed", "buried"))
    more = f"draining: {draining}\nid: 00ff\n"
    return f"---\ncurrent-jobs-ready: {jobs}\n{states}{more}".encode()


def test_each_reading_has_the_stats_of_the_same_generation_of_the_server() -> None:
    readings = Recorder()
    assert swept(readings, 0).jobs is None
    readings.record_stats("life", server_stats(1, "true"), at(1))
    for reading in (renewed(readings, 1, checkout=1), swept(readings, 2, checkout=1)):
        assert (reading.jobs, reading.draining) == (JobTotals(at(1), 1, 0, 0, 0), True)
    readings.resume(at(3))
    assert swept(readings, 3, checkout=1).jobs == reading.jobs
    other = swept(readings, 4, server_id="another")
    assert (other.jobs, other.draining) == (None, None)
