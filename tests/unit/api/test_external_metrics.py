"""What a request for a metric is answered, on the wire."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from app.api.external_metrics import ExternalMetrics
from app.api.request import Caller, Request
from app.api.status import StatusError
from app.clock import Instant
from app.kube.reviews import ResourceAttributes, User
from app.metrics.query import EvaluationContext, WantedTubes
from tests.unit.api.requests import request
from tests.unit.metrics.given import ago, counts, glob, known, next_job, rule, server, tube, unread

pytestmark = pytest.mark.anyio
EU = server("eu", tube("a", ready=3, total_jobs=30), earlier={"a": counts(61, 0, 0)}, listed_earlier_at=ago(61))


def ignored(_namespace: str, _wanted: WantedTubes, _now: Instant) -> None:
    pass


async def got(
    metric: str,
    query: str,
    given: EvaluationContext,
    want: Callable[[str, WantedTubes, Instant], None] = ignored,
    accept: str = "",
) -> Any:
    headers = [(b"accept", accept.encode())] if accept else []
    response = await ExternalMetrics(want).respond(*about(metric, query.encode(), *headers), given)
    return json.loads(response.body)


def about(
    metric: str, query: bytes = b"", *headers: tuple[bytes, bytes], namespace: str = "shop"
) -> tuple[Request, ResourceAttributes]:
    """A request for a metric, and what of it was authorized."""
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}"
    what = ResourceAttributes(namespace, "list", "external.metrics.k8s.io", "v1beta1", metric)
    return request(path, query, *headers), what


async def test_a_rate_has_its_window() -> None:
    answer = await got("beanstalkd_tube_jobs_put_per_second", "labelSelector=tube%3Da", known(EU))
    assert answer["items"] == [
        {
            "metricName": "beanstalkd_tube_jobs_put_per_second",
            "metricLabels": {"server": "eu", "tube": "a"},
            "timestamp": "2027-01-15T07:59:59Z",
            "window": 60,
            "value": "500m",
        }
    ]


async def test_only_a_rate_has_a_window() -> None:
    (item,) = (await got("tube-a", "", known(EU)))["items"]
    assert item.keys() == {"metricName", "metricLabels", "timestamp", "value"}


@pytest.mark.parametrize(
    ("metric", "query", "reason"),
    [
        ("queue", "", "NotFound"),
        ("tube-A", "", "Conflict"),
        ("duplicates", "", "Conflict"),
        ("down", "", "ServiceUnavailable"),
        ("fraction", "", "ServiceUnavailable"),
        ("beanstalkd_tube_jobs_put_per_second", "labelSelector=tube%3Db", "ServiceUnavailable"),
        ("beanstalkd_tube_next_job_age_seconds", "labelSelector=tube%3Db", "ServiceUnavailable"),
        ("beanstalkd_tube_next_job_age_seconds", "", "BadRequest"),
    ],
)
async def test_each_failure_has_the_reason_that_kubernetes_uses(metric: str, query: str, reason: str) -> None:
    given = known(
        server("eu", tube("a"), tube("A"), tube("b", ready=1)),
        rules=[
            rule("down", servers=frozenset({"us"})),
            rule("fraction", value="ready / reserved"),
        ],
    )
    if metric == "duplicates":
        given, metric = known(*[server(name, server_id="one") for name in ("eu", "us")]), "tube-a"
    with pytest.raises(StatusError) as refused:
        await got(metric.lower(), query, given)
    assert refused.value.reason == reason
    assert refused.value.details == {"group": "external.metrics.k8s.io", "kind": metric.lower()}


async def test_a_query_requests_its_tubes() -> None:
    wanted: list[WantedTubes] = []
    given = known(server("eu", tube("a", ready=1), next_jobs={"a": next_job(3)}))
    await got("tube-a", "", given, lambda _, demanded, __: wanted.append(demanded))
    query = "labelSelector=tube%3Da&explain=true"
    await got("beanstalkd_tube_next_job_age_seconds", query, given, lambda _, demanded, __: wanted.append(demanded))
    assert [(tuple(each.tubes), tuple(each.ages)) for each in wanted] == [(("a",), ()), (("a",), ("a",))]


async def test_a_query_without_a_result_yet_requests_its_tubes() -> None:
    wanted: list[WantedTubes] = []
    with pytest.raises(StatusError):
        await got("tube-a", "", known(unread("eu")), lambda _, demanded, __: wanted.append(demanded))
    assert [tuple(each.tubes) for each in wanted] == [("a",)]


@pytest.mark.parametrize("accept", ["", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"])
async def test_a_metric_is_explained_on_request(accept: str) -> None:
    answer = await got("tube-a", "explain=true&labelSelector=tube%3Da", known(EU), accept=accept)
    assert (answer["kind"], answer["apiVersion"]) == ("MetricExplanation", "external.metrics.k8s.io/v1beta1")
    assert (answer["namespace"], answer["metric"], answer["selector"]) == ("shop", "tube-a", "tube=a")
    assert answer["items"][0]["arithmetic"] == "3 + 0"


async def test_an_explanation_shows_the_scaler() -> None:
    endpoint = ExternalMetrics(ignored, lambda namespace: {"enabled": True, "failures": [namespace]})
    response = await endpoint.respond(*about("tube-a", b"explain=true"), known(EU))
    assert json.loads(response.body)["scaling"] == {"enabled": True, "failures": ["shop"]}
    assert (await got("tube-a", "explain=true", known(EU)))["scaling"] == {"enabled": False}


@pytest.mark.parametrize("query", ["explain=false", "explain=0", "explained=true"])
async def test_without_the_parameter_nothing_is_explained(query: str) -> None:
    assert (await got("tube-a", query, known(EU)))["kind"] == "ExternalMetricValueList"


async def test_an_explanation_has_the_metrics_error_inside() -> None:
    answer = await got("tube-a", "explain=true", known(unread("eu")))
    assert answer["error"]["reason"] == "ServiceUnavailable"


async def test_an_explanation_with_an_invalid_selector_is_rejected() -> None:
    with pytest.raises(StatusError, match="unable to parse"):
        await got("tube-a", "explain=true&labelSelector=a+b", known(EU))


async def test_a_rule_of_other_namespaces_is_reported_like_one_that_does_not_exist() -> None:
    theirs = known(EU, rules=[rule("theirs", namespaces=glob("mail"))])
    for query in ("", "explain=true"):
        answers = []
        for given in (theirs, known(EU)):
            try:
                answers.append(await got("theirs", query, given))
            except StatusError as refused:
                answers.append(refused.content)
        assert answers[0] == answers[1]


async def test_many_large_responses_at_once_use_no_more_memory_than_one() -> None:
    many = known(server("eu", *(tube(f"tube-{number}", ready=1) for number in range(5000))))
    endpoint = ExternalMetrics(ignored)

    async def explained(namespace: int) -> None:
        await endpoint.respond(*about("beanstalkd_tube_jobs", b"explain=true", namespace=f"shop-{namespace}"), many)

    async def peak(at_once: int) -> int:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        await asyncio.gather(*map(explained, range(at_once)))
        return tracemalloc.get_traced_memory()[1] - before

    await explained(0)  # what is made once for all
    tracemalloc.start()
    try:
        assert await peak(5) < 1.5 * await peak(1)
    finally:
        tracemalloc.stop()


async def test_long_responses_to_one_user_delay_another_user_by_one() -> None:
    given = known(server("eu", *(tube(f"tube-{number}") for number in range(3000))))
    metrics, order = ExternalMetrics(ignored), list[str]()

    async def ask(user: str, number: int) -> None:
        asked, what = about("beanstalkd_tube_jobs", b"limit=%d" % number)
        asked.caller = Caller(User(user, ()), "token")
        await metrics.respond(asked, what, given)
        order.append(user)

    await asyncio.gather(*(ask("eve", number) for number in range(5)), ask("hpa", 5))
    assert order.index("hpa") <= 2
