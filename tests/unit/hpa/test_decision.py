"""The next decision: cases computed by hand, and properties checked against a reference controller."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hpa.autoscaler import Scale, Target, TargetKind, parse_hpa
from app.hpa.decision import (
    Decision,
    Missing,
    NotQueried,
    Observed,
    Stage,
    Total,
    decide,
    scale_down_limit,
    scale_up_limit,
    with_target,
)
from tests.unit.hpa.hpas import BEHAVIORS, Json, condition, external, hpa
from tests.unit.hpa.reference import LONG_AGO, Controller

DISABLED = [condition("ScalingActive", "ScalingDisabled", "False")]
PROMPT = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}}
AT_ONCE_DOWN = {"scaleDown": {"stabilizationWindowSeconds": 0}}
NOW_S = 1_800_000_000.0


def jobs(number: float) -> Total:
    return Total(round(number * 1000))


def decided(autoscaler: Json, *observed: Observed, scale: Scale | None = None) -> Decision:
    values = parse_hpa(autoscaler)
    return decide(values, scale or values.scale, observed, NOW_S)


@pytest.mark.parametrize(
    ("autoscaler", "value", "pods", "stage"),
    [
        pytest.param(hpa(behavior=PROMPT), 20, 10, Stage.FORMULA, id="20 jobs, 2 a pod, 1 pod: 10 in one step"),
        pytest.param(hpa(), 20, 4, Stage.POLICY, id="without behavior: 1 to 4"),
        pytest.param(hpa(current=4), 20, 8, Stage.POLICY, id="without behavior: 4 to 8"),
        pytest.param(hpa(current=8), 20, 10, Stage.FORMULA, id="without behavior: 8 to 10"),
        pytest.param(hpa(behavior={}), 20, 5, Stage.POLICY, id="an empty behavior has other defaults: 1 to 5"),
        pytest.param(hpa(behavior=PROMPT), 21, 10, Stage.LIMITS, id="11 are recommended, 10 allowed"),
        pytest.param(hpa(behavior=PROMPT, maximum=100), 21, 11, Stage.FORMULA, id="half a job too many takes a pod"),
        pytest.param(hpa(current=10), 21, 10, Stage.TOLERANCE, id="1.05 times the target of 10 pods"),
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
        pytest.param(hpa(current=0, conditions=DISABLED), 5, 0, Stage.DISABLED, id="scaled to 0 manually"),
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
            id="scale-up disabled",
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
        pytest.param(
            hpa(
                minimum=0,
                current=1,
                desired=0,
                conditions=[condition("AbleToScale", "SucceededRescale"), TO_ZERO[1]],
                last_scale="2026-10-12T08:00:00Z",
            ),
            6,
            3,
            id="before 1.36, in the status of the sync that scaled to 0",
        ),
        pytest.param(hpa(minimum=0, current=0), 6, 0, id="made with 0 pods, it stays off"),
        pytest.param(
            hpa(minimum=0, current=0, conditions=[condition("ScaledToZero", "NotScaledToZero", "False"), TO_ZERO[1]]),
            6,
            0,
            id="scaled to 0 by hand later",
        ),
    ],
)
def test_only_the_autoscaler_that_scaled_to_zero_scales_up_again(autoscaler: Json, value: float, pods: int) -> None:
    assert decided(autoscaler, jobs(value), scale=Scale(0, 0)).pods == pods


ONE_POD = [condition("AbleToScale", "ReadyForNewScale"), condition("ScalingActive", "ValidMetricFound")]


@pytest.mark.parametrize(
    ("autoscaler", "stage", "words"),
    [
        pytest.param(
            hpa(conditions=[condition("ScalingActive", "ScalingDisabled", "False", "the replica count is zero")]),
            Stage.DISABLED,
            "the HPA reports ScalingDisabled: the replica count is zero; not this autoscaler scaled",
            id="reported",
        ),
        pytest.param(
            hpa(
                conditions=[condition("ScalingActive", "ScalingDisabled", "False", "the replica count is zero")],
                annotations={"scale-to-zero": "5m", "activation": "10"},
            ),
            Stage.DISABLED,
            "the HPA reports ScalingDisabled: the replica count is zero; beanscale scales it up once a job is ready and"
            " a metric exceeds 10",
            id="reported, and beanscale scales up",
        ),
        pytest.param(
            hpa(conditions=ONE_POD, annotations={"scale-to-zero": "5m"}),
            Stage.DISABLED,
            "its next sync disables scaling until there is a pod; beanscale scales it up once a job is ready",
            id="since the last sync, and beanscale scales up",
        ),
        pytest.param(
            hpa(conditions=ONE_POD), Stage.DISABLED, "its next sync disables scaling", id="since the last sync"
        ),
        pytest.param(
            hpa(minimum=0, conditions=[*ONE_POD, condition("ScaledToZero", "NotScaledToZero", "False")]),
            Stage.DISABLED,
            "its next sync disables scaling",
            id="since the last sync, from 1.36",
        ),
        pytest.param(
            hpa(minimum=0, conditions=ONE_POD),
            Stage.CONDITION,
            "scaled to 0 after the HPA's last sync, which left 1 pod",
            id="since the last sync, of an HPA that may scale to 0",
        ),
        pytest.param(
            hpa(minimum=0, current=0, conditions=DISABLED, generations=(2, 1)),
            Stage.CONDITION,
            "hasn't synced this HPA yet since its spec was changed",
            id="a new spec",
        ),
    ],
)
def test_at_zero_pods_only_conditions_show_who_scaled(autoscaler: Json, stage: Stage, words: str) -> None:
    decision = decided(autoscaler, jobs(6), scale=Scale(0, 0))
    assert (decision.pods, decision.decided_by.stage) == (0, stage)
    assert words in decision.decided_by.sentence


def test_a_percent_policy_never_scales_up_from_zero_and_the_step_explains_it() -> None:
    percent = {"scaleUp": {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]}}
    decision = decided(hpa(minimum=0, current=0, conditions=TO_ZERO, behavior=percent), jobs(6))
    assert (decision.pods, decision.decided_by.stage) == (0, Stage.POLICY)
    assert "900% of 0 pods" in decision.decided_by.sentence
    assert "a Percent policy can't scale up from 0, use a Pods policy" in decision.decided_by.sentence


def test_the_formula_shows_its_numbers() -> None:
    decision = decided(hpa(behavior=PROMPT), jobs(21))
    formula, limits = decision.steps
    assert formula.sentence == "tube-orders is 21, target 2 per pod: 21 ÷ 2 = 10.5, rounded up → 11 pods"
    assert limits.sentence == "maxReplicas is 10"
    assert [(step.before, step.after) for step in decision.steps] == [(1, 11), (11, 10)]


def test_a_value_target_counts_ready_pods_if_they_are_known() -> None:
    autoscaler = hpa(external(value="5"), current=4, behavior=PROMPT)
    assert decided(autoscaler, jobs(10)).pods == 8
    assert decided(autoscaler, jobs(10), scale=Scale(4, 4, ready=3)).pods == 6


TWO = (external("tube-a", averageValue="2"), external("tube-b", averageValue="1"))


def test_of_several_metrics_the_highest_recommendation_applies() -> None:
    decision = decided(hpa(*TWO, behavior=PROMPT), jobs(6), jobs(5))
    assert (decision.pods, decision.decided_by.metric) == (5, "tube-b")


@pytest.mark.parametrize(
    ("observed", "pods", "stage"),
    [
        pytest.param([Missing("503"), Missing("503")], 4, Stage.ERROR, id="no value at all: nothing moves"),
        pytest.param([Missing("503"), jobs(2)], 4, Stage.ERROR, id="one is missing: never down"),
        pytest.param([jobs(2), Missing("503")], 4, Stage.ERROR, id="whichever it is"),
        pytest.param([Missing("503"), jobs(6)], 6, Stage.FORMULA, id="but up"),
    ],
)
def test_a_metric_without_value_blocks_scaling_down_only(observed: list[Observed], pods: int, stage: Stage) -> None:
    decision = decided(hpa(*TWO, current=4, behavior=PROMPT | AT_ONCE_DOWN), *observed)
    assert (decision.pods, decision.decided_by.stage) == (pods, stage)


def test_a_metric_of_another_source_has_its_value_at_the_last_sync() -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    observed = {
        "type": "Resource",
        "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "1"}},
    }
    autoscaler = hpa(
        external(averageValue="2"), cpu, current=3, behavior=PROMPT, current_metrics=[{"type": ""}, observed]
    )
    assert decided(autoscaler, jobs(2), NotQueried()).pods == 6


def stabilized(which: str, **given: Any) -> Json:
    return hpa(conditions=[condition("AbleToScale", which)], **given)


def last_value(**current: str) -> Json:
    """Return an entry of status.currentMetrics."""
    return {"type": "External", "external": {"metric": {"name": "tube-orders"}, "current": current}}


FAILED = [
    condition("AbleToScale", "SucceededGetScale"),
    condition("ScalingActive", "FailedGetExternalMetric", "False", "forbidden"),
]
LIMIT_DOWN = [condition("ScalingLimited", "ScaleDownLimit")]
IDLE = [condition("AbleToScale", "ReadyForNewScale"), condition("ScalingLimited", "TooFewReplicas")]
SLOW_DOWN = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
SLOW_UP = {
    "scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}], "stabilizationWindowSeconds": 0}
}
CAREFUL_UP = {"scaleUp": {"stabilizationWindowSeconds": 60}}
LIMIT_UP = [condition("AbleToScale", "ReadyForNewScale"), condition("ScalingLimited", "ScaleUpLimit")]
JUST_NOW = datetime.fromtimestamp(NOW_S - 10, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("autoscaler", "value", "pods", "stage", "words"),
    [
        pytest.param(
            hpa(current=8), 6, 8, Stage.STABILIZATION, "the highest recommendation of the last 5 min", id="a window"
        ),
        pytest.param(
            stabilized("ScaleDownStabilized", current=8),
            6,
            8,
            Stage.STABILIZATION,
            "until all are below that; confirmed by the HPA (ScaleDownStabilized)",
            id="a window, reported",
        ),
        pytest.param(
            stabilized("ScaleUpStabilized", behavior=CAREFUL_UP),
            6,
            1,
            Stage.STABILIZATION,
            "confirmed by the HPA (ScaleUpStabilized)",
            id="a window before scale-up, reported",
        ),
        pytest.param(
            hpa(current=8, behavior=SLOW_DOWN, conditions=LIMIT_DOWN),
            2,
            7,
            Stage.POLICY,
            "1 pod in 1 min",
            id="a scale-down in progress is past stabilization",
        ),
        pytest.param(hpa(conditions=IDLE), 0, 1, Stage.LIMITS, "minReplicas is 1", id="idle at minReplicas"),
        pytest.param(hpa(), 0, 1, Stage.LIMITS, "minReplicas is 1", id="idle at minReplicas, before that is reported"),
        pytest.param(
            hpa(minimum=0, conditions=IDLE), 0, 0, Stage.FORMULA, "→ 0 pods", id="idle at a minReplicas lowered since"
        ),
        pytest.param(
            hpa(current=5, behavior=SLOW_UP, conditions=LIMIT_UP, last_scale=JUST_NOW),
            20,
            5,
            Stage.POLICY,
            "changes already made in that period have used that up → 5 pods",
            id="a policy that earlier changes have used up",
        ),
        pytest.param(
            hpa(current=5, behavior=SLOW_UP, conditions=[condition("AbleToScale", "SucceededRescale"), LIMIT_UP[1]]),
            20,
            9,
            Stage.POLICY,
            "4 pods in 1 min → 9 pods",
            id="a policy that limited the last scale-up",
        ),
        pytest.param(
            hpa(current=4, conditions=[condition("AbleToScale", "FailedGetScale", "False")]),
            20,
            4,
            Stage.CONDITION,
            "the HPA reports FailedGetScale: it can't read the workload's scale",
            id="a missing workload",
        ),
        pytest.param(
            hpa(current=0, conditions=[condition("AbleToScale", "FailedGetScale", "False")]),
            20,
            0,
            Stage.CONDITION,
            "the HPA reports FailedGetScale: it can't read the workload's scale",
            id="a workload that was never there isn't one scaled to 0",
        ),
        pytest.param(
            hpa(current=1, desired=10, conditions=[condition("AbleToScale", "SucceededRescale")]),
            0,
            10,
            Stage.STABILIZATION,
            "it stays at 10 pods",
            id="a rescale is reported with the number of pods before it",
        ),
        pytest.param(hpa(current=0), 20, 0, Stage.CONDITION, "hasn't synced this HPA yet", id="a new HPA"),
        pytest.param(
            hpa(current=4, behavior=PROMPT, conditions=[condition("AbleToScale", "FailedUpdateScale", "False")]),
            20,
            4,
            Stage.CONDITION,
            "the HPA reports FailedUpdateScale: it can't change the workload's scale",
            id="a workload that can't be scaled",
        ),
        pytest.param(
            hpa(current=4, conditions=[condition("ScalingActive", "AmbiguousSelector", "False")]),
            20,
            4,
            Stage.CONDITION,
            "the HPA reports AmbiguousSelector: another autoscaler selects the same pods",
            id="two autoscalers for the same pods",
        ),
        pytest.param(
            hpa(current=12, conditions=[condition("AbleToScale", "FailedUpdateScale", "False", "frozen")]),
            20,
            12,
            Stage.CONDITION,
            "the HPA reports FailedUpdateScale: frozen",
            id="more pods than maxReplicas that can't be scaled",
        ),
        pytest.param(
            hpa(current=4, conditions=FAILED, current_metrics=[{"type": ""}]),
            20,
            4,
            Stage.ERROR,
            "no metric has a value now, so the autoscaler keeps 4 pods; confirmed by the HPA (FailedGetExternalMetric)",
            id="a metric that only beanscale can read",
        ),
        pytest.param(
            hpa(current=8, conditions=[*FAILED, IDLE[1]]),
            2,
            8,
            Stage.STABILIZATION,
            "of the last 5 min",
            id="a limit of a sync before the last one",
        ),
        pytest.param(
            hpa(external(value="3"), current=1, conditions=IDLE, current_metrics=[last_value(value="6")]),
            9,
            1,
            Stage.CONDITION,
            "the HPA reports TooFewReplicas: minReplicas prevents fewer pods; pods that aren't ready don't count",
            id="a value target whose pods may not be ready",
        ),
        pytest.param(
            hpa(external(value="3"), current=1, conditions=IDLE, current_metrics=[last_value(value="0")]),
            9,
            3,
            Stage.FORMULA,
            "3 pods",
            id="but a new value counts",
        ),
        pytest.param(
            hpa(
                current=1,
                desired=5,
                behavior=SLOW_UP,
                conditions=[condition("AbleToScale", "SucceededRescale"), LIMIT_UP[1]],
                last_scale=JUST_NOW,
            ),
            20,
            5,
            Stage.POLICY,
            "changes already made in that period have used that up → 5 pods; confirmed by the HPA (ScaleUpLimit)",
            id="a policy that the last sync has used up",
        ),
        pytest.param(
            hpa(current=8, behavior=AT_ONCE_DOWN, conditions=LIMIT_UP, generations=(2, 1)),
            2,
            1,
            Stage.FORMULA,
            "→ 1 pod",
            id="conditions of an earlier spec don't count",
        ),
        pytest.param(
            hpa(current=4, conditions=[condition("AbleToScale", "FailedGetScale", "False")], generations=(2, 1)),
            20,
            4,
            Stage.CONDITION,
            "the HPA reports FailedGetScale",
            id="without a scale, the HPA never reports which spec it read",
        ),
    ],
)
def test_a_decision_never_contradicts_the_conditions(
    autoscaler: Json, value: float, pods: int, stage: Stage, words: str
) -> None:
    decision = decided(autoscaler, jobs(value))
    assert (decision.pods, decision.decided_by.stage) == (pods, stage)
    assert words in decision.decided_by.sentence


def test_a_value_target_without_pods_is_no_value_unless_within_the_tolerance() -> None:
    autoscaler = hpa(external(value="5"), current=4, behavior=PROMPT)
    assert decided(autoscaler, jobs(10), scale=Scale(4, 0)).decided_by.stage is Stage.ERROR
    assert decided(autoscaler, jobs(5), scale=Scale(4, 0)).decided_by.stage is Stage.TOLERANCE


def test_from_zero_pods_no_tolerance_applies() -> None:
    autoscaler = hpa(external(value="5"), minimum=0, current=0, conditions=TO_ZERO)
    assert decided(autoscaler, jobs(5)).pods == 1


def test_another_target_is_another_decision() -> None:
    values = parse_hpa(hpa(behavior=PROMPT))
    answers = {
        target: decide(
            with_target(values, 0, Target(TargetKind.AVERAGE_VALUE, target * 1000)), values.scale, [jobs(20)], NOW_S
        ).pods
        for target in (2, 3, 5, 40)
    }
    assert answers == {2: 10, 3: 7, 5: 4, 40: 1}


def as_object(controller: Controller) -> Json:
    """Return the controller's HPA as kube-apiserver would show it: without its history."""
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


ANY = {
    "minimum": st.integers(0, 3),
    "more": st.integers(0, 40),
    "target": st.integers(1, 7),
    "behavior": BEHAVIORS,
    "replicas": st.integers(1, 45),
}


@given(load=st.lists(st.tuples(st.integers(0, 120), st.sampled_from([5, 15, 40, 200])), min_size=1, max_size=12), **ANY)
def test_a_sync_that_changed_nothing_is_explained_by_the_conditions_that_it_reported(
    minimum: int, more: int, target: int, behavior: dict[str, Any] | None, replicas: int, load: list[tuple[int, int]]
) -> None:
    controller = Controller(minimum, max(1, minimum) + more, target, behavior, replicas)
    now_s = NOW_S
    for total, pause_s in load:
        before = controller.replicas
        if controller.sync(total, now_s) == before:
            values = parse_hpa(as_object(controller))
            assert decide(values, values.scale, [jobs(total)], now_s).pods == before
        now_s += pause_s


@given(total=st.integers(0, 400), **ANY)
def test_without_windows_and_earlier_changes_the_decision_is_the_controllers(
    minimum: int, more: int, target: int, behavior: dict[str, Any] | None, replicas: int, total: int
) -> None:
    rules = {
        way: {**(behavior or {}).get(way, {}), "stabilizationWindowSeconds": 0} for way in ("scaleUp", "scaleDown")
    }
    controller = Controller(minimum, max(1, minimum) + more, target, rules, replicas, recommendations=[(LONG_AGO, 0)])
    values = parse_hpa(as_object(controller))
    assert decide(values, values.scale, [jobs(total)], NOW_S).pods == controller.sync(total, NOW_S)


@given(changes=st.lists(st.tuples(st.sampled_from([5, 15, 40, 200]), st.integers(-9, 9)), max_size=5), **ANY)
def test_earlier_changes_use_up_what_the_policies_allow(
    minimum: int,
    more: int,
    target: int,
    behavior: dict[str, Any] | None,
    replicas: int,
    changes: list[tuple[float, int]],
) -> None:
    controller = Controller(minimum, max(1, minimum) + more, target, behavior or {}, replicas)
    controller.changes = [(NOW_S - ago_s, added) for ago_s, added in changes]
    values = parse_hpa(as_object(controller))
    assert scale_up_limit(values, replicas, changes) == max(replicas, controller.limit("scaleUp", NOW_S))
    assert scale_down_limit(values, replicas, changes) == min(replicas, controller.limit("scaleDown", NOW_S))
