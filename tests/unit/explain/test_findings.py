"""Findings about servers and tubes, each with a hint if there is something to do."""

import pytest

from app.explain.collect import parse_explanation
from app.explain.report import find
from tests.unit.explain.explanations import RULE, Json, explanation, item, server, tube


def found(**fields: object) -> str:
    return "\n".join(f"{one.sentence} → {one.hint}" for one in find(parse_explanation(explanation(**fields))))


def test_a_healthy_metric_has_no_findings() -> None:
    assert not found()


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        pytest.param(
            {"error": {"reason": "NotFound", "message": "no metric x; did you mean tube-x?", "near": ["tube-x"]}},
            "error: no metric x; did you mean tube-x? → ",
            id="a misspelled name",
        ),
        pytest.param(
            {"servers": [server(fresh=False, ageSeconds=130, failure="connection refused", failingForSeconds=125)]},
            "eu at eu.example:11300 can't be read for 2 min 5 s: connection refused; last read 2 min 10 s ago",
            id="a server that is down",
        ),
        pytest.param(
            {"servers": [server(ageSeconds=3, failure="connection refused", failingForSeconds=2)]},
            "can't be read for 2 s: connection refused; its last reading, 3 s old, still counts → check that it is",
            id="a server that fails, with a reading that counts",
        ),
        pytest.param(
            {"servers": [server(fresh=False, ageSeconds=None, failure="name not known")]},
            "never read",
            id="never up",
        ),
        pytest.param(
            {"items": [item(heldForSeconds=40)], "rule": RULE | {"onFailure": "hold 5m"}},
            "value held for 40 s by onFailure (hold 5m)",
            id="held",
        ),
        pytest.param(
            {"tubes": [tube() | {"paused": True, "pauseSecondsLeft": 90}]},
            "tube orders on eu is paused for another 1 min 30 s: workers can't reserve its jobs until then → to let",
            id="paused",
        ),
        pytest.param(
            {"tubes": [tube() | {"paused": True, "pauseSecondsLeft": 0}]},
            "tube orders on eu is paused: workers can't reserve its jobs until the pause ends → ",
            id="the last second of a pause",
        ),
        pytest.param(
            {
                "tubes": [tube() | {"paused": True, "pauseSecondsLeft": None, "ignored": True}],
                "rule": RULE | {"formula": "put_per_second"},
            },
            "is paused: workers can't reserve its jobs until the pause ends → ",
            id="paused, for a rate",
        ),
        pytest.param(
            {"tubes": [tube() | {"invalid": {"waiting": "current-waiting: x", "using": "current-using: y"}}]},
            "has no valid current-waiting: x; no valid current-using: y → ",
            id="two invalid fields",
        ),
        pytest.param(
            {"tubes": [tube(waiting=None) | {"invalid": {"waiting": "current-waiting: counter below zero (-1)"}}]},
            "tube orders on eu has no valid current-waiting: counter below zero (-1) → only what needs this field",
            id="an invalid field",
        ),
        pytest.param(
            {"tubes": [tube() | {"paused": True, "pauseSecondsLeft": 90, "ignored": True}]},
            "can't reserve its jobs until then; not counted: 3 ready jobs (paused: ignore)",
            id="paused and ignored",
        ),
        pytest.param({"tubes": [tube(watching=0)]}, "has 3 ready jobs but no watching worker", id="no worker"),
        pytest.param(
            {"tubes": [tube(ready=0, reserved=0, delayed=7)]}, "has only delayed jobs (7)", id="everything delayed"
        ),
        pytest.param(
            {"tubes": [tube(watching=1) | {"workersStuckForSeconds": 25}]},
            "has 3 ready jobs and 1 connection watches it, but none took a job for 25 s → check that the workers",
            id="stuck workers",
        ),
        pytest.param(
            {"servers": [server(timeoutsPerSecond=0.05)]},
            "on beanstalkd eu, 0.05 jobs per second became ready again, because the time to run (TTR) ended",
            id="timeouts",
        ),
        pytest.param({"tubes": [tube(buried=2)]}, "has 2 buried jobs", id="buried"),
    ],
)
def test_a_problem_is_a_finding(fields: Json, finding: str) -> None:
    assert finding in found(**fields)


def test_similar_names_are_given_once() -> None:
    error = {"reason": "NotFound", "message": "no metric x; did you mean tube-x?", "near": ["tube-x"]}
    assert found(error=error).count("did you mean") == 1


def test_delayed_jobs_that_count_are_no_finding() -> None:
    fields = {"tubes": [tube(ready=0, reserved=0, delayed=7)]}
    assert not found(**fields, rule=RULE | {"formula": "ready + delayed"})
    assert not found(**fields, selector="state=delayed")


def test_many_tubes_of_a_kind_are_not_all_named() -> None:
    findings = found(tubes=[tube(f"t{number}", buried=1) for number in range(9)])
    assert findings.count("1 buried job,") == 3
    assert "the same applies to 6 more tubes" in findings


def test_a_tube_on_many_servers_is_one_tube() -> None:
    findings = found(tubes=[tube(on=f"s{number}", buried=1) for number in range(5)])
    assert "the same applies on 2 more servers" in findings
