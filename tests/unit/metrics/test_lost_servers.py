"""One that DNS lists no more is an outage like any other; who may know how many jobs are missing is told it."""

from dataclasses import replace
from fractions import Fraction

import pytest

from app.beanstalkd.reading import Failure, ServerState
from app.metrics.explanation import explanation
from app.metrics.freshness import outages
from app.metrics.metric import Question, StaleReadingError
from app.metrics.rules import Hold, Instead
from app.metrics.selector import EVERYTHING
from tests.unit.metrics.given import ago, asked, known, quantities, rule, server, tube

WHY = "connection refused, and DNS hasn't listed its address since 2027-01-15T08:00:00Z: it is waited for"
HAD = "; it had 1,005 jobs when it was last read"
US = server("eu", tube("a", ready=10), member="10.0.0.2")
HELD = [rule("held", on_failure=Hold(300)), rule("instead", on_failure=Instead(Fraction(8)))]


def lost(age_s: float, *, jobs: int = 1005, doubted: bool = False) -> ServerState:
    state = server("eu", tube("a", ready=5, age_s=age_s), age_s=age_s, member="10.0.0.3")
    return replace(state, failure=Failure(WHY, ago(age_s), jobs), doubted=doubted)


def test_its_last_reading_counts_while_it_is_young_and_then_fails_what_spans_it() -> None:
    assert quantities(asked("tube-a", "", known(US, lost(15)))) == ["15"]
    with pytest.raises(StaleReadingError) as stale:
        asked("tube-a", "", known(US, lost(16)))
    assert str(stale.value) == (
        f"beanstalkd 'eu' at 10.0.0.3 (eu.example:11300) can't be read: {WHY}{HAD};"
        " its last good reading is 16 s old, older than 15 s isn't served"
    )


def test_what_a_rule_says_for_an_outage_holds_for_it_too() -> None:
    given = known(US, lost(60), rules=HELD)
    assert quantities(asked("held", "", given)) == ["15"]
    assert quantities(asked("instead", "", given)) == ["8"]


@pytest.mark.parametrize("age_s", [1, 60])
def test_beside_an_address_that_may_have_its_jobs_its_last_reading_is_neither_young_nor_held(age_s: float) -> None:
    given = known(US, lost(age_s, doubted=True), rules=HELD)
    for metric in ("tube-a", "held"):
        with pytest.raises(StaleReadingError) as stale:
            asked(metric, "", given)
        assert (
            f"can't be read: {WHY}{HAD}; its last good reading, {age_s} s old, isn't served beside an address that came"
            " since and may be the same beanstalkd's"
        ) in str(stale.value)
    assert "no reading that it may hold" in str(stale.value)
    assert quantities(asked("instead", "", given)) == ["8"]
    (_, told) = explanation(Question("tube-a", "shop", EVERYTHING), "", given)["servers"]
    assert (told["fresh"], told["ageSeconds"], told["failure"]) == (False, age_s, WHY + HAD)


def test_beside_such_an_address_one_that_hasnt_failed_yet_counts_no_more_until_it_answers() -> None:
    silent = replace(server("eu", tube("a", ready=5), member="10.0.0.3"), doubted=True)
    with pytest.raises(StaleReadingError, match="can't be read: the next answer is awaited; its last good reading, "):
        asked("tube-a", "", known(US, silent))


def test_of_a_server_that_a_tenant_sees_a_part_of_it_isnt_told_how_many_jobs_it_had() -> None:
    given = known(US, lost(16), tenancy={"shop": "a"})
    with pytest.raises(StaleReadingError, match="is waited for; its last good reading"):
        asked("tube-a", "", given)
    assert outages(given) == f"can't be read: 'eu' at 10.0.0.3: {WHY}"


@pytest.mark.parametrize(
    ("jobs", "had"), [(1, "it had 1 job when it was last read"), (0, "no job when it was last read, and may have got")]
)
def test_few_jobs_are_told_in_words(jobs: int, had: str) -> None:
    assert had in str(outages(known(lost(1, jobs=jobs))))
