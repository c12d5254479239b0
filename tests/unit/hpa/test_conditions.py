"""Each condition is explained, with a hint unless it is as it should be."""

import pytest

from app.hpa.autoscaler import parse_hpa
from app.hpa.conditions import summarize
from tests.unit.hpa.hpas import CONFLICT, Json, condition, hpa


@pytest.mark.parametrize(
    ("one", "words", "hint"),
    [
        pytest.param(condition("AbleToScale", "ReadyForNewScale"), "it can scale now", "", id="fine"),
        pytest.param(
            condition("AbleToScale", "ScaleDownStabilized"), "in the stabilization window was higher", "", id="patient"
        ),
        pytest.param(
            condition("ScalingActive", "FailedGetExternalMetric", "False"),
            "has no value of an external metric",
            "metrics-reader",
            id="no metric",
        ),
        pytest.param(
            condition("ScalingActive", "ScalingDisabled", "False"), "disabled", "scale the workload to 1", id="off"
        ),
        pytest.param(
            condition("AbleToScale", "FailedUpdateScale", "False", "unable to update the target scale: denied"),
            "can't change the workload's scale",
            "check the permission",
            id="denied",
        ),
        pytest.param(
            condition("AbleToScale", "FailedUpdateScale", "False", f"unable to update the target scale: {CONFLICT}"),
            "so the next sync tries again",
            "",
            id="a conflict",
        ),
        pytest.param(
            condition("ScalingLimited", "TooManyReplicas"),
            "maxReplicas prevents more",
            "raise maxReplicas",
            id="at its most",
        ),
        pytest.param(
            condition("ScalingLimited", "TooFewReplicas"), "minReplicas prevents fewer", "", id="at its fewest"
        ),
        pytest.param(
            condition("ScalingLimited", "DesiredWithinRange", "False"), "within minReplicas", "", id="unlimited"
        ),
        pytest.param(
            condition("AbleToScale", "Novelty", "False", "in words of the future"),
            "in words of the future",
            "kubectl -n shop describe hpa orders",
            id="unknown",
        ),
        pytest.param(condition("ScaledToZero", "NotScaledToZero", "False"), "was not to 0 pods", "", id="no problem"),
    ],
)
def test_a_condition_is_explained(one: Json, words: str, hint: str) -> None:
    (summary,) = summarize(parse_hpa(hpa(conditions=[one])))
    assert words in summary.words
    assert hint in summary.hint
    assert bool(summary.hint) == bool(hint)


def test_a_condition_of_an_earlier_sync_is_marked_and_has_no_hint() -> None:
    missing = condition("AbleToScale", "FailedGetScale", "False")
    _, limited = summarize(parse_hpa(hpa(conditions=[missing, condition("ScalingLimited", "TooManyReplicas")])))
    assert (limited.words, limited.hint) == ("at an earlier sync: maxReplicas prevents more pods", "")


@pytest.mark.parametrize(
    ("annotations", "words", "hint"),
    [
        ({"scale-to-zero": "5m"}, "beanscale scales it up once a job is ready", ""),
        ({"scale-to-zero": "5m", "activation": "10"}, "once a job is ready and a metric exceeds 10", ""),
        ({"scale-to-zero": "5m", "paused": "true"}, "something else scaled", "scale the workload to 1 pod"),
        ({"scale-to-zero": "5"}, "something else scaled", "scale the workload to 1 pod"),
        ({"immediate": "true"}, "something else scaled", "scale the workload to 1 pod"),
    ],
)
def test_zero_pods_need_no_hint_while_beanscale_scales_them_up(
    annotations: dict[str, str], words: str, hint: str
) -> None:
    disabled = condition("ScalingActive", "ScalingDisabled", "False")
    (summary,) = summarize(parse_hpa(hpa(current=0, conditions=[disabled], annotations=annotations)))
    assert words in summary.words
    assert hint in summary.hint
    assert bool(summary.hint) == bool(hint)
