"""The console's own puts and deletions are told apart from work, or nothing is claimed."""

import pytest

from app.beanstalkd.reading import TubeRef
from app.console.own_changes import OwnChanges
from app.settings import Server
from tests.unit.console.moments import at

MAIL = TubeRef(Server("eu", "eu.example", 11300), "mail")
START_S, END_S = at(10).monotonic_s, at(40).monotonic_s


def changed(*periods: tuple[float, float | None], tube: TubeRef = MAIL, fails: bool = False) -> OwnChanges:
    """One action for each period, which put 1 job and deleted 2; without an end it is in progress."""
    second = 0.0
    own = OwnChanges(lambda: at(second))
    for began, ended in periods:
        second = began
        block = own.recorded([tube])
        (change,) = block.__enter__()
        if ended is not None:
            if not fails:
                change.put, change.deleted = 1, 2
            second = ended
            block.__exit__(None, None, None)
    return own


@pytest.mark.parametrize(
    ("own", "jobs"),
    [
        pytest.param(changed(), (0, 0), id="nothing"),
        pytest.param(changed((20, 21), (30, 34)), (2, 4), id="within the period"),
        pytest.param(changed((2, 6), (41, 42)), (0, 0), id="before and after the period"),
        pytest.param(changed((20, 21), tube=MAIL._replace(tube="other")), (0, 0), id="another tube"),
        pytest.param(changed((9, 11)), None, id="across the start"),
        pytest.param(changed((39, 41)), None, id="across the end"),
        pytest.param(changed((38, 40)), None, id="so near to the end that the reply may not count it"),
        pytest.param(changed((20, None)), None, id="in progress"),
        pytest.param(changed((20, 21), fails=True), None, id="failed halfway"),
    ],
)
def test_own_changes_within_a_period(own: OwnChanges, jobs: tuple[int, int] | None) -> None:
    assert own.within(MAIL, START_S, END_S) == jobs
