"""How many pods a load should bring: cases worked out by hand, and the controller in miniature to compare with."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.console import prediction
from app.console.prediction import MAX_S, Load, Situation, predict
from app.hpa.autoscaler import Scale, Target, TargetKind, parse_hpa
from app.hpa.decision import Missing, Observed, Total, with_target
from tests.unit.hpa.hpas import BEHAVIORS, Json, external, hpa
from tests.unit.hpa.reference import Controller

NOW_S = 1_800_000_000.0
PROMPT: Json = {
    "scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]},
    "scaleDown": {"stabilizationWindowSeconds": 0},
}


def by_time(autoscaler: Json, load: Load, *, present: int = 0, rate: float = 1.0) -> dict[int, int]:
    """Seconds after the beginning → pods."""
    values = parse_hpa(autoscaler)
    points = predict(Situation(values, (Total(present * 1000),), 0, rate), load, NOW_S)
    return {round(at_s - NOW_S): pods for at_s, pods in points}


def test_a_load_adds_pods_and_finished_jobs_remove_them() -> None:
    """20 jobs, 2 a pod: one pod works at them for 15 s, one job in 3 s, then 8 pods in 6 s, and 1 is left."""
    assert by_time(hpa(behavior=PROMPT), Load(20, 20), rate=1 / 3) == {0: 1, 15: 8, 30: 1}


def test_without_a_known_rate_the_jobs_only_increase() -> None:
    pods = by_time(hpa(behavior=PROMPT), Load(10, 1), rate=0)
    assert (pods[15], pods[MAX_S]) == (5, 5)


def test_existing_jobs_count() -> None:
    assert by_time(hpa(behavior=PROMPT), Load(2, 1), present=4, rate=0)[15] == 3


def test_delayed_jobs_count_from_when_they_become_ready() -> None:
    pods = by_time(hpa(behavior=PROMPT), Load(20, 20, delay_s=40), rate=0)
    assert (pods[30], pods[45]) == (1, 10)


def test_a_growing_load_is_followed_as_fast_as_without_behavior_is_allowed() -> None:
    pods = by_time(hpa(maximum=50), Load(100, 100), rate=0)
    assert [pods[at] for at in (0, 15, 30, 45, 60, 75, 90)] == [1, 4, 8, 16, 32, 50, 50]


def test_the_last_pods_are_removed_after_five_minutes() -> None:
    pods = by_time(hpa(behavior={"scaleUp": PROMPT["scaleUp"]}), Load(20, 20), rate=0.5)
    grown = next(pods[at] for at in sorted(pods) if pods[at] > 1)
    leaves = next(at for at in sorted(pods) if at > 30 and pods[at] < grown)
    assert 300 <= leaves <= 345


def test_another_target_is_another_prediction() -> None:
    values = with_target(parse_hpa(hpa(behavior=PROMPT)), 0, Target(TargetKind.AVERAGE_VALUE, 5000))
    points = predict(Situation(values, (Total(0),), 0, 0), Load(20, 20), NOW_S)
    assert points[1] == (NOW_S + 15, 4)


def test_from_zero_pods_and_back() -> None:
    autoscaler = hpa(
        minimum=0,
        current=0,
        behavior=PROMPT,
        conditions=[{"type": "ScaledToZero", "status": "True", "reason": "ScaledToZero"}],
    )
    assert by_time(autoscaler, Load(4, 4), rate=1) == {0: 0, 15: 2, 30: 0}


def test_beanscale_scales_up_between_the_syncs() -> None:
    annotated = hpa(behavior=PROMPT, annotations={"immediate": "true"})
    assert by_time(annotated, Load(20, 2), rate=0) | {} == {
        0: 1,
        2: 2,
        3: 3,
        4: 4,
        5: 5,
        6: 6,
        7: 7,
        8: 8,
        9: 9,
        10: 10,
        **dict.fromkeys(range(15, MAX_S + 1, 15), 10),
    }
    assert by_time(hpa(annotations={"immediate": "true"}, maximum=50), Load(100, 100), rate=0)[1] == 4
    paused = hpa(behavior=PROMPT, annotations={"immediate": "true", "paused": "true"})
    assert by_time(paused, Load(20, 2), rate=0) == by_time(hpa(behavior=PROMPT), Load(20, 2), rate=0)


def test_beanscale_scales_up_from_zero() -> None:
    disabled = {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}
    resting = hpa(current=0, behavior=PROMPT, conditions=[disabled], annotations={"scale-to-zero": "5m"})
    assert by_time(resting, Load(4, 4), rate=1) == {0: 0, 1: 2, 15: 1}


def test_other_metrics_stay_constant() -> None:
    values = parse_hpa(hpa(external("tube-a", averageValue="2"), external("tube-b", averageValue="1"), behavior=PROMPT))
    points = predict(Situation(values, (Total(0), Total(6000)), 0, 0), Load(4, 4), NOW_S)
    assert points[1] == (NOW_S + 15, 6)


@pytest.mark.parametrize("seen", [Missing("503")])
def test_without_a_value_nothing_is_predict(seen: Observed) -> None:
    assert predict(Situation(parse_hpa(hpa()), (seen,), 0, 1), Load(1, 1), NOW_S) == ()


def test_it_ends() -> None:
    assert max(by_time(hpa(), Load(100_000, 1), rate=0)) == MAX_S


@given(
    minimum=st.integers(0, 3),
    more=st.integers(0, 40),
    target=st.integers(1, 7),
    behavior=BEHAVIORS,
    replicas=st.integers(1, 45),
    load=st.lists(st.tuples(st.integers(0, 120), st.sampled_from([5, 15, 40, 200])), min_size=1, max_size=12),
)
@example(
    minimum=0,
    more=1,
    target=1,
    behavior={
        "scaleUp": {
            "selectPolicy": "Min",
            "policies": [
                {"type": "Pods", "value": 1, "periodSeconds": 300},
                {"type": "Pods", "value": 2, "periodSeconds": 15},
            ],
        }
    },
    replicas=1,
    load=[(0, 200), (0, 200), (0, 200), (2, 200), (3, 5)],
)
def test_each_sync_matches_the_controllers(
    minimum: int, more: int, target: int, behavior: dict[str, Any] | None, replicas: int, load: list[tuple[int, int]]
) -> None:
    maximum = max(1, minimum) + more
    reference = Controller(minimum, maximum, target, behavior, replicas)
    values = parse_hpa(
        hpa(external(averageValue=str(target)), minimum=minimum, maximum=maximum, current=replicas, behavior=behavior)
    )
    controller = prediction.Controller(replace(values, scale=Scale(replicas, replicas)))
    now_s = NOW_S
    for total, pause_s in load:
        assert controller.sync((Total(total * 1000),), now_s) == reference.sync(total, now_s)
        now_s += pause_s
