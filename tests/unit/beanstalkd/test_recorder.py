"""Recorder follow one another: what a round learned isn't lost in a sweep, and counters belong to one life."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.protocol import InvalidField, JobTotals, PartialTubeStats, TubeStats
from app.beanstalkd.reading import Counts, NextJob, Reading
from app.beanstalkd.recorder import MIN_WINDOW_S, RATE_WINDOW_S, Recorder, TubeReplies
from app.clock import Instant


def at(second: float) -> Instant:
    return Instant(1_800_000_000 + second, second)


def tube(name: str, second: float, total: int = 0, deleted: int = 0) -> TubeStats:
    return TubeStats(name, at(second), 0, max(0, total - deleted), 0, 0, 0, total, 0, 0, 0, deleted, 0, 0, 0)


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


def test_a_new_tube_had_no_jobs_as_far_back_as_listings_omitted_it() -> None:
    readings = Recorder()
    for second in range(40):
        swept(readings, second)
    assert swept(readings, 40, checkout=5).earlier["checkout"] == Counts(at(12), 0, 0)


@pytest.mark.parametrize("reborn", [{"total": 3, "deleted": 3}, {"total": 20, "deleted": 4}], ids=["jobs", "deletions"])
def test_a_counter_that_decreased_continues_where_it_ended(reborn: Mapping[str, int]) -> None:
    """The tube ended, so all of its 12 jobs were deleted, not only the 6 of the last reading."""
    readings = Recorder()
    for second, counts in ((0, {"total": 10, "deleted": 5}), (9, {"total": 12, "deleted": 6}), (10, reborn)):
        one = TubeReplies()
        one.tubes = {"checkout": tube("checkout", second, **counts)}
        reading = readings.record_sweep("life", at(second), one, at(second), 0.1)
    assert reading.earlier["checkout"] == Counts(at(0), 10 - 12, 5 - 12)


def test_a_tube_that_ended_keeps_its_rate_until_the_window_ends() -> None:
    readings = Recorder()
    swept(readings, 0)
    swept(readings, 1, checkout=10)
    for second in range(2, 80):
        reading = swept(readings, second)
        if second < MIN_WINDOW_S:
            continue
        earlier = reading.earlier["checkout"]
        window_s = earlier.answered_at.age_s(at(second))
        assert earlier[1:] == ((-10, -10) if earlier.answered_at == at(0) else (0, 0))
        assert 24 <= window_s <= 36 or second < 30
    assert earlier[1:] == (0, 0)


@pytest.mark.parametrize("sweeps_s", [1, 100], ids=["all are read every second", "only requested ones are"])
@pytest.mark.parametrize("gone", [(), range(45, 46), range(50, 55)], ids=["stays", "for a second", "for five"])
def test_a_rate_is_the_same_whether_a_tube_existed_before_or_not(sweeps_s: int, gone: Collection[int]) -> None:
    """Both get 10 jobs after 40 s, of which 8 are deleted until 44 s and 2 at 45 s, and 5 more at 60 s."""

    def counters(second: int) -> tuple[int, int]:
        total = 0 if second < 40 else 10 if second < 60 else 15
        return total, 0 if second < 44 else 8 if second < 45 else 10

    readings, ended = Recorder(), (0, 0)
    for second in range(110):
        replies, (total, deleted) = TubeReplies(), counters(second)
        replies.tubes["kept"] = tube("kept", second, total, deleted)
        if second in gone or second < 40:
            ended = (10, 10) if second in gone else (0, 0)
            replies.missed["new"] = at(second)
        else:
            replies.tubes["new"] = tube("new", second, total - ended[0], deleted - ended[1])
        if second % sweeps_s:
            reading = readings.record_round(replies, at(second))
        else:
            reading = readings.record_sweep("life", at(second), replies, at(second), 0.1)
        if second >= MIN_WINDOW_S:
            grown = {name: growth_of(reading, name) for name in ("kept", "new")}
            assert grown["kept"] == grown["new"], second


def growth_of(reading: Reading, name: str) -> tuple[float, int, int]:
    """The window in seconds, and the jobs that were put and deleted within it."""
    stats, earlier = reading.tubes.get(name), reading.earlier[name]
    assert earlier.total_jobs is not None
    assert earlier.cmd_delete is not None
    total, deleted = (stats.total_jobs, stats.cmd_delete) if stats else (0, 0)
    window_s = earlier.answered_at.age_s(reading.answered_at(name))
    return window_s, total - earlier.total_jobs, deleted - earlier.cmd_delete


def test_an_invalid_counter_has_no_rate_and_the_other_counter_has_one() -> None:
    """Afterwards, nobody knows whether it restarted meanwhile: what was before doesn't count."""
    readings = Recorder()
    for second in range(60):
        one = TubeReplies()
        stats = tube("checkout", second, total=second, deleted=second)
        if 5 <= second < 15:
            invalid = stats._replace(cmd_delete=InvalidField("cmd-delete", "missing"))  # type: ignore[arg-type]
            stats = PartialTubeStats._make(invalid)
        one.tubes = {"checkout": stats}
        reading = readings.record_sweep("life", at(second), one, at(second), 0.1)
        if second >= MIN_WINDOW_S:
            earlier = reading.earlier["checkout"]
            known = earlier.answered_at.monotonic_s >= 15 or second < 15
            assert earlier.total_jobs == earlier.answered_at.monotonic_s
            assert earlier.cmd_delete == (earlier.total_jobs if known else None)


@pytest.mark.parametrize(("uptime_s", "put"), [(0, 10 + 5), (1, 10 + 5), (3, None), (3600, None)])
def test_rates_continue_over_a_restart_of_the_server(uptime_s: int, put: int | None) -> None:
    """The counters of a server that already ran when the other one was last read have nothing to do with its."""
    readings = Recorder()
    for second in range(21):
        swept(readings, second, checkout=100 if second < 5 else 110)
    readings.resume(at(22))
    readings.record_stats("another life", server_stats(5, "false") + b"uptime: %d\n" % uptime_s, at(22))
    reading = swept(readings, 22, "another life", checkout=5, mail=5)
    if put is None:
        assert dict(reading.earlier) == {}
        return
    assert growth_of(reading, "checkout") == (22, put, 0)
    assert growth_of(reading, "mail") == (22, 5, 0)
    assert growth_of(renewed(readings, 23, checkout=5), "checkout") == (23, put, 0)


def test_another_server_has_no_earlier_counters() -> None:
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
    assert dict(renewed(readings, 9.9, checkout=1).earlier) == {}
    assert renewed(readings, 10, checkout=1).earlier["checkout"] == Counts(at(0), 0, 0)


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
    assert swept(readings, MIN_WINDOW_S, checkout=10**19 - 1).earlier["checkout"].total_jobs == 10**19 - 1


@dataclass
class Reference:
    """All that was ever heard of each tube, kept whole, as counters that never restart."""

    server_id: str = ""
    heard: dict[str, list[Counts]] = field(default_factory=dict)
    last: dict[str, Counts] = field(default_factory=dict)
    ended: dict[str, tuple[int, int]] = field(default_factory=dict)

    def hear(self, name: str, heard: Counts) -> None:
        last = self.last.get(name)
        if last and ((heard.total_jobs or 0) < (last.total_jobs or 0) or (heard.cmd_delete or 0) < last[2]):  # type: ignore[operator]
            self.end(name)
        self.last[name] = heard
        put, deleted = self.ended.get(name, (0, 0))
        self.heard.setdefault(name, []).append(heard._replace(total_jobs=put + heard[1], cmd_delete=deleted + heard[2]))  # type: ignore[operator]

    def end(self, name: str) -> None:
        """Without a job: all that were put are deleted, and perhaps some that a binlog restored."""
        (put, deleted), last = self.ended.get(name, (0, 0)), self.last.pop(name)
        self.ended[name] = put + last[1], deleted + max(last[1:])  # type: ignore[operator,type-var]

    def lack(self, name: str, moment: Instant) -> None:
        if name in self.last:
            self.end(name)
        self.heard.setdefault(name, []).append(Counts(moment, *self.ended.get(name, (0, 0))))


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
def test_earlier_counters_were_read_and_continue_to_the_present_ones(
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
        for name in TUBES:
            _check(reading, name, reference)


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
    return readings.record_sweep(server_id, now, heard, now, 0.1)


def _check(reading: Reading, name: str, reference: Reference) -> None:
    heard, earlier = reference.heard[name], reading.earlier.get(name)
    if earlier is None:
        assert heard[0].answered_at.age_s(reading.answered_at(name)) < MIN_WINDOW_S, "what is that old has a rate"
        return
    assert earlier.answered_at.age_s(reading.answered_at(name)) >= MIN_WINDOW_S
    ended = reference.ended.get(name, (0, 0))
    assert earlier._replace(total_jobs=earlier[1] + ended[0], cmd_delete=earlier[2] + ended[1]) in heard  # type: ignore[operator]
    _, put, deleted = growth_of(reading, name)
    assert put >= 0
    assert deleted >= 0


def server_stats(jobs: int, draining: str) -> bytes:
    states = "".join(f"current-jobs-{state}: 0\n" for state in ("urgent", "reserved", "delayed", "buried"))
    more = f"draining: {draining}\nid: 00ff\n"
    return f"---\ncurrent-jobs-ready: {jobs}\n{states}{more}".encode()


def test_timeouts_are_averaged_over_a_minute_of_one_server_start() -> None:
    readings = Recorder()
    for second, timeouts in ((0, 100), (1, 100), (41, 120), (61, 130), (62, 131)):
        readings.record_stats("life", server_stats(1, "true") + b"job-timeouts: %d\n" % timeouts, at(second))
        assert (swept(readings, second).timeouts_per_second is None) == (second < 10)
    assert swept(readings, 62).timeouts_per_second == 11 / 21  # from second 41 on
    readings.record_stats("life", server_stats(1, "true") + b"job-timeouts: 231\n", at(162))
    assert swept(readings, 162).timeouts_per_second == 1
    readings.record_stats("other", server_stats(1, "true") + b"job-timeouts: 0\n", at(63))
    assert swept(readings, 63, server_id="other").timeouts_per_second is None


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


def paused(second: float, pauses: int = 0, pause_s: int = 0) -> TubeReplies:
    replies = TubeReplies()
    replies.tubes = {"checkout": tube("checkout", second)._replace(cmd_pause_tube=pauses, pause=pause_s)}
    return replies


def test_the_end_of_a_pause_is_known_from_readings() -> None:
    readings = Recorder()
    for second, pauses, pause_s, unpaused_s in [
        (0, 0, 0, None),
        (1, 1, 60, 1),
        (2, 1, 60, 2),
        (3, 1, 0, 3),
        (4, 1, 0, 3),
        (5, 2, 0, 5),  # a pause began and ended between two readings
        (6, 2, 0, 5),
        (7, 1, 0, 7),  # the tube was created again, and paused since
        (8, 0, 0, None),  # and again
    ]:
        for reading in (
            readings.record_sweep("life", at(second), paused(second, pauses, pause_s), at(second), 0.1),
            readings.record_round(paused(second, pauses, pause_s), at(second)),
        ):
            assert dict(reading.unpaused) == ({} if unpaused_s is None else {"checkout": at(unpaused_s)})


def test_pauses_and_next_jobs_are_known_after_a_long_outage_too() -> None:
    readings = Recorder()
    readings.record_sweep("life", at(0), paused(0, 1, 60), at(0), 0.1)
    readings.record_sweep("life", at(1), paused(1, 1), at(1), 0.1)
    readings.record_next_jobs({"checkout": NextJob(at(1), 7)})
    readings.resume(at(RATE_WINDOW_S * 10))
    reading = readings.record_sweep("life", at(RATE_WINDOW_S * 10), paused(RATE_WINDOW_S * 10, 1), at(0), 0.1)
    assert (dict(reading.unpaused), dict(reading.earlier)) == ({"checkout": at(1)}, {})
    assert reading.next_jobs["checkout"].age_s == 7
    other = readings.record_sweep("another", at(400), paused(400, 1), at(400), 0.1)
    assert (dict(other.unpaused), dict(other.next_jobs)) == ({"checkout": at(400)}, {})
