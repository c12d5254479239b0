"""An hour of each tube's jobs: as they were, unknown where they weren't known, and bounded."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.reading import Snapshot, TubeRef
from app.console.history import POINTS, SPARK_POINTS, STATES, STEP_S, History, ReplicaTrack
from app.settings import Server
from tests.unit.console.moments import MAX_AGE_S, at, sampled, server, tube

ORDERS = TubeRef(Server("eu", "eu.example", 11300), "orders")


def jobs(history: History, where: TubeRef = ORDERS) -> list[int | None]:
    """Ready ones."""
    return list(history.series(where)["ready"])


def read(turn: int, **ready: int) -> tuple:
    return (server(*(tube(name, ready=number) for name, number in ready.items()), second=turn * STEP_S),)


def test_a_new_tube_had_no_jobs_before() -> None:
    history = sampled(read(0), read(1, orders=0), read(2, orders=3), read(3, orders=1))
    assert jobs(history) == [0, 0, 3, 1]


def test_a_vanished_tube_has_no_jobs_in_its_history() -> None:
    assert jobs(sampled(read(0, orders=2), read(1))) == [2, 0]


def test_while_a_server_cant_be_read_its_tubes_are_unknown() -> None:
    stale = (server(tube(ready=5), second=-MAX_AGE_S),)
    history = sampled(read(0, orders=5), stale, stale, read(3, orders=7))
    assert jobs(history) == [5, None, None, 7]
    assert jobs(history, TubeRef(Server("eu", "eu.example", 11300), "nobody")) == [0, None, None, 0]


def test_a_new_server_has_no_history() -> None:
    us = server(tube(ready=1), name="us", second=STEP_S)
    history = sampled(read(0, orders=1), (*read(1, orders=1), us))
    assert jobs(history, TubeRef(Server("us", "us.example", 11300), "orders")) == [None, 1]
    assert jobs(history, TubeRef(Server("nobody", "nobody.example", 11300), "orders")) == [None, None]


def test_a_sparkline_is_the_last_five_minutes_of_ready_and_reserved_jobs() -> None:
    history = sampled(*((server(tube(ready=turn, reserved=1), second=turn * STEP_S),) for turn in range(100)))
    assert history.spark(ORDERS) == [turn + 1 for turn in range(100 - SPARK_POINTS, 100)]


def test_one_hour_is_kept() -> None:
    history = sampled(*(read(turn, orders=turn) for turn in range(POINTS + 500)))
    series = history.series(ORDERS)
    assert [len(series[name]) for name in ("t", *STATES)] == [POINTS] * 5
    assert series["ready"] == list(range(500, POINTS + 500))
    assert series["t"][-1] == at((POINTS + 499) * STEP_S).unix_s


def test_empty_tubes_use_no_memory() -> None:
    history = sampled(read(0, **{f"empty-{number}": 0 for number in range(1000)}, orders=1))
    assert len(history) == 1


def test_a_tube_without_jobs_for_an_hour_frees_its_memory_and_still_shows_zeros() -> None:
    history = sampled(read(0, orders=1), *(read(turn, orders=0) for turn in range(1, POINTS + 130)))
    assert len(history) == 0
    assert jobs(history) == [0] * POINTS


def test_beyond_the_limit_a_busy_tube_is_unknown_rather_than_empty() -> None:
    history = sampled(read(0, first=1, second=2), history=History(max_tracks=1))
    assert jobs(history, TubeRef(Server("eu", "eu.example", 11300), "first")) == [1]
    assert jobs(history, TubeRef(Server("eu", "eu.example", 11300), "second")) == [None]


def test_a_count_too_large_to_store_is_the_maximum_and_never_unknown() -> None:
    assert jobs(sampled(read(0, orders=2**40))) == [2**32 - 2]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)) | st.none(), min_size=1, max_size=30))
def test_the_history_has_the_values_of_each_moment(moments: list[Mapping[str, int] | None]) -> None:
    history = History()
    for turn, tubes in enumerate(moments):
        states = () if tubes is None else read(turn, **tubes)
        history.sample(Snapshot(states), at(turn * STEP_S), MAX_AGE_S)
    for name in "abc":
        known = [None if tubes is None else tubes.get(name, 0) for tubes in moments]
        assert jobs(history, TubeRef(Server("eu", "eu.example", 11300), name)) == known


def test_an_autoscalers_series_has_gaps_where_nothing_was_known() -> None:
    track = ReplicaTrack()
    track.add(1.0, 20.0, 2.5, 8, 4)
    track.add(6.0, None, None, None, None)
    assert track.series() == {
        "t": [1, 6],
        "value": [20, None],
        "target": [2.5, None],
        "desired": [8, None],
        "current": [4, None],
    }
