"""The newest ID, which no command returns, is found from existing jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.search import FARTHEST, WINDOW, SearchResult, StopReason, newest_id


class Ids:
    """Those that have a job; counts the looks."""

    def __init__(self, *ids: int) -> None:
        self._ids = ids
        self.looks = 0

    def highest(self, among: range) -> int | None:
        assert len(among) <= WINDOW
        self.looks += 1
        return max((each for each in self._ids if each in among), default=None)


@given(known=st.integers(0, 10_000), gaps=st.lists(st.integers(1, WINDOW), max_size=200))
def test_the_newest_is_found_where_gaps_are_small(known: int, gaps: list[int]) -> None:
    ids = [known + sum(gaps[: end + 1]) for end in range(len(gaps))]
    assert newest_id(Ids(*ids).highest, known) == max([known, *ids])


@pytest.mark.parametrize("ahead", [0, 1, 63, 64, 65, 1000, 123_456, 2_000_000])
def test_it_takes_few_requests_however_far_it_is(ahead: int) -> None:
    class Dense(Ids):
        def highest(self, among: range) -> int | None:
            self.looks += 1
            return min(among[-1], 7 + ahead) if among[0] <= 7 + ahead else None

    ids = Dense()
    assert newest_id(ids.highest, 7) == 7 + ahead
    assert ids.looks < 2 * (FARTHEST // WINDOW).bit_length() + 2


@pytest.mark.parametrize(
    ("reason", "before"),
    [
        (StopReason.NO_JOBS, None),
        (StopReason.ALL, None),
        (StopReason.FIRST_ID, None),
        (StopReason.RESULTS, 91),
        (StopReason.IDS, 91),
        (StopReason.TIME, 91),
    ],
)
def test_a_search_continues_below_the_last_id_unless_nothing_is_left(reason: StopReason, before: int | None) -> None:
    assert SearchResult((), 100, 10, 0, 0, None, reason).before == before
