"""Which increases count for the scaling policies."""

from app.scaler.history import History
from tests.unit.console.moments import at


def test_what_was_before_the_start_may_all_have_been_added_just_now() -> None:
    assert History.start(7, 1, at(0)).changes(at(16), 60) == ((0.0, 6),)
    assert History.start(1, 1, at(0)).changes(at(16), 60) == ()


def test_increases_count_whoever_made_them_and_decreases_do_not() -> None:
    history = History.start(1, 1, at(0)).seen(5, at(10)).seen(5, at(11)).seen(2, at(20)).seen(4, at(30))
    assert history.changes(at(46), 60) == ((20.0, 4), (0.0, 2))


def test_none_counts_after_the_period_and_none_is_kept_after_the_longest() -> None:
    """It counts for a sync more, because the controller would have made it up to a sync later."""
    history = History.start(1, 1, at(0)).seen(5, at(10))
    assert history.changes(at(40.5), 15) == ((14.5, 4),)
    assert history.changes(at(41), 15) == ()
    assert history.seen(6, at(1900)).increases == ((at(1900), 1),)
