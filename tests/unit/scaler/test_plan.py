"""When the number of pods is changed, to what, and why not."""

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hpa.autoscaler import Scale
from app.hpa.decision import Total, decide
from app.metrics.formula import parse_formula
from app.metrics.rules import Glob, Hold, Rule, Rules
from app.scaler.plan import Change, Direction, make_plan
from tests.unit.console.moments import MAX_AGE_S, server, tube, unread
from tests.unit.hpa.hpas import CONFLICT, RULES, condition, external
from tests.unit.scaler.situations import BOTH, annotated, jobs, names, situation

IMMEDIATE = {"beanscale/immediate": "true"}
TO_ZERO = {"beanscale/scale-to-zero": "10s"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
MANY = {"scaleUp": {"policies": [{"type": "Pods", "value": 10, "periodSeconds": 15}]}}
PER_MINUTE_100 = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 60}]}}
PER_MINUTE = {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}}


def up(replicas: int, why: str) -> Change:
    return Change(Direction.UP, replicas, why)


def test_up_to_what_the_hpa_would_decide() -> None:
    plan = make_plan(situation(annotated(IMMEDIATE, behavior=MANY), jobs(ready=15, reserved=5)))
    assert plan.change == up(10, "tube-orders is 20, target 2 per pod: 20 ÷ 2 = 10 → 10 pods")
    assert plan.obstacles == ()


@pytest.mark.parametrize(
    ("annotations", "given_", "replicas"),
    [
        ({}, {}, None),
        ({"beanscale/immediate": "false"}, {}, None),
        (IMMEDIATE | {"beanscale/paused": "true"}, {}, None),
        (IMMEDIATE | {"beanscale/paused": "no"}, {}, None),
        (TO_ZERO, {}, None),
        (IMMEDIATE, {"spec": 10}, None),
        (IMMEDIATE, {"spec": 12}, None),
        # Without behavior, one sync at most doubles the pods, or scales to 4.
        (IMMEDIATE, {}, 4),
        (IMMEDIATE, {"spec": 4}, 8),
        (IMMEDIATE, {"spec": 4, "changes": [(14.0, 3)]}, None),
        (IMMEDIATE, {"spec": 4, "changes": [(15.0, 3)]}, 8),
        # What somebody else scaled to 0 stays there.
        (IMMEDIATE, {"spec": 0}, None),
    ],
)
def test_whether_and_how_far(annotations: dict[str, str], given_: dict[str, Any], replicas: int | None) -> None:
    change = make_plan(situation(annotated(annotations), jobs(ready=20), **given_)).change
    assert (change and change.replicas) == replicas


@pytest.mark.parametrize(
    ("changes", "replicas"),
    [([], 6), ([(59.0, 1)], 5), ([(59.0, 4)], None), ([(60.0, 4)], 6), ([(5.0, 2), (50.0, 1)], 3), ([(5.0, 9)], None)],
)
def test_increases_within_a_policys_period_count(changes: list[tuple[float, int]], replicas: int | None) -> None:
    autoscaler = annotated(IMMEDIATE, behavior=PER_MINUTE)
    change = make_plan(situation(autoscaler, jobs(ready=20), spec=2, changes=changes)).change
    assert (change and change.replicas) == replicas


def test_a_period_below_the_sync_period_counts_as_one_sync() -> None:
    """The controller adds 4 per sync, not every five seconds."""
    behavior = {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 5}]}}
    autoscaler = annotated(IMMEDIATE, behavior=behavior)
    assert make_plan(situation(autoscaler, jobs(ready=20), spec=5, changes=[(6.0, 4)])).change is None


@pytest.mark.parametrize("policy", [{"type": "Pods", "value": 2**31 - 1}, {"type": "Percent", "value": 2**31 - 1}])
def test_a_policy_that_overflows_the_controllers_int32_allows_nothing(policy: dict[str, Any]) -> None:
    autoscaler = annotated(IMMEDIATE, behavior={"scaleUp": {"policies": [policy | {"periodSeconds": 15}]}}, maximum=900)
    assert make_plan(situation(autoscaler, jobs(ready=900), spec=200)).change is None


@pytest.mark.parametrize(
    ("ready", "spec", "present", "replicas"),
    [
        # Its pods are being created: at the controller's next sync, 21 is within tolerance of 10 pods.
        (21, 10, 1, None),
        (23, 10, 1, 12),
        # A rollout has 13 pods for a moment, of which 24 and 28 are within tolerance.
        (24, 10, 13, 12),
        (28, 10, 13, 13),
        (21, 10, 13, None),
    ],
)
def test_pods_that_start_or_are_replaced_add_none(ready: int, spec: int, present: int, replicas: int | None) -> None:
    many = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}}
    autoscaler = annotated(IMMEDIATE, behavior=many, maximum=100)
    change = make_plan(situation(autoscaler, jobs(ready=ready), spec=spec, present=present)).change
    assert (change and change.replicas) == replicas


def test_a_metric_of_another_adapter_neither_adds_nor_keeps() -> None:
    found = {"type": "External", "external": {"metric": {"name": "lag"}, "current": {"averageValue": "9"}}}
    autoscaler = annotated(
        IMMEDIATE,
        external("lag", averageValue="1"),
        external(averageValue="2"),
        CPU,
        behavior=MANY,
        current_metrics=[found, {"type": ""}, {"type": ""}],
    )
    change = make_plan(situation(autoscaler, jobs(ready=6), spec=1)).change
    assert change is None  # at its last sync, the HPA itself got no value of tube-orders
    change = make_plan(
        situation(
            replace(autoscaler, metrics=tuple(replace(each, failed=False) for each in autoscaler.metrics)),
            jobs(ready=6),
            spec=1,
        )
    ).change
    assert change is not None
    assert change.replicas == 3


@pytest.mark.parametrize("spec", [0, 1])
@pytest.mark.parametrize(
    "expression",
    [{"key": "server", "operator": "NotIn", "values": ["eu"]}, {"key": "tube", "operator": "DoesNotExist"}],
)
def test_a_selector_that_no_value_matches_scales_nothing(expression: dict[str, Any], spec: int) -> None:
    metric = external("beanstalkd_tube_jobs", {"matchExpressions": [expression]}, averageValue="2")
    plan = make_plan(situation(annotated(BOTH, metric, behavior=MANY), jobs(ready=20), spec=spec, idle_for_s=10.0))
    assert plan.change is None
    (obstacle,) = plan.obstacles
    assert obstacle.reason == "no_value"
    assert obstacle.sentence.startswith("no value of beanstalkd_tube_jobs matches its selector")


def test_tubes_that_a_selector_excludes_neither_keep_nor_add_a_pod() -> None:
    """Two workloads share all tubes between them."""
    others = {"matchExpressions": [{"key": "tube", "operator": "NotIn", "values": ["orders"]}]}
    autoscaler = annotated(TO_ZERO, external("beanstalkd_tube_jobs", others, averageValue="2"))
    state = server(tube("orders", ready=3), tube("mail"))
    change = make_plan(situation(autoscaler, state, idle_for_s=10.0)).change
    assert (change and change.replicas) == 0
    # The selected tube has only delayed jobs.
    state = server(tube("orders", ready=3), tube("mail", delayed=3))
    assert make_plan(situation(autoscaler, state, spec=0)).change is None


@pytest.mark.parametrize("length", [10_000, 1_000_000])
def test_metrics_of_other_adapters_cost_next_to_nothing(length: int) -> None:
    """Kubernetes doesn't limit a metric's name."""
    autoscaler = annotated(IMMEDIATE, *(external("x" * length, averageValue="2") for _ in range(5)))
    autoscaler = replace(autoscaler, options=replace(autoscaler.options, errors=()))  # as if it weren't too large
    state = server(*(tube(f"t{number}") for number in range(50)))
    began = time.process_time()
    make_plan(situation(autoscaler, state))
    assert time.process_time() - began < 0.1


def test_pods_that_start_explain_the_average_of_the_last_sync() -> None:
    """That sync came after beanscale had scaled from 1 to 10, and before the pods were created: 20 jobs per pod."""
    found = {"type": "External", "external": {"metric": {"name": "tube-orders"}, "current": {"averageValue": "20"}}}
    conditions = [
        condition("AbleToScale", "ReadyForNewScale"),
        condition("ScalingActive", "ValidMetricFound"),
        condition("ScalingLimited", "DesiredWithinRange", "False"),
    ]
    autoscaler = annotated(
        IMMEDIATE, maximum=100, current=10, behavior=PER_MINUTE_100, conditions=conditions, current_metrics=[found]
    )
    plan = make_plan(situation(autoscaler, jobs(ready=100), spec=10, changes=[(-10.0, 9)]))
    assert (plan.change and plan.change.replicas, plan.obstacles) == (50, ())
    # Without an increase, the sync shows that something keeps the controller from scaling.
    plan = make_plan(situation(autoscaler, jobs(ready=100), spec=10))
    assert (plan.change, names(plan.obstacles)) == (None, ["condition"])


@pytest.mark.parametrize(("message", "replicas"), [(CONFLICT, 10), ("denied by an admission webhook", None)])
def test_a_conflict_of_the_controllers_last_change_is_no_obstacle(message: str, replicas: int | None) -> None:
    """Beanscale's own change may be the other one. Before Kubernetes 1.37, the controller waits for its next sync."""
    failed = condition("AbleToScale", "FailedUpdateScale", "False", f"unable to update the target scale: {message}")
    plan = make_plan(situation(annotated(IMMEDIATE, behavior=MANY, conditions=[failed]), jobs(ready=20)))
    assert (plan.change and plan.change.replicas) == replicas
    assert names(plan.obstacles) == ([] if replicas else ["condition"])


def test_a_value_target_scales_only_from_zero() -> None:
    autoscaler = annotated(BOTH, external(value="5"), behavior=MANY)
    plan = make_plan(situation(autoscaler, jobs(ready=20)))
    assert (plan.change, names(plan.obstacles)) == (None, ["readiness"])
    change = make_plan(situation(autoscaler, jobs(ready=20), spec=0)).change
    assert change is not None
    assert (change.direction, change.replicas) == (Direction.FROM_ZERO, 4)


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [({"selectPolicy": "Disabled"}, "disabled"), ({"stabilizationWindowSeconds": 30}, "stabilization")],
)
def test_a_behavior_that_rules_it_out(behavior: dict[str, Any], reason: str) -> None:
    """From zero, the HPA's minimum remains: without it, the workload could never start again."""
    autoscaler = annotated(BOTH, behavior={"scaleUp": behavior})
    plan = make_plan(situation(autoscaler, jobs(ready=20)))
    assert (plan.change, names(plan.obstacles)) == (None, [reason])
    change = make_plan(situation(autoscaler, jobs(ready=20), spec=0)).change
    assert change is not None
    assert (change.direction, change.replicas) == (Direction.FROM_ZERO, 1)


@pytest.mark.parametrize(
    ("state", "activation", "replicas"),
    [
        (jobs(ready=20), "0", 10),
        (jobs(ready=1), "0", 1),
        (jobs(ready=20), "19", 10),
        (jobs(ready=20), "20", None),
        (jobs(delayed=20), "0", None),
        (jobs(buried=20), "0", None),
        (jobs(reserved=20), "0", None),
        (jobs(ready=20, pause_left=60, pauses=1), "0", None),
        (server(), "0", None),
        (server(tube(ready=20), failure="connection refused"), "0", None),
        (unread(), "0", None),
    ],
)
def test_from_zero(state: Any, activation: str, replicas: int | None) -> None:
    autoscaler = annotated(TO_ZERO | {"beanscale/activation": activation}, behavior=MANY)
    change = make_plan(situation(autoscaler, state, spec=0)).change
    assert (change and change.replicas) == replicas
    assert change is None or change.direction is Direction.FROM_ZERO


@pytest.mark.parametrize("metric", ["beanstalkd_tube_drain_seconds", "beanstalkd_tube_jobs_put_per_second"])
@pytest.mark.parametrize(
    ("state", "activation", "replicas"),
    [
        (jobs(ready=3), "0", 1),
        (jobs(ready=3), "10", None),
        (jobs(), "0", None),
        (jobs(ready=3, pause_left=60, pauses=1), "0", None),
        (server(tube(ready=3), failure="connection refused"), "0", None),
    ],
)
def test_from_zero_although_a_metric_has_no_number_yet(
    metric: str, state: Any, activation: str, replicas: int | None
) -> None:
    """No job is deleted while no pod runs, so the drain time would be unknown forever."""
    of_tube = external(metric, {"matchLabels": {"tube": "orders"}}, averageValue="60")
    autoscaler = annotated(TO_ZERO | {"beanscale/activation": activation}, of_tube, behavior=MANY)
    change = make_plan(situation(autoscaler, state, spec=0)).change
    assert (change and change.replicas) == replicas


@pytest.mark.parametrize("activation", ["0", "10"])
@pytest.mark.parametrize("second", [1.0, 16.0])
def test_from_zero_although_another_beanstalkd_cannot_be_read(activation: str, second: float) -> None:
    """Its readings still count for maxAge. Then the number of jobs isn't known, but that one is ready."""
    autoscaler = annotated(TO_ZERO | {"beanscale/activation": activation}, behavior=MANY)
    here = server(tube(ready=16, second=second), second=second)
    gone = server(tube(ready=2), name="us", failure="connection refused")
    change = make_plan(situation(autoscaler, here, gone, spec=0, second=second)).change
    assert (change and change.replicas) == (9 if second < MAX_AGE_S else None if activation != "0" else 1)
    idle = server(tube(second=second), second=second)
    for spec in (0, 1):
        assert make_plan(situation(autoscaler, idle, gone, spec=spec, second=second, idle_for_s=10.0)).change is None


def test_from_zero_by_one_of_two_metrics() -> None:
    """The other one's beanstalkd can't be read."""
    of = {name: {"matchLabels": {"tube": "orders", "server": name}} for name in ("eu", "us")}
    each = (external("beanstalkd_tube_jobs", of[name], averageValue="2") for name in of)
    gone = unread("us")
    change = make_plan(situation(annotated(TO_ZERO, *each, behavior=MANY), jobs(ready=20), gone, spec=0)).change
    assert (change and change.replicas) == 10


def test_from_zero_to_a_minimum_that_was_raised_meanwhile() -> None:
    change = make_plan(situation(annotated(TO_ZERO, minimum=3), jobs(ready=1), spec=0)).change
    assert (change and change.replicas) == 3


def test_from_zero_by_kubernetes_itself() -> None:
    """With minReplicas 0, only what the HPA scaled to 0, and would scale up again."""
    zero = {"minimum": 0, "current": 0, "behavior": MANY}
    scaled = [condition("ScaledToZero", "ScaledToZero"), condition("ScalingActive", "ValidMetricFound")]
    change = make_plan(situation(annotated(IMMEDIATE, **zero, conditions=scaled), jobs(ready=20), spec=0)).change
    assert change is not None
    assert change.replicas == 10
    by_hand = [
        condition("ScaledToZero", "NotScaledToZero", "False"),
        condition("ScalingActive", "ScalingDisabled", "False"),
    ]
    assert make_plan(situation(annotated(IMMEDIATE, **zero, conditions=by_hand), jobs(ready=20), spec=0)).change is None


@pytest.mark.parametrize(
    ("fields", "given_", "state", "changed"),
    [
        ({}, {}, jobs(), True),
        ({}, {}, server(), True),
        ({}, {}, jobs(buried=3, delayed=3), True),
        ({}, {"idle_for_s": 9.9}, jobs(), False),
        ({}, {}, jobs(ready=1, pause_left=60, pauses=1), False),
        ({}, {}, jobs(reserved=1), False),
        ({}, {"spec": 2}, jobs(), False),
        ({"minimum": 2}, {}, jobs(), False),
        ({}, {}, server(tube(), failure="timed out"), False),
    ],
)
def test_to_zero(fields: dict[str, Any], given_: dict[str, Any], state: Any, changed: bool) -> None:
    change = make_plan(situation(annotated(TO_ZERO, **fields), state, **({"idle_for_s": 10.0} | given_))).change
    expected = Change(Direction.TO_ZERO, 0, "no job was ready, reserved, put or deleted for 10 s")
    assert change == (expected if changed else None)


@pytest.mark.parametrize("metric", [CPU, external("another", averageValue="2")])
def test_not_to_zero_with_a_metric_of_someone_else(metric: Any) -> None:
    """Scaling up isn't affected."""
    autoscaler = annotated(BOTH, external(averageValue="2"), metric, behavior=MANY)
    plan = make_plan(situation(autoscaler, jobs(), idle_for_s=10.0))
    assert (plan.change, names(plan.obstacles)) == (None, ["other_metric"])
    plan = make_plan(situation(autoscaler, jobs(ready=20)))
    assert plan.change is not None
    assert (plan.change.replicas, names(plan.obstacles)) == (10, ["other_metric"])


def test_not_to_zero_while_another_hpa_selects_the_same_pods() -> None:
    conditions = [
        condition("AbleToScale", "SucceededGetScale"),
        condition("ScalingActive", "AmbiguousSelector", "False"),
    ]
    autoscaler = annotated(TO_ZERO, conditions=conditions)
    assert make_plan(situation(autoscaler, jobs(), idle_for_s=10.0)).change is None


def test_a_metric_is_queried_as_the_controller_queries_it() -> None:
    """client-go lowercases the name, so with both tubes the controller gets an error."""
    autoscaler = annotated(BOTH, external("tube-Orders", averageValue="2"), behavior=MANY)
    both = server(tube("Orders", ready=20), tube("orders", ready=1))
    assert make_plan(situation(autoscaler, both)).change is None
    assert make_plan(situation(autoscaler, both, spec=0)).change is None
    change = make_plan(situation(autoscaler, server(tube("Orders", ready=20)))).change
    assert (change and change.replicas) == 10


def test_an_hpa_without_any_metric_of_beanscale_is_reported() -> None:
    (obstacle,) = make_plan(
        situation(annotated(IMMEDIATE, external("lag", averageValue="2")), jobs(ready=20))
    ).obstacles
    assert (obstacle.reason, obstacle.sentence) == (
        "other_metric",
        "beanscale serves none of the HPA's metrics, like lag; correct the name, or remove beanscale/immediate",
    )


def test_a_metric_without_a_value() -> None:
    plan = make_plan(situation(annotated(BOTH), unread(), idle_for_s=10.0))
    assert plan.change is None
    (obstacle,) = plan.obstacles
    assert obstacle.reason == "no_value"
    assert obstacle.sentence.startswith("beanstalkd 'eu' (eu.example:11300) can't be read: connection refused")


@pytest.mark.parametrize("policy", [Hold(600.0)])
def test_what_onfailure_puts_in_place_of_a_reading_scales_nothing(policy: Any) -> None:
    rule = Rule("work", Glob(("orders",)), parse_formula("ready"), on_failure=policy)
    autoscaler = annotated(BOTH, external("work", averageValue="2"), behavior=MANY)
    rules = Rules({"work": rule})
    assert make_plan(situation(autoscaler, jobs(ready=20), rules=rules)).change is not None
    plan = make_plan(situation(autoscaler, jobs(ready=20), rules=rules, second=16.0))
    assert (plan.change, names(plan.obstacles)) == (None, ["no_value"])


@given(
    behavior=st.none() | st.fixed_dictionaries({}, optional={"scaleUp": RULES, "scaleDown": RULES}),
    value=st.integers(0, 300),
    target=st.integers(1, 9),
    spec=st.integers(1, 40),
    present=st.integers(0, 40),
    maximum=st.integers(1, 40),
    added=st.lists(st.tuples(st.floats(0, 400), st.integers(1, 20)), max_size=3),
)
def test_never_more_than_the_hpas_own_decision(
    behavior: Any, value: int, target: int, spec: int, present: int, maximum: int, added: Any
) -> None:
    autoscaler = annotated(IMMEDIATE, external(averageValue=str(target)), maximum=maximum, behavior=behavior)
    change = make_plan(situation(autoscaler, jobs(ready=value), spec=spec, present=present, changes=added)).change
    decided = decide(autoscaler, Scale(spec, present), [Total(value * 1000)], 0.0).pods
    assert change is None or spec < change.replicas <= decided
