"""An autoscaler's conditions in plain words, and what to do where they aren't as they should be."""

import pytest

from app.hpa.autoscaler import parse_hpa
from app.hpa.conditions import summarize
from app.hpa.decision import duration
from tests.unit.hpa.hpas import Json, condition, hpa


@pytest.mark.parametrize(
    ("one", "words", "fix"),
    [
        pytest.param(condition("AbleToScale", "ReadyForNewScale"), "nothing holds it back", "", id="fine"),
        pytest.param(
            condition("AbleToScale", "ScaleDownStabilized"), "within its stabilisation window", "", id="patient"
        ),
        pytest.param(
            condition("ScalingActive", "FailedGetExternalMetric", "False"),
            "has no value of an external metric",
            "metrics-reader",
            id="no metric",
        ),
        pytest.param(condition("ScalingActive", "ScalingDisabled", "False"), "switched off", "scale it to 1", id="off"),
        pytest.param(
            condition("ScalingLimited", "TooManyReplicas"),
            "maxReplicas keeps it",
            "raise maxReplicas",
            id="at its most",
        ),
        pytest.param(condition("ScalingLimited", "TooFewReplicas"), "minReplicas keeps it", "", id="at its fewest"),
        pytest.param(condition("ScalingLimited", "DesiredWithinRange", "False"), "no limit", "", id="unlimited"),
        pytest.param(
            condition("AbleToScale", "Novelty", "False", "in words of the future"),
            "in words of the future",
            "kubectl -n shop describe hpa orders",
            id="unknown",
        ),
        pytest.param(condition("ScaledToZero", "NotScaledToZero", "False"), "wasn't to 0 pods", "", id="no trouble"),
    ],
)
def test_a_condition_is_told(one: Json, words: str, fix: str) -> None:
    (told,) = summarize(parse_hpa(hpa(conditions=[one])))
    assert words in told.words
    assert fix in told.fix
    assert bool(told.fix) == bool(fix)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (45.4, "45 s"), (90, "1 min 30 s"), (300, "5 min"), (12_000, "3 h 20 min"), (86_400 * 2 + 5, "2 d")],
)
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
