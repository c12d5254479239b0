"""The handled path is the authorized path: no spelling of it gives more access."""

import pytest

from tests.kubernetes.attackers import line
from tests.kubernetes.conftest import Beanscale, Pair
from tests.kubernetes.people import cluster_ca, kubernetes, namespace, shopper

__all__ = ["cluster_ca", "kubernetes", "namespace", "shopper"]

ROOT = "/apis/external.metrics.k8s.io/v1beta1/namespaces"
OTHER = f"{ROOT}/default/tube-default"
OWN = f"{ROOT}/OWN"
"""The attacker's only namespace stands for OWN."""

TO_ANOTHER_NAMESPACE = (
    OTHER,
    f"{OWN}/../default/tube-default",
    f"{OWN}/tube-default/../../default/tube-default",
    f"{OWN}/%2e%2e/default/tube-default",
    f"{OWN}/%2E%2E/default/tube-default",
    f"{OWN}/.%2e/default/tube-default",
    f"{OWN}/%252e%252e/default/tube-default",
    f"{OWN}%2f..%2fdefault/tube-default",
    f"{OWN}%2F..%2Fdefault%2Ftube-default",
    f"{OWN}/..%5cdefault/tube-default",
    f"{OWN}\\..\\default/tube-default",
    f"{OWN}/..;/default/tube-default",
    f"{OWN};/../default/tube-default",
    f"{OWN}/%c0%ae%c0%ae/default/tube-default",
    f"{OWN}/\xef\xbc\x8e\xef\xbc\x8e/default/tube-default",
    f"{OWN}%00/../default/tube-default",
    f"{ROOT}/default%00OWN/tube-default",
    f"{ROOT}/default;OWN/tube-default",
    f"{ROOT}/default,OWN/tube-default",
    f"{ROOT}/default%20OWN/tube-default",
    f"{ROOT}/OWN,default/tube-default",
    f"{ROOT}/*/tube-default",
    f"{ROOT}//tube-default",
    f"{ROOT}/./tube-default",
    f"{ROOT}/../tube-default",
    f"{ROOT}/%2e/tube-default",
    f"{ROOT}/DEFAULT/tube-default",
    f"{ROOT}//default/tube-default",
    f"{ROOT}/default//tube-default",
    f"{ROOT}/default/tube-default/",
    f"{ROOT}/default/tube-default//",
    f"{ROOT}/default/tube-default%2f",
    f"{ROOT}/default/tube%2ddefault",
    f"{ROOT}/d%65fault/tube-default",
    f"{ROOT}/default%2Ftube-default",
    f"/{OTHER}",
    f"//{OTHER}",
    f"%2f{OTHER}",
    f"/.{OTHER}",
    f"/%61pis{OTHER.removeprefix('/apis')}",
    f"/APIS{OTHER.removeprefix('/apis')}",
    f"/api/v1{OTHER}",
    OTHER.replace("/namespaces", "//namespaces"),
    OTHER.replace("/namespaces", "/proxy/namespaces"),
    OTHER.replace("/namespaces", "/watch/namespaces"),
    OTHER.replace("/namespaces", "/namespaces/OWN/namespaces"),
    OTHER.replace("/", "\\"),
    f"{OTHER}?namespace=OWN",
    f"{OTHER}?fieldSelector=metadata.namespace%3DOWN",
    f"{OTHER}?{OWN}/tube-default",
    f"{OTHER}#{OWN}/tube-default",
    f"{OTHER}%23{OWN}/tube-default",
    f"{OTHER}%3f{OWN}/tube-default",
    f"{OWN}?/../default/tube-default",
    f"{OWN}#/../default/tube-default",
    f"https://beanscale{OTHER}",
    f"HTTPS://beanscale:443{OTHER}",
    f"https://OWN@beanscale{OTHER}",
    f"https://beanscale{OWN}/../default/tube-default",
    f"https://beanscale?{OTHER}",
    f"https:{OTHER}",
    f"file://{OTHER}",
    f"x{OTHER}",
    f"?{OTHER}",
)
TO_OUR_FIGURES = (
    "/metrics",
    "/metrics/",
    "//metrics",
    "/./metrics",
    "/%2e/metrics",
    "/%6detrics",
    "/metrics%2f",
    "/metrics%00",
    "/metrics;",
    "/metrics;/livez/",
    "/metrics%3f/livez",
    "/metrics#/livez/",
    "/metrics?/livez/",
    "/METRICS",
    "\\metrics",
    "%2fmetrics",
    "metrics",
    "/livez/../metrics",
    "/livez/%2e%2e/metrics",
    "/livez/..%2fmetrics",
    "/livez%2f..%2fmetrics",
    "/livez/..;/metrics",
    "/livez/..\\metrics",
    "/livez/%252e%252e/metrics",
    "/livez//metrics",
    "/livez/metrics",
    "/livez%00/../metrics",
    "/livez?/../metrics",
    "/livez#/../metrics",
    "https://beanscale/metrics",
    "https://beanscale//metrics",
    "https://beanscale/livez/../metrics",
    "https://beanscale/livez@beanscale/metrics",
    "https://beanscale#/metrics",
    "https://",
    "https:///metrics",
    "beanscale:443",
    "beanscale:443/metrics",
    "*",
    "*/metrics",
    "/livez\t/metrics",
    "/livez /metrics",
    "",
)


@pytest.mark.parametrize("target", TO_ANOTHER_NAMESPACE)
def test_access_to_one_namespace_is_no_access_to_another(
    attacked: Beanscale, shopper: Pair, namespace: str, target: str
) -> None:
    with line(attacked, shopper) as own:
        answers = own.all(request("GET", target.replace("OWN", namespace)))
    assert [answer.code for answer in answers] in ([400], [403], [404])
    assert b'"items"' not in answers[0].body
    assert b"ExternalMetricValueList" not in answers[0].body


@pytest.mark.parametrize("target", TO_OUR_FIGURES)
def test_access_to_the_health_is_no_access_to_metrics(attacked: Beanscale, shopper: Pair, target: str) -> None:
    with line(attacked, shopper) as own:
        answers = own.all(request("GET", target))
    assert {answer.code for answer in answers} <= {200, 400, 403, 404}
    assert not any(b"beanscale_" in answer.body for answer in answers)


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "TRACE", "CONNECT", "get", "LIST", "M-SEARCH", "X" * 64])
def test_another_method_requires_other_permissions_and_returns_no_number(
    attacked: Beanscale, shopper: Pair, namespace: str, method: str
) -> None:
    for target in (f"{ROOT}/{namespace}/tube-default", OTHER, "/metrics"):
        with line(attacked, shopper) as own:
            assert [answer.code for answer in own.all(request(method, target))] in ([400], [403], [405])


def test_other_spellings_of_a_permitted_path_are_the_same_path(
    attacked: Beanscale, shopper: Pair, namespace: str
) -> None:
    own_metric = f"{ROOT}/{namespace}/tube-default"
    with line(attacked, shopper) as own:
        for target in (
            own_metric,
            own_metric.replace("apis", "%61pis").replace("default", "d%65f%61ult"),
            f"{own_metric}/",
            f"https://beanscale{own_metric}",
            f"https://elsewhere.example{own_metric}",
        ):
            answer = own.ask(request("GET", target, connection="keep-alive"))
            assert (answer.code, b'"metricName":"tube-default"' in answer.body) == (200, True)


def request(method: str, target: str, connection: str = "close") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nhost: beanscale\r\nconnection: {connection}\r\n\r\n".encode("latin-1")
