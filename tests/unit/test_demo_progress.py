"""What the demo computes from its observations, and its texts."""

from dataclasses import replace
from fractions import Fraction

import pytest

from scripts.lib.demo_progress import (
    Condition,
    Milestones,
    Observation,
    Scaling,
    Step,
    changes,
    is_idle,
    jobs_lost,
    milestones,
    parse_conditions,
    parse_per_pod,
    parse_quantity,
    parse_scaling,
    proof,
    steps,
    stuck,
    unchanged_s,
)

SCALING = Scaling("tube-hello-world", Fraction(2), min_pods=1, max_pods=10, timeout_s=120)
ACTIVE = Condition("ScalingActive", holds=True, reason="ValidMetricFound", message="it was able to")
REST = Observation(0, 0, 0, 0, 0, Fraction(0), 1, 1, 1, 1, (ACTIVE,))


def seen(at_s: float, jobs: int, desired: int, pods: int, deleted: int | None = None) -> Observation:
    done = 20 - jobs if deleted is None else deleted
    state = replace(REST, at_s=at_s, ready=jobs, metric=jobs, deleted=done, desired=desired, pods=pods)
    return replace(state, replicas=desired, current=desired)


def seen_before_a_sync(at_s: float, jobs: int, replicas: int) -> Observation:
    return replace(seen(at_s, jobs, 1, 1), replicas=replicas)


UP_AND_BACK = (seen(0, 20, 1, 1), seen(4, 19, 10, 1), seen(9, 10, 10, 10), seen(15, 0, 10, 10), seen(60, 0, 1, 1))


def autoscaler(current: str | None = "400m", **spec: object) -> dict[str, object]:
    external = {"metric": {"name": "tube-hello-world"}, "target": {"type": "AverageValue", "averageValue": "2"}}
    metrics = [{"type": "External", "external": {"current": {"averageValue": current}}}] if current else [{"type": ""}]
    return {
        "spec": {"maxReplicas": 10, "metrics": [{"type": "External", "external": external}], **spec},
        "status": {"currentMetrics": metrics},
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", Fraction(2)), ("400m", Fraction(2, 5)), ("1k", Fraction(1000)), ("-1500m", Fraction(-3, 2))],
)
def test_a_quantity_is_an_exact_number(text: str, number: Fraction) -> None:
    assert parse_quantity(text) == number


def test_the_hpas_spec_is_parsed_with_kubernetes_defaults() -> None:
    assert parse_scaling(autoscaler()) == replace(SCALING, timeout_s=390)


def test_the_timeout_exceeds_the_stabilization_window() -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 30}}
    assert parse_scaling(autoscaler(minReplicas=1, behavior=behavior)) == SCALING


def test_an_hpas_average_value_is_multiplied_by_its_pods() -> None:
    assert parse_per_pod(autoscaler("400m")) == Fraction(2, 5)


@pytest.mark.parametrize("current", [None, "-9223372036854775808m"])
def test_a_failed_metric_and_the_meaningless_one_at_no_pods_are_no_value(current: str | None) -> None:
    assert parse_per_pod(autoscaler(current)) is None


def test_an_hpa_not_synced_yet_has_neither_value_nor_conditions() -> None:
    assert (parse_per_pod({"spec": {}}), parse_conditions({"spec": {}})) == (None, ())


@pytest.mark.parametrize(("jobs", "pods"), [(0, 1), (1, 1), (3, 2), (19, 10), (20, 10), (500, 10)])
def test_pods_are_rounded_up_and_kept_within_limits(jobs: int, pods: int) -> None:
    assert SCALING.pods_for(jobs) == pods


def test_at_rest_there_are_no_jobs_and_no_surplus_pods() -> None:
    assert is_idle(SCALING, REST)
    assert not is_idle(SCALING, replace(REST, pods=2))
    assert not is_idle(SCALING, replace(REST, ready=1))
    assert not is_idle(SCALING, replace(REST, ready=None))


def test_each_milestone_has_the_second_of_the_first_sample_that_shows_it() -> None:
    assert milestones(SCALING, 20, UP_AND_BACK) == Milestones(
        scaled_s=4, synced_s=4, peak=10, ready_s=9, done_s=15, back_s=60
    )


def test_beanscale_scaled_if_the_controller_had_not_synced() -> None:
    run = (seen_before_a_sync(0, 0, 1), seen_before_a_sync(1, 20, 10), *UP_AND_BACK[2:])
    reached = milestones(SCALING, 20, run)
    assert (reached.scaled_s, reached.by_beanscale, reached.synced_s) == (1, True, 9)
    assert proof(SCALING, 20, reached).startswith(
        "20 jobs put → scaled to 10 pods by beanscale after 1.0 s"
        " → without beanscale, the HPA would have scaled after 9.0 s → "
    )


def test_scale_up_is_complete_when_desired_pods_match_the_jobs() -> None:
    """With a sync every 15 s one pod has done three jobs before the autoscaler looks for the first time."""
    reached = milestones(SCALING, 20, (seen(0, 20, 1, 1), seen(15, 17, 9, 1)))
    assert (reached.scaled_s, reached.peak) == (15, 9)


def test_a_smaller_first_step_is_not_a_complete_scale_up() -> None:
    assert milestones(SCALING, 20, (seen(0, 20, 1, 1), seen(4, 19, 4, 1))).scaled_s is None


def test_pods_are_ready_only_when_the_largest_desired_number_is() -> None:
    run = (seen(0, 18, 9, 1), seen(5, 18, 9, 9), seen(6, 20, 10, 9))
    assert milestones(SCALING, 20, run).ready_s is None


def test_a_missing_sample_proves_nothing() -> None:
    blind = replace(seen(4, 0, 10, 10), ready=None, reserved=None)
    assert milestones(SCALING, 20, (blind,)) == Milestones()


def test_an_empty_tube_without_as_many_deletions_has_lost_jobs() -> None:
    """A beanstalkd without a binlog forgets its jobs, and its counts, when it restarts."""
    restarted = seen(9, 0, 10, 10, deleted=-37)
    assert jobs_lost(20, restarted)
    assert not jobs_lost(20, seen(9, 0, 10, 10, deleted=20))
    assert milestones(SCALING, 20, (seen(0, 20, 1, 1), restarted, seen(60, 0, 1, 1, deleted=-37))).done_s is None


def test_quiet_is_counted_from_the_last_change_of_jobs_or_pods() -> None:
    run = (seen(0, 20, 1, 1), seen(4, 19, 1, 1), seen(30, 19, 1, 1), replace(seen(50, 19, 1, 1), metric=7))
    assert unchanged_s(run) == 50
    assert unchanged_s((*run, seen(51, 18, 1, 1))) == 1
    assert unchanged_s(run[:1]) == 0


def test_the_proof_is_one_sentence_with_numbers() -> None:
    assert proof(SCALING, 20, milestones(SCALING, 20, UP_AND_BACK)) == (
        "20 jobs put → scaled to 10 pods by the HPA controller after 4.0 s"
        " → the HPA controller's next sync after 4.0 s → 10 pods ready after 9.0 s"
        " → all 20 jobs done after 15.0 s → back to 1 pod after 60.0 s"
    )


def test_pods_that_started_after_the_last_job_are_omitted_from_the_proof() -> None:
    reached = Milestones(scaled_s=4, peak=10, ready_s=None, done_s=15)
    assert [state for _, state, _ in steps(SCALING, 20, reached)] == [
        Step.REACHED,
        Step.PENDING,
        Step.SKIPPED,
        Step.REACHED,
        Step.PENDING,
    ]


def test_a_line_is_drawn_for_each_change_and_none_for_none() -> None:
    before, after = seen(0, 20, 1, 1), replace(seen(4.2, 19, 10, 1), per_pod=Fraction(19))
    assert changes(before, replace(before, at_s=1)) == []
    assert changes(before, after) == [
        "   4.2 s  jobs: 19 ready, 0 reserved; metric: 19; the HPA sees 19 per pod, wants 10 pods;"
        " Deployment: 10 pods, 1 ready"
    ]


def test_each_condition_is_printed_once() -> None:
    said = "   0.0 s  the HPA has a metric value"
    assert said in changes(None, REST)
    assert changes(REST, replace(REST, at_s=1)) == []


def test_unknown_reasons_are_printed_with_kubernetes_message() -> None:
    strange = Condition("ScalingActive", holds=False, reason="FailedGetExternalMetric", message="unable to get it")
    assert changes(REST, replace(REST, conditions=(strange,))) == ["   0.0 s  the HPA reports: unable to get it"]


def test_a_missing_sample_is_a_question_mark_with_its_reason() -> None:
    blind = replace(REST, metric=None, errors=("kube-apiserver is away",))
    figures, reason = changes(REST, blind)
    assert "metric: ?;" in figures
    assert reason.endswith("kube-apiserver is away")


def test_a_timeout_names_the_missing_step_and_its_reason() -> None:
    blocked = Condition("ScalingActive", holds=False, reason="FailedGetExternalMetric", message="503")
    last = replace(seen(120, 19, 1, 1), conditions=(blocked,))
    assert stuck(SCALING, 20, milestones(SCALING, 20, (last,)), last) == (
        "no progress for 120 s while waiting for “scaled to 10 pods”: the HPA reports: 503"
    )


def test_without_a_reason_a_timeout_has_the_numbers() -> None:
    last = seen(120, 19, 1, 1)
    assert "jobs: 19 ready" in stuck(SCALING, 20, Milestones(), last)


@pytest.mark.parametrize(
    ("jobs_per_pod", "words"),
    [(Fraction(2), "one pod per 2 jobs, 1 to 10 pods"), (Fraction(1), "one pod per job, 1 to 10 pods")],
)
def test_the_ratio_is_formatted_for_people(jobs_per_pod: Fraction, words: str) -> None:
    assert str(replace(SCALING, jobs_per_pod=jobs_per_pod)) == words
