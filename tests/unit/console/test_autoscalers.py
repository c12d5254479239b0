"""The cluster's autoscalers: judged by our own readings, linked to their tubes, and unknown when they aren't known."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from app.beanstalkd.demand import Demand
from app.beanstalkd.reading import ServerState, Snapshot
from app.console.autoscalers import (
    AutoscalerPoller,
    AutoscalerStore,
    evaluate_autoscalers,
    parse_target,
    what_if,
)
from app.console.errors import RequestError
from app.console.events import Event
from app.explain.collect import collect_autoscaler
from app.explain.report import make_report, report_json
from app.hpa.autoscaler import Autoscaler, parse_hpa
from app.hpa.decision import Missing, NotQueried, Total
from app.metrics.formula import parse_formula
from app.metrics.query import EvaluationContext
from app.metrics.rules import Glob, Rule, Rules
from app.settings import ObjectName
from tests.unit.console.moments import MAX_AGE_S, at, server, tube, unread
from tests.unit.explain.cluster import DEPLOYMENT, EVENTS, METRICS, Cluster, deployment, event, listed
from tests.unit.explain.explanations import explanation
from tests.unit.hpa.hpas import condition, external, hpa

NAME = ObjectName("shop", "orders")
ALL = "/apis/autoscaling/v2/horizontalpodautoscalers"
ONE = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/orders"
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
ORDERS = external(averageValue="2")
RULES = Rules({"backlog": Rule("backlog", Glob(("order-*",)), parse_formula("ready"), frozenset({"eu"}))})


def known(*states: ServerState, rules: Rules = RULES) -> EvaluationContext:
    return EvaluationContext(Snapshot(states or (server(tube(ready=20)),)), at(0), MAX_AGE_S, rules)


def looked_at(*hpas: dict, given: EvaluationContext | None = None) -> AutoscalerStore:
    data = AutoscalerStore("not yet")
    data.update(evaluate_autoscalers(map(parse_hpa, hpas), given or known()), at(0).unix_s)
    return data


def test_an_autoscaler_is_shown_with_its_metric_pods_and_deciding_step() -> None:
    data = looked_at(hpa(current=8, desired=8)).to_json(at(0).unix_s)
    assert (data["available"], data["why"]) == (True, None)
    (one,) = data["autoscalers"]
    assert (one["namespace"], one["name"], one["target"]) == ("shop", "orders", "Deployment/orders")
    assert one["metrics"] == [
        {
            "name": "tube-orders",
            "selector": "",
            "total": "20",
            "target": {"type": "AverageValue", "amount": "2"},
            "unit": "jobs",
        }
    ]
    assert (one["current"], one["desired"], one["min"], one["max"]) == (8, 8, 1, 10)
    assert one["sentence"].startswith("8 pods now → 10: tube-orders is 20, target 2 per pod")


def test_autoscalers_without_an_external_metric_are_omitted() -> None:
    assert looked_at(hpa(CPU)).to_json(0)["autoscalers"] == []


@pytest.mark.parametrize(
    ("metric", "states", "seen"),
    [
        pytest.param("tube-orders", (server(tube(ready=3, reserved=1)),), Total(4000), id="a tube's"),
        pytest.param("tube-unknown", (server(),), Total(0), id="a tube's that isn't there"),
        pytest.param(
            "backlog", (server(tube("order-a", ready=2), tube("order-b", ready=3)),), Total(5000), id="a rule's"
        ),
        pytest.param("another-adapters", (server(),), NotQueried(), id="what this console knows nothing of"),
    ],
)
def test_a_metric_has_a_value(metric: str, states: Sequence[ServerState], seen: object) -> None:
    (judged,) = evaluate_autoscalers([parse_hpa(hpa(external(metric, averageValue="2")))], known(*states)).states
    assert judged.observed == (seen,)


def test_an_unread_value_is_missing_and_never_zero() -> None:
    given = known(unread())
    (judged,) = evaluate_autoscalers([parse_hpa(hpa())], given).states
    assert isinstance(judged.observed[0], Missing)
    data = looked_at(hpa(), given=given)
    assert data.to_json(0)["autoscalers"][0]["metrics"][0]["total"] is None
    series = data.series(NAME)
    assert series is not None
    assert series["value"] == [None]


def test_a_value_that_only_the_hpa_has_is_that_of_its_last_sync() -> None:
    last = {"type": "External", "external": {"metric": {"name": "tube-orders"}, "current": {"averageValue": "3"}}}
    active = [condition("AbleToScale", "SucceededRescale"), condition("ScalingActive", "ValidMetricFound")]
    data = looked_at(hpa(current=2, desired=2, conditions=active, current_metrics=[last]), given=known(unread()))
    (row,) = data.to_json(0)["autoscalers"]
    assert (
        row["sentence"]
        == "2 pods now → 3: External metric tube-orders was 1.5 times its target at the last sync → 3 pods"
    )


def test_pods_that_the_hpa_cant_read_are_unknown() -> None:
    missing = condition("AbleToScale", "FailedGetScale", "False", 'deployments.apps "orders" not found')
    data = looked_at(hpa(current=4, conditions=[missing]), hpa(name="new", current=0))
    gone, new = data.to_json(0)["autoscalers"]
    assert [gone["current"], gone["desired"], new["current"], new["desired"]] == [None] * 4
    assert gone["sentence"] == 'no change: the HPA reports FailedGetScale: deployments.apps "orders" not found'
    assert new["sentence"] == "no change: the HPA controller hasn't synced this HPA yet"


def test_a_series_continues_over_polls_and_has_a_gap_while_the_cluster_failed() -> None:
    data = looked_at(hpa(current=2, desired=3))
    data.fail("no cluster", at(5).unix_s)
    data.update(evaluate_autoscalers([parse_hpa(hpa(current=3, desired=3))], known()), at(10).unix_s)
    series = data.series(NAME)
    assert series is not None
    assert (series["current"], series["desired"], series["value"]) == ([2, None, 3], [3, None, 3], [20, None, 20])
    assert (series["target"], series["min"], series["max"]) == (2, 1, 10)


def test_while_the_cluster_cant_be_read_the_list_has_the_error() -> None:
    data = looked_at(hpa())
    data.fail("https://k can't be asked: connection refused", 5)
    listing = data.to_json(5)
    assert (listing["available"], listing["why"]) == (False, "https://k can't be asked: connection refused")


def test_a_deleted_autoscaler_is_removed() -> None:
    data = looked_at(hpa())
    data.update(evaluate_autoscalers([], known()), 5)
    assert data.series(NAME) is None
    assert data.find(NAME) is None


@pytest.mark.parametrize(
    ("metric", "about", "not_about"),
    [
        pytest.param(
            external("tube-orders", value="1"), [("eu", "orders"), ("us", "orders")], [("eu", "mail")], id="tube"
        ),
        pytest.param(external("tube-upper", value="1"), [("eu", "UPPER")], [("eu", "orders")], id="upper case"),
        pytest.param(
            external("beanstalkd_tube_jobs", {"matchLabels": {"tube": "mail", "state": "ready"}}, value="1"),
            [("eu", "mail")],
            [("eu", "orders")],
            id="by label",
        ),
        pytest.param(external("beanstalkd_tube_jobs", value="1"), [], [("eu", "orders")], id="every tube is none"),
        pytest.param(
            external("beanstalkd_tube_jobs", {"matchLabels": {"tube": "mail", "server": "us"}}, value="1"),
            [("us", "mail")],
            [("eu", "mail")],
            id="by server",
        ),
        pytest.param(
            external("backlog", value="1"), [("eu", "order-9")], [("us", "order-9"), ("eu", "orders")], id="a rule"
        ),
    ],
)
def test_an_autoscaler_is_linked_to_its_tubes(
    metric: dict, about: list[tuple[str, str]], not_about: list[tuple[str, str]]
) -> None:
    links = evaluate_autoscalers(
        [parse_hpa(hpa(metric))], known(server(tube("orders"), tube("UPPER")), server(name="us"))
    ).links
    assert all(any(link.covers(*each) for link in links) for each in about)
    assert not any(link.covers(*each) for link in links for each in not_about)


VALUE = {
    "kind": "ExternalMetricValueList",
    "items": [{"metricName": "tube-orders", "metricLabels": {}, "value": "20"}],
}


def cluster(*hpas: dict) -> Cluster:
    answers: dict[tuple[str, str], dict | int] = {
        (ALL, ""): listed(*hpas),
        (f"{METRICS}/tube-orders", ""): VALUE,
        (DEPLOYMENT, ""): deployment(3, 3, 2),
    }
    return Cluster(answers)


def one(hpa_json: dict) -> Autoscaler:
    return parse_hpa(hpa_json)


@pytest.mark.parametrize(
    ("target", "pods"),
    [
        pytest.param("10", 2, id="ten a pod"),
        pytest.param("2500m", 8, id="a quantity"),
        pytest.param("0.5", 10, id="as many as it may have"),
        pytest.param("1000", 1, id="one is enough"),
    ],
)
def test_another_target_would_make(target: str, pods: int) -> None:
    scaling = {
        "scaleDown": {"stabilizationWindowSeconds": 0},
        "scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]},
    }
    facts = collect_autoscaler(cluster(), one(hpa(current=3, behavior=scaling)))  # type: ignore[arg-type] # as one
    answer = what_if(facts, parse_target(target), 0)
    assert answer is not None
    assert answer == {"target": float(Fraction(target.replace("2500m", "5/2"))), "pods": pods}


@pytest.mark.parametrize("text", ["0", "-1", "ten", "NaN", "1e99", "9" * 40, "<b>"])
def test_an_invalid_target_is_one_sentence(text: str) -> None:
    with pytest.raises(RequestError):
        parse_target(text)


def test_without_a_target_nothing_is_computed() -> None:
    facts = collect_autoscaler(cluster(), one(hpa()))  # type: ignore[arg-type]
    assert what_if(facts, parse_target(""), 0) is None


def test_an_autoscaler_is_explained_with_its_live_pods() -> None:
    data = report_json(make_report(collect_autoscaler(cluster(), one(hpa(current=3))), 0))  # type: ignore[arg-type]
    assert data["metric"] == "tube-orders"
    (autoscaler,) = data["autoscalers"]
    assert autoscaler["pods"] == {"wanted": 3, "present": 3, "ready": 2, "live": True}
    assert autoscaler["metrics"][0]["total"] == "20"


class Watch:
    def __init__(self, answers: Cluster) -> None:
        self.cluster = answers
        self.known = AutoscalerStore("not yet")
        self.events: list[Event] = []
        self.second = 0.0
        self.demand = Demand()
        self.watcher = AutoscalerPoller(
            answers,  # type: ignore[arg-type] # asked as a Kubernetes is
            (),
            self.known,
            known,
            self.demand,
            self.events.extend,
            lambda: at(self.second),
            ThreadPoolExecutor(1),
        )

    async def look(self) -> None:
        """One turn."""
        running = asyncio.create_task(self.watcher.run())
        before = self.known.result, self.known.error
        while (self.known.result, self.known.error) == before:
            assert not running.done(), running
            await asyncio.sleep(0.01)
        running.cancel()


@pytest.mark.anyio
async def test_a_poll_lists_all_and_reports_changes() -> None:
    watch = Watch(cluster(hpa(current=1, desired=1)))
    await watch.look()
    assert watch.known.error is None
    watch.cluster.answers = {(ALL, ""): listed(hpa(current=1, desired=5))}
    await watch.look()
    assert [(event.kind, event.autoscaler) for event in watch.events] == [("rescale", NAME)]


@pytest.mark.anyio
async def test_tubes_and_ages_that_autoscalers_use_are_read_every_second() -> None:
    age = external("beanstalkd_tube_next_job_age_seconds", {"matchLabels": {"tube": "old"}}, value="30")
    watch = Watch(cluster(hpa(), hpa(age, name="old")))
    await watch.look()
    assert (watch.demand.tubes(at(0)), watch.demand.ages(at(0))) == (("orders", "old"), ("old",))


@pytest.mark.anyio
async def test_a_paginated_list_is_read_completely() -> None:
    first = {**listed(hpa(name="first")), "metadata": {"continue": "there"}}
    watch = Watch(Cluster({(ALL, ""): first, (ALL, "there"): listed(hpa(name="second"))}))
    await watch.look()
    assert [each.name.name for each in watch.known.result.states] == ["first", "second"]


@pytest.mark.anyio
async def test_an_error_is_shown_and_the_last_state_stays() -> None:
    watch = Watch(cluster(hpa()))
    await watch.look()
    watch.cluster.answers = {(ALL, ""): 403}
    await watch.look()
    assert watch.known.error == f"https://k answered GET {ALL} with 403: no; general advice"
    assert watch.known.find(NAME) is not None


@pytest.mark.anyio
async def test_an_invalid_response_is_shown_and_polling_continues() -> None:
    watch = Watch(Cluster({(ALL, ""): listed({"metadata": {}})}))
    await watch.look()
    assert "returned an invalid HorizontalPodAutoscaler" in (watch.known.error or "")


@pytest.mark.anyio
async def test_several_viewers_of_one_autoscaler_cause_one_request() -> None:
    watch = Watch(cluster(hpa()))
    await watch.look()
    judged = watch.known.find(NAME)
    assert judged is not None
    watch.cluster.asked.clear()
    first = await watch.watcher.collect(judged)
    assert await watch.watcher.collect(judged) is first
    assert watch.cluster.asked.count((f"{METRICS}/tube-orders", "")) == 1
    watch.second += 3
    assert await watch.watcher.collect(judged) is not first


@pytest.mark.anyio
async def test_while_a_page_is_open_the_chart_has_the_served_metric_and_the_workloads_pods() -> None:
    watch = Watch(cluster(hpa(current=1, desired=3)))
    await watch.look()
    judged = watch.known.find(NAME)
    assert judged is not None
    await watch.watcher.collect(judged)
    watch.cluster.answers = {**watch.cluster.answers, (ALL, ""): listed(hpa(current=1, desired=3, maximum=11))}
    watch.second += 5
    await watch.look()
    watch.second += 5
    watch.cluster.answers = {**watch.cluster.answers, (ALL, ""): listed(hpa(current=2, desired=3))}
    await watch.look()
    series = watch.known.series(NAME)
    assert series is not None
    assert series["current"] == [1, 3, 2]  # as the autoscaler last saw it, as it is, and again as it last saw it


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("listed_metrics", "collected_metrics", "value"),
    [
        pytest.param([CPU, ORDERS], [ORDERS], 20, id="added"),
        pytest.param([ORDERS], [CPU, ORDERS], 20, id="removed"),
        pytest.param([CPU, ORDERS], [CPU], None, id="no external metric"),
    ],
)
async def test_an_autoscaler_may_get_other_metrics_between_a_page_and_a_poll(
    listed_metrics: list[dict], collected_metrics: list[dict], value: int | None
) -> None:
    watch = Watch(cluster(hpa(*listed_metrics)))
    await watch.look()
    judged = watch.known.find(NAME)
    assert judged is not None
    watch.cluster.answers |= {(ONE, ""): hpa(*collected_metrics), (ALL, ""): listed(hpa(*listed_metrics, maximum=11))}
    await watch.watcher.collect(judged)
    await watch.look()
    series = watch.known.series(NAME)
    assert series is not None
    assert series["value"] == [20, value]


def test_the_list_follows_the_condition_of_a_metric_without_a_value() -> None:
    failed = condition("ScalingActive", "FailedGetExternalMetric", "False", "no endpoints available")
    data = looked_at(hpa(conditions=[condition("AbleToScale", "SucceededGetScale"), failed], current=2))
    listed_now = data.to_json(at(0).unix_s)
    assert listed_now["metricMissing"]
    assert listed_now["autoscalers"][0]["metrics"][0]["total"] is None
    assert listed_now["autoscalers"][0]["sentence"] == (
        "2 pods, no change: no metric has a value now, so the autoscaler keeps 2 pods; confirmed by the HPA"
        " (FailedGetExternalMetric)"
    )
    assert not looked_at(hpa()).to_json(at(0).unix_s)["metricMissing"]


def test_the_list_shows_what_beanscale_does() -> None:
    resting = hpa(
        current=0,
        conditions=[condition("ScalingActive", "ScalingDisabled", "False", "no pods")],
        annotations={"scale-to-zero": "5m"},
    )
    (row,) = looked_at(resting).to_json(0)["autoscalers"]
    assert row["sentence"].endswith(
        "the HPA reports ScalingDisabled: no pods; beanscale scales it up once a job is ready"
    )
    assert row["scaling"]["sentence"].startswith("beanscale scales to 0 after 5 min without jobs")
    (state,) = evaluate_autoscalers([parse_hpa(resting)], known(), scaling_enabled=False).states
    assert "not this autoscaler scaled the workload to 0" in state.decision.verdict_from(0)
    assert state.scaling is not None
    assert "the annotations have no effect" in state.scaling.sentence
    assert looked_at(hpa()).to_json(0)["autoscalers"][0]["scaling"] is None


ANNOTATED = {"immediate": "true"}
SCALED = {"items": [event("Scaled", "Scaled Deployment/orders from 1 to 5: tube-orders is 20")]}


@pytest.mark.anyio
async def test_after_a_change_by_another_client_the_events_are_read_and_whether_the_scaler_runs() -> None:
    watch = Watch(cluster(hpa(desired=1, annotations=ANNOTATED)))
    answers = {**watch.cluster.answers, (EVENTS, ""): SCALED}
    answers[f"{METRICS}/tube-orders", ""] = explanation(scaling={"enabled": True})
    watch.cluster.answers = answers
    await watch.look()
    assert (EVENTS, "") not in watch.cluster.asked
    watch.cluster.answers = {**answers, (ALL, ""): listed(hpa(desired=5, annotations=ANNOTATED))}
    await watch.look()
    async with asyncio.timeout(10):
        while not watch.known.events([NAME]):
            await asyncio.sleep(0.01)
    assert [(one.kind, one.text) for one in watch.known.events([NAME])] == [
        ("scaled", "beanscale: Scaled Deployment/orders from 1 to 5: tube-orders is 20")
    ]
    assert watch.known.scaling_enabled is True
    watch.known.update(evaluate_autoscalers([], known()), 5)
    assert watch.known.events([NAME]) == []


@pytest.mark.anyio
async def test_events_are_read_less_often_than_the_rest() -> None:
    watch = Watch(cluster(hpa()))
    await watch.look()
    judged = watch.known.find(NAME)
    assert judged is not None
    for second, times in ((0, 1), (3, 1), (6, 2)):
        watch.second = second
        await watch.watcher.collect(judged)
        assert watch.cluster.asked.count((EVENTS, "")) == times
