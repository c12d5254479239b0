"""All that an explanation needs is queried once; an error is one sentence with a hint."""

from typing import Any

import pytest

from app.explain.collect import Collected, ExplainQuery, collect, selector_key
from app.hpa.autoscaler import Scale
from app.hpa.decision import Missing, Total
from app.kube.checks import CheckFailedError
from tests.unit.explain.cluster import (
    APISERVICE,
    DEPLOYMENT,
    EVENTS,
    HPAS,
    METRICS,
    Cluster,
    apiservice,
    deployment,
    listed,
)
from tests.unit.explain.explanations import explanation, item
from tests.unit.hpa.hpas import external, hpa

ORDERS = f"{METRICS}/tube-orders"
JOBS = f"{METRICS}/beanstalkd_tube_jobs"


def collected_from(cluster: Cluster, metric: str = "tube-orders", selector: str = "") -> Collected:
    return collect(cluster, ExplainQuery(metric, "shop", selector))


def test_the_metric_its_autoscalers_and_their_workloads_are_queried() -> None:
    cluster = Cluster(
        {
            (ORDERS, ""): explanation(),
            (HPAS, ""): listed(hpa(current=1), hpa(external("tube-other", averageValue="2"), name="other")),
            (DEPLOYMENT, ""): deployment(3, 3, 2),
        }
    )
    collected = collected_from(cluster)
    assert [one.observed for one in collected.explanations] == [Total(4000)]
    (ours,) = collected.autoscalers
    assert (ours.autoscaler.name, ours.scale, ours.scale_error) == ("orders", Scale(3, 3, 2), "")
    assert ours.observed == (Total(4000),)
    assert cluster.asked == [(ORDERS, ""), (HPAS, ""), (EVENTS, ""), (DEPLOYMENT, "")]


@pytest.mark.parametrize(
    ("total", "observed"),
    [
        ("11175", Total(11_175_000)),
        ("1500m", Total(1500)),
        (None, Missing("the server explains only 1 of its values, without their sum: helm upgrade")),
    ],
)
def test_values_that_the_explanation_omits_count(total: str | None, observed: Total | Missing) -> None:
    cluster = Cluster({(ORDERS, ""): explanation(itemsOmitted=50, total=total), (HPAS, ""): listed()})
    assert [one.observed for one in collected_from(cluster).explanations] == [observed]


def test_a_value_that_is_read_on_demand_is_queried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The HPA may have had it read by another replica of the server, or not lately."""
    monkeypatch.setattr("app.explain.collect.FIRST_READ_S", 0)
    error = {"reason": "ServiceUnavailable", "message": "is read on demand", "near": [], "firstRead": True}
    answers: dict[tuple[str, str], Any] = {(ORDERS, ""): explanation(items=[], error=error), (HPAS, ""): listed()}

    class Reading(Cluster):
        def request(self, *request: Any, **query: Any) -> Any:
            answer = super().request(*request, **query)
            answers[ORDERS, ""] = explanation()
            return answer

    assert [one.observed for one in collected_from(Reading(answers)).explanations] == [Total(4000)]


def test_each_selector_that_an_autoscaler_has_is_queried_once() -> None:
    ready = {"matchLabels": {"tube": "orders", "state": "ready"}}
    by_state = external("Beanstalkd_Tube_Jobs", ready, averageValue="2")
    selected = "state=ready,tube=orders"
    cluster = Cluster(
        {
            (JOBS, ""): explanation(items=[item("9")]),
            (JOBS, selected): explanation(selector=selected, items=[item("3")]),
            (HPAS, ""): listed(hpa(by_state), hpa(by_state, name="again")),
        }
    )
    collected = collected_from(cluster, "beanstalkd_tube_jobs")
    assert [(one.selector, one.observed) for one in collected.explanations] == [
        ("", Total(9000)),
        (selected, Total(3000)),
    ]
    assert [one.observed for one in collected.autoscalers] == [(Total(3000),), (Total(3000),)]
    assert [selector for path, selector in cluster.asked if path == JOBS] == ["", selected]


def test_a_selector_keeps_the_autoscalers_with_the_same_meaning() -> None:
    same = external(
        "tube-orders", {"matchExpressions": [{"key": "server", "operator": "In", "values": ["eu"]}]}, value="2"
    )
    cluster = Cluster(
        {(ORDERS, "server=eu"): explanation(selector="server=eu"), (HPAS, ""): listed(hpa(), hpa(same, name="eu"))}
    )
    collected = collected_from(cluster, selector="server=eu")
    assert [one.autoscaler.name for one in collected.autoscalers] == ["eu"]


def test_an_autoscaler_with_an_invalid_selector_has_no_value_and_the_others_have() -> None:
    slash = external("tube-orders", {"matchLabels": {"tube": "mail/eu"}}, value="2")
    unknown = external("tube-orders", {"matchExpressions": [{"key": "tube", "operator": "Is"}]}, value="2")
    autoscalers = listed(hpa(), hpa(slash, name="slash"), hpa(unknown, name="unknown"))
    collected = collected_from(Cluster({(ORDERS, ""): explanation(), (HPAS, ""): autoscalers}))
    observed = {one.autoscaler.name: one.observed[0] for one in collected.autoscalers}
    assert observed["orders"] == Total(4000)
    for name in ("slash", "unknown"):
        assert isinstance(observed[name], Missing)
        assert observed[name].why.startswith("its selector is invalid: ")
    only = Cluster({(ORDERS, "tube=orders"): explanation(selector="tube=orders"), (HPAS, ""): autoscalers})
    assert collected_from(only, selector="tube=orders").autoscalers == ()


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("a=1,b=2", "b==2,a in (1)", True),
        ("a!=1", "a notin (1)", True),
        ("a in (1,2)", "a in (2,1)", True),
        ("a", "a=1", False),
        ("", "a", False),
    ],
)
def test_selectors_are_compared_by_meaning(one: str, other: str, *, alike: bool) -> None:
    assert (selector_key(one) == selector_key(other)) is alike


def test_another_metric_of_an_autoscaler_is_queried_too() -> None:
    values = {"kind": "ExternalMetricValueList", "items": [{"value": "1500m"}, {"value": "2"}]}
    autoscaler = hpa(external(averageValue="2"), external("sqs", averageValue="1"), external("gone", value="1"))
    cluster = Cluster({(ORDERS, ""): explanation(), (HPAS, ""): listed(autoscaler), (f"{METRICS}/sqs", ""): values})
    (ours,) = collected_from(cluster).autoscalers
    assert ours.observed[:2] == (Total(4000), Total(3500))
    assert isinstance(ours.observed[2], Missing)


def test_a_metric_in_error_is_explained_and_blocks_its_autoscaler() -> None:
    error = {"reason": "ServiceUnavailable", "message": "eu can't be read", "near": []}
    cluster = Cluster({(ORDERS, ""): explanation(items=[], error=error), (HPAS, ""): listed(hpa())})
    (ours,) = collected_from(cluster).autoscalers
    assert ours.observed == (Missing("eu can't be read"),)


@pytest.mark.parametrize(("status", "why"), [(403, "can't be read"), (404, "doesn't exist")])
def test_a_workload_that_cannot_be_read_is_as_of_the_last_sync(status: int, why: str) -> None:
    answers = dict.fromkeys([(DEPLOYMENT, ""), (f"{DEPLOYMENT}/scale", "")], status)
    cluster = Cluster({(ORDERS, ""): explanation(), (HPAS, ""): listed(hpa(current=5)), **answers})
    (ours,) = collected_from(cluster).autoscalers
    assert (ours.scale, ours.scale_error) == (Scale(5, 5), f"Deployment/orders {why}")


def test_a_workloads_name_queries_that_workload_and_nothing_else() -> None:
    odd = hpa()
    odd["spec"]["scaleTargetRef"]["name"] = "orders?watch=true#x"
    cluster = Cluster({(ORDERS, ""): explanation(), (HPAS, ""): listed(odd)})
    collected_from(cluster)
    assert (f"{DEPLOYMENT}%3Fwatch%3Dtrue%23x", "") in cluster.asked


def test_without_permission_for_the_workload_its_scale_is_read() -> None:
    answers: dict[tuple[str, str], Any] = {
        (ORDERS, ""): explanation(),
        (HPAS, ""): listed(hpa(current=5)),
        (DEPLOYMENT, ""): 403,
    }
    scale = {"spec": {"replicas": 4}, "status": {"replicas": 3}}
    (ours,) = collected_from(Cluster({**answers, (f"{DEPLOYMENT}/scale", ""): scale})).autoscalers
    assert (ours.scale, ours.scale_error) == (Scale(4, 3), "")
    none = {"spec": {}, "status": {"replicas": 0}}
    (ours,) = collected_from(Cluster({**answers, (f"{DEPLOYMENT}/scale", ""): none})).autoscalers
    assert ours.scale == Scale(0, 0)


def test_autoscalers_that_cannot_be_listed_leave_the_metric_explained() -> None:
    collected = collected_from(Cluster({(ORDERS, ""): explanation(), (HPAS, ""): 403}))
    assert collected.explanations
    assert collected.error is not None
    assert "list horizontalpodautoscalers.autoscaling in namespace shop" in collected.error.hint


@pytest.mark.parametrize(
    ("answers", "why", "fix"),
    [
        pytest.param({(ORDERS, ""): 401}, "with 401", "log in again", id="unknown"),
        pytest.param(
            {(ORDERS, ""): 403}, "with 403", "get and list tube-orders of external.metrics.k8s.io", id="forbidden"
        ),
        pytest.param({}, "no external metrics API", "helm install", id="no API"),
        pytest.param(
            {(ORDERS, ""): 503, (APISERVICE, ""): apiservice("False", "MissingEndpoints", "no endpoints")},
            "isn't Available: no endpoints",
            "no pod of the server is ready: kubectl -n beanscale get pod",
            id="no server",
        ),
        pytest.param(
            {(ORDERS, ""): 404, (APISERVICE, ""): apiservice("True")}, "with 404", "helm upgrade", id="an old server"
        ),
        pytest.param({(ORDERS, ""): 500, (APISERVICE, ""): 403}, "with 500", "kube-apiserver", id="something else"),
        pytest.param(
            {(ORDERS, ""): {"kind": "ExternalMetricValueList", "items": [{"value": "4"}]}},
            "no explanation",
            "helm upgrade",
            id="another adapter",
        ),
        pytest.param(
            {(ORDERS, ""): {"kind": "ExternalMetricValueList", "items": []}},
            "no explanation",
            "helm upgrade",
            id="empty",
        ),
        pytest.param(
            {(ORDERS, ""): explanation(items=[item("lots")])}, "'lots' isn't a quantity", "same version", id="strange"
        ),
        *(
            pytest.param({(ORDERS, ""): document}, "has an unexpected structure", "same version", id=f"misshapen {at}")
            for at, document in enumerate(
                [
                    explanation(items=["4"]),
                    explanation(error="no value"),
                    explanation(scaling=[True]),
                    explanation(servers=[None]),
                    explanation(tubes=[{}]),
                    {"kind": "ExternalMetricValueList", "items": [{}]},
                ]
            )
        ),
    ],
)
def test_a_metric_that_cannot_be_queried_is_one_sentence_and_a_hint(
    answers: dict[tuple[str, str], Any], why: str, fix: str
) -> None:
    with pytest.raises(CheckFailedError, match=why) as broken:
        collected_from(Cluster(answers))
    assert fix in broken.value.hint
