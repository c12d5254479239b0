"""What an autoscaler makes of its metrics: cases worked out by hand, and a controller in miniature to compare with."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hpa.autoscaler import Scale, Target, TargetKind, parse_hpa
from app.hpa.decision import Decision, Missing, NotQueried, Observed, Stage, Total, decide, with_target
from tests.unit.hpa.hpas import BEHAVIORS, Json, condition, external, hpa
from tests.unit.hpa.reference import LONG_AGO, Controller

PROMPT = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}}
AT_ONCE_DOWN = {"scaleDown": {"stabilizationWindowSeconds": 0}}
NOW_S = 1_800_000_000.0


def jobs(number: float) -> Total:
    return Total(round(number * 1000))


def decided(autoscaler: Json, *seen: Observed, scale: Scale | None = None) -> Decision:
    values = parse_hpa(autoscaler)
    return decide(values, scale or values.scale, seen, NOW_S)


@pytest.mark.parametrize(
    ("autoscaler", "value", "pods", "stage"),
    [
        pytest.param(hpa(behavior=PROMPT), 20, 10, Stage.FORMULA, id="20 jobs, 2 a pod, 1 pod: 10 in one step"),
        pytest.param(hpa(), 20, 4, Stage.POLICY, id="without behavior: 1 to 4"),
        pytest.param(hpa(current=4), 20, 8, Stage.POLICY, id="without behavior: 4 to 8"),
        pytest.param(hpa(current=8), 20, 10, Stage.FORMULA, id="without behavior: 8 to 10"),
        pytest.param(hpa(behavior={}), 20, 5, Stage.POLICY, id="an empty behavior has other defaults: 1 to 5"),
        pytest.param(hpa(behavior=PROMPT), 21, 10, Stage.LIMITS, id="11 are wished for, 10 allowed"),
        pytest.param(hpa(behavior=PROMPT, maximum=100), 21, 11, Stage.FORMULA, id="half a job too many takes a pod"),
        pytest.param(hpa(current=10), 21, 10, Stage.TOLERANCE, id="1.05 times what 10 pods are for"),
        pytest.param(hpa(current=10), 22, 10, Stage.TOLERANCE, id="1.1 times is within the tolerance of 0.1"),
        pytest.param(hpa(current=10, maximum=20), 22.001, 12, Stage.FORMULA, id="and no more than that"),
        pytest.param(hpa(current=10, behavior=AT_ONCE_DOWN), 18, 10, Stage.TOLERANCE, id="0.9 times too"),
        pytest.param(hpa(current=10, behavior=AT_ONCE_DOWN), 17, 9, Stage.FORMULA, id="0.85 times is outside"),
        pytest.param(
            hpa(current=10, maximum=20, behavior={"scaleUp": {"tolerance": "0"}}),
            21,
            11,
            Stage.FORMULA,
            id="no tolerance",
        ),
        pytest.param(
            hpa(current=10, behavior={"scaleDown": {"tolerance": "500m"}}),
            11,
            10,
            Stage.TOLERANCE,
            id="a wide tolerance",
        ),
        pytest.param(hpa(current=3), 0, 3, Stage.STABILIZATION, id="down only after five minutes"),
        pytest.param(hpa(current=3, behavior=AT_ONCE_DOWN), 0, 1, Stage.LIMITS, id="never below minReplicas"),
        pytest.param(
            hpa(current=3, minimum=0, behavior=AT_ONCE_DOWN), 0, 0, Stage.FORMULA, id="to 0 where that is allowed"
        ),
        pytest.param(hpa(current=12), 0, 10, Stage.BOUNDS, id="more pods than maxReplicas"),
        pytest.param(hpa(current=1, minimum=2), 0, 2, Stage.BOUNDS, id="fewer pods than minReplicas"),
        pytest.param(hpa(current=0), 5, 0, Stage.DISABLED, id="scaled to 0 by hand"),
        pytest.param(
            hpa(
                current=10,
                maximum=20,
                behavior={
                    "scaleDown": {
                        "stabilizationWindowSeconds": 0,
                        "selectPolicy": "Min",
                        "policies": [
                            {"type": "Pods", "value": 3, "periodSeconds": 60},
                            {"type": "Percent", "value": 15, "periodSeconds": 60},
                        ],
                    }
                },
            ),
            0,
            8,
            Stage.POLICY,
            id="the smaller step of two, its fraction cut off",
        ),
        pytest.param(
            hpa(current=3, behavior={"scaleUp": {"selectPolicy": "Disabled"}}),
            20,
            3,
            Stage.POLICY,
            id="growing forbidden",
        ),
        pytest.param(
            hpa(external(value="5"), current=3, behavior=PROMPT), 10, 6, Stage.FORMULA, id="twice the target value"
        ),
        pytest.param(hpa(external(value="5"), current=3), 5.5, 3, Stage.TOLERANCE, id="a value within the tolerance"),
    ],
)
def test_one_metric_decides_as_worked_out_by_hand(autoscaler: Json, value: float, pods: int, stage: Stage) -> None:
    decision = decided(autoscaler, jobs(value))
    assert (decision.pods, decision.decided_by.stage) == (pods, stage)


TO_ZERO = [condition("ScaledToZero", "ScaledToZero"), condition("ScalingActive", "ValidMetricFound")]


@pytest.mark.parametrize(
    ("autoscaler", "value", "pods"),
    [
        pytest.param(hpa(minimum=0, current=0, conditions=TO_ZERO), 6, 3, id="wakes"),
        pytest.param(hpa(minimum=0, current=0, conditions=TO_ZERO), 0, 0, id="rests"),
        pytest.param(hpa(minimum=2, current=0, conditions=TO_ZERO), 1, 2, id="wakes to a minReplicas raised since"),
        pytest.param(
            hpa(external(value="5"), minimum=0, current=0, conditions=TO_ZERO), 11, 3, id="by the ratio itself"
        ),
        pytest.param(hpa(minimum=0, current=0, conditions=TO_ZERO[1:]), 6, 3, id="before 1.36 without the condition"),
        pytest.param(hpa(minimum=0, current=0), 6, 0, id="made with 0 pods, it stays off"),
        pytest.param(
            hpa(minimum=0, current=0, conditions=[condition("ScaledToZero", "NotScaledToZero", "False"), TO_ZERO[1]]),
            6,
            0,
            id="scaled to 0 by hand later",
        ),
    ],
)
def test_zero_pods_are_left_only_by_who_went_there(autoscaler: Json, value: float, pods: int) -> None:
    assert decided(autoscaler, jobs(value)).pods == pods


def test_percent_of_no_pods_never_leaves_zero_and_the_step_says_so() -> None:
    percent = {"scaleUp": {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]}}
    decision = decided(hpa(minimum=0, current=0, conditions=TO_ZERO, behavior=percent), jobs(6))
    assert (decision.pods, decision.decided_by.stage) == (0, Stage.POLICY)
    assert "900 % of 0 pods" in decision.decided_by.sentence
    assert "only a policy of type Pods" in decision.decided_by.sentence


def test_the_formula_is_told_with_its_numbers() -> None:
    decision = decided(hpa(behavior=PROMPT), jobs(21))
    formula, limits = decision.steps
    assert formula.sentence == "tube-orders is 21 and one pod is for 2: 21 ÷ 2 = 10.5, rounded up → 11 pods"
    assert limits.sentence == "maxReplicas is 10"
    assert [(step.before, step.after) for step in decision.steps] == [(1, 11), (11, 10)]


def test_a_value_target_counts_ready_pods_where_they_are_known() -> None:
    autoscaler = hpa(external(value="5"), current=4, behavior=PROMPT)
    assert decided(autoscaler, jobs(10)).pods == 8
    assert decided(autoscaler, jobs(10), scale=Scale(4, 4, ready=3)).pods == 6


TWO = (external("tube-a", averageValue="2"), external("tube-b", averageValue="1"))


def test_of_several_metrics_the_highest_wish_counts() -> None:
    decision = decided(hpa(*TWO, behavior=PROMPT), jobs(6), jobs(5))
    assert (decision.pods, decision.decided_by.metric) == (5, "tube-b")


@pytest.mark.parametrize(
    ("seen", "pods", "stage"),
    [
        pytest.param([Missing("503"), Missing("503")], 4, Stage.ERROR, id="no value at all: nothing moves"),
        pytest.param([Missing("503"), jobs(2)], 4, Stage.ERROR, id="one is missing: never down"),
        pytest.param([jobs(2), Missing("503")], 4, Stage.ERROR, id="whichever it is"),
        pytest.param([Missing("503"), jobs(6)], 6, Stage.FORMULA, id="but up"),
    ],
)
def test_a_metric_without_value_blocks_scaling_down_only(seen: list[Observed], pods: int, stage: Stage) -> None:
    decision = decided(hpa(*TWO, current=4, behavior=PROMPT | AT_ONCE_DOWN), *seen)
    assert (decision.pods, decision.lowest, decision.highest) == (pods, pods, pods)
    assert decision.decided_by.stage is stage


def test_a_metric_of_another_source_counts_as_the_autoscaler_last_saw_it() -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    seen = {
        "type": "Resource",
        "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "1"}},
    }
    autoscaler = hpa(external(averageValue="2"), cpu, current=3, behavior=PROMPT, current_metrics=[{"type": ""}, seen])
    assert decided(autoscaler, jobs(2), NotQueried()).pods == 6


def test_what_stabilisation_holds_back_is_bounded_by_the_wish() -> None:
    decision = decided(hpa(current=8), jobs(6))
    assert (decision.pods, decision.lowest, decision.highest) == (8, 3, 8)
    assert "of the last 5 min the highest wish counts" in decision.decided_by.sentence


def test_a_controller_that_shrinks_as_fast_as_it_may_is_past_stabilisation() -> None:
    slow = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    limited = [condition("ScalingLimited", "ScaleDownLimit")]
    assert decided(hpa(current=8, behavior=slow, conditions=limited), jobs(2)).pods == 7


def test_another_target_is_another_answer() -> None:
    values = parse_hpa(hpa(behavior=PROMPT))
    answers = {
        target: decide(
            with_target(values, 0, Target(TargetKind.AVERAGE_VALUE, target * 1000)), values.scale, [jobs(20)], NOW_S
        ).pods
        for target in (2, 3, 5, 40)
    }
    assert answers == {2: 10, 3: 7, 5: 4, 40: 1}


def as_object(controller: Controller) -> Json:
    """The controller's autoscaler as kube-apiserver would show it: without its memory."""
    return hpa(
        external(averageValue=str(controller.target)),
        minimum=controller.minimum,
        maximum=controller.maximum,
        current=controller.replicas,
        behavior=controller.behavior,
        conditions=[condition(kind, reason, str(holds)) for kind, (holds, reason) in controller.conditions.items()],
        last_scale=controller.scaled_at
        and datetime.fromtimestamp(controller.scaled_at, UTC).isoformat().replace("+00:00", "Z"),
    )


@given(
    minimum=st.integers(0, 3),
    more=st.integers(0, 40),
    target=st.integers(1, 7),
    behavior=BEHAVIORS,
    replicas=st.integers(1, 45),
    load=st.lists(st.tuples(st.integers(0, 120), st.sampled_from([5, 15, 40, 200])), min_size=1, max_size=12),
)
def test_what_the_controller_does_next_is_within_the_bounds_told_without_its_memory(
    minimum: int, more: int, target: int, behavior: dict[str, Any] | None, replicas: int, load: list[tuple[int, int]]
) -> None:
    controller = Controller(minimum, max(1, minimum) + more, target, behavior, replicas)
    now_s = NOW_S
    for total, pause_s in load:
        values = parse_hpa(as_object(controller))
        decision = decide(values, values.scale, [jobs(total)], now_s)
        done = controller.look(total, now_s)
        assert decision.lowest <= done <= decision.highest
        assert decision.lowest <= decision.pods <= decision.highest
        now_s += pause_s


@given(
    minimum=st.integers(0, 3),
    more=st.integers(0, 40),
    target=st.integers(1, 7),
    behavior=BEHAVIORS,
    replicas=st.integers(1, 45),
    total=st.integers(0, 400),
)
def test_without_windows_and_earlier_changes_the_answer_is_the_controllers(
    minimum: int, more: int, target: int, behavior: dict[str, Any] | None, replicas: int, total: int
) -> None:
    rules = {
        way: {**(behavior or {}).get(way, {}), "stabilizationWindowSeconds": 0} for way in ("scaleUp", "scaleDown")
    }
    controller = Controller(minimum, max(1, minimum) + more, target, rules, replicas, wishes=[(LONG_AGO, 0)])
    values = parse_hpa(as_object(controller))
    decision = decide(values, values.scale, [jobs(total)], NOW_S)
    assert (decision.pods, decision.lowest, decision.highest) == (controller.look(total, NOW_S),) * 3
