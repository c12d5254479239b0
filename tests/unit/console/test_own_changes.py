"""Periods in which the console itself changed jobs are known, so that no trend counts them."""

import pytest

from app.beanstalkd.reading import TubeRef
from app.console.own_changes import OwnChanges
from app.settings import Server
from tests.unit.console.moments import at

MAIL = TubeRef(Server("eu", "eu.example", 11300), "mail")
START_S, END_S = at(10).monotonic_s, at(40).monotonic_s


def changed(*periods: tuple[float, float | None], tube: TubeRef = MAIL, deletes: bool = True) -> OwnChanges:
    """One action for each period; without an end it is in progress."""
    second = 0.0
    own = OwnChanges(lambda: at(second))
    for began, ended in periods:
        second = began
        block = own.recorded([tube], deletes=deletes)
        block.__enter__()
        if ended is not None:
            second = ended
            block.__exit__(None, None, None)
    return own


@pytest.mark.parametrize(
    ("own", "overlaps"),
    [
        pytest.param(changed(), False, id="nothing"),
        pytest.param(changed((20, 21), (30, 34)), True, id="within the period"),
        pytest.param(changed((2, 6), (41, 42)), False, id="before and after the period"),
        pytest.param(changed((20, 21), tube=MAIL._replace(tube="other")), False, id="another tube"),
        pytest.param(changed((9, 11)), True, id="across the start"),
        pytest.param(changed((9, 9.9)), True, id="so near to the start that the first reply may not count it"),
        pytest.param(changed((39, 41)), True, id="across the end"),
        pytest.param(changed((20, None)), True, id="in progress"),
    ],
)
def test_own_changes_in_a_period(own: OwnChanges, overlaps: bool) -> None:
    assert own.overlap(MAIL, START_S, END_S) is overlaps


def test_only_some_changes_delete_jobs() -> None:
    assert changed((20, 21)).overlap(MAIL, START_S, END_S, deleting=True)
    assert not changed((20, 21), deletes=False).overlap(MAIL, START_S, END_S, deleting=True)
