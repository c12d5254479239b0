"""What is noteworthy about servers and tubes is told with what to do."""

import pytest

from app.explain.explanation import read_explanation
from app.explain.report import find
from tests.unit.explain.explanations import RULE, Json, explanation, item, server, tube


def found(**fields: object) -> str:
    return "\n".join(f"{one.sentence} → {one.fix}" for one in find(read_explanation(explanation(**fields))))


def test_a_healthy_metric_has_nothing_noteworthy() -> None:
    assert not found()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param(
            {"error": {"reason": "NotFound", "message": "no metric tube-ordres", "near": ["tube-orders", "tube-o"]}},
            "no metric tube-ordres → did you mean tube-orders or tube-o?",
            id="a slip of the pen",
        ),
        pytest.param(
            {"servers": [server(fresh=False, ageSeconds=130, failure="connection refused", failingForSeconds=125)]},
            "eu at eu.example:11300 can't be read for 2 min 5 s: connection refused; it was last read 2 min 10 s",
            id="a server that is down",
        ),
        pytest.param(
            {"servers": [server(fresh=False, ageSeconds=None, failure="name not known")]},
            "it was never read",
            id="never up",
        ),
        pytest.param(
            {"servers": [server(member="10.0.0.3", fresh=False, failure="gone")]}, "eu (10.0.0.3)", id="one of several"
        ),
        pytest.param(
            {"items": [item(heldForSeconds=40)], "rule": RULE | {"onFailure": "hold 5m"}},
            "held for 40 s already, as the rule's onFailure says (hold 5m)",
            id="held",
        ),
        pytest.param(
            {"tubes": [tube() | {"paused": True, "pauseSecondsLeft": 90}]},
            "tube orders on eu is paused for another 1 min 30 s",
            id="paused",
        ),
        pytest.param({"tubes": [tube(watching=0)]}, "has 3 jobs ready, and nobody watches it", id="nobody works"),
        pytest.param(
            {"tubes": [tube(ready=0, reserved=0, delayed=7)]}, "has only delayed jobs (7)", id="everything delayed"
        ),
        pytest.param({"tubes": [tube(buried=2)]}, "has 2 buried jobs", id="buried"),
    ],
)
def test_a_fact_that_matters_is_told(fields: Json, told: str) -> None:
    assert told in found(**fields)


def test_delayed_jobs_that_count_are_nothing_noteworthy() -> None:
    fields = {"tubes": [tube(ready=0, reserved=0, delayed=7)]}
    assert not found(**fields, rule=RULE | {"formula": "ready + delayed"})
    assert not found(**fields, selector="state=delayed")


def test_many_tubes_of_a_kind_are_not_all_named() -> None:
    told = found(tubes=[tube(f"t{number}", buried=1) for number in range(9)])
    assert told.count("buried jobs") == 3
    assert "the same goes for 6 tubes more" in told
