"""What the wire says of real jobs in a real beanstalkd."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import greenstalk
import httpx
import pytest

from app.kube.client import Kubernetes
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.cluster_objects import kubernetes
from tests.kubernetes.conftest import VALUES, Beanscale, serving

__all__ = ["kubernetes"]


@pytest.fixture
def admin(server: Beanscale, pki: Path) -> Iterator[httpx.Client]:
    with server.client((pki / "admin.crt", pki / "admin.key")) as client:
        yield client


@pytest.fixture
def jobs(source: Beanstalkd) -> Iterator[greenstalk.Client]:
    address = (source.host, source.port)
    with greenstalk.Client(address, use="checkout", watch="checkout", encoding=None) as client:
        yield client


def eventually(ask: Callable[[], Any], expected: object) -> None:
    deadline = time.monotonic() + 60
    while (answer := ask()) != expected:
        assert time.monotonic() < deadline, f"got {answer!r} instead of {expected!r}"
        time.sleep(0.05)


def items(client: httpx.Client, metric: str, selector: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{VALUES}/{metric}", params={"labelSelector": selector} if selector else None)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["items"]
    return listed


def test_a_tubes_metric_follows_its_jobs(admin: httpx.Client, jobs: greenstalk.Client) -> None:
    for _ in range(3):
        jobs.put(b"job")
    eventually(lambda: [item["value"] for item in items(admin, "tube-checkout")], ["3"])
    reserved = jobs.reserve()
    eventually(
        lambda: [item["value"] for item in items(admin, "beanstalkd_tube_jobs", "tube=checkout,state=reserved")], ["1"]
    )
    assert [item["value"] for item in items(admin, "tube-checkout")] == ["3"]
    jobs.delete(reserved)
    eventually(lambda: [item["value"] for item in items(admin, "tube-checkout")], ["2"])


def test_the_response_has_the_representation_that_api_clients_expect(admin: httpx.Client) -> None:
    answer = admin.get(f"{VALUES}/tube-default")
    listed = answer.json()
    (item,) = listed.pop("items")
    assert listed == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
    }
    age = datetime.now(UTC) - datetime.fromisoformat(item.pop("timestamp"))
    assert -1 < age.total_seconds() < 20
    assert item == {"metricName": "tube-default", "metricLabels": {"tube": "default"}, "value": "0"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache, private"
    assert len(answer.headers["audit-id"]) == 36


def test_the_audit_id_of_kube_apiserver_is_kept(admin: httpx.Client) -> None:
    answer = admin.get(f"{VALUES}/tube-default", headers={"Audit-ID": "0f0f"})
    assert answer.headers["audit-id"] == "0f0f"


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        (f"{VALUES}/tube-default?labelSelector=%3Dx", 400, "found '=', expected: !, identifier, or 'end of string'"),
        (f"{VALUES}/beanstalkd_tubes_jobs", 404, "did you mean beanstalkd_tube_jobs"),
        (f"{VALUES}/tube-default%2Fx", 404, "the server could not find the requested resource"),
        (f"{VALUES}/../default/tube-default", 404, "the server could not find the requested resource"),
        ("/apis/external.metrics.k8s.io/v2", 404, "the server could not find the requested resource"),
        ("/apis/external.metrics.k8s.io/v1beta1/tube-default", 404, "the server could not find the requested resource"),
        (f"{VALUES}/beanstalkd_tube_jobs?labelSelector=server%3Dmars", 404, "no server 'mars'; valid values: 'eu'"),
    ],
)
def test_an_error_is_one_sentence(server: Beanscale, pki: Path, path: str, code: int, words: str) -> None:
    status, body = server.raw_get(path, (pki / "admin.crt", pki / "admin.key"))
    assert status == code
    assert words in body["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_a_metric_is_read_only(admin: httpx.Client, method: str) -> None:
    assert admin.request(method, f"{VALUES}/tube-default").status_code == 405


def test_discovery_names_the_metrics(admin: httpx.Client, jobs: greenstalk.Client) -> None:
    jobs.put(b"job")

    def names() -> list[str]:
        listed = admin.get("/apis/external.metrics.k8s.io/v1beta1").json()
        return [resource["name"] for resource in listed["resources"]]

    eventually(lambda: [name for name in names() if name.startswith("tube-")], ["tube-checkout", "tube-default"])
    assert names()[0] == "beanstalkd_tube_jobs"
    assert admin.get("/apis").json()["groups"][0]["name"] == "external.metrics.k8s.io"
    assert admin.get("/apis/external.metrics.k8s.io/").json()["preferredVersion"]["version"] == "v1beta1"


def test_kube_apiserver_finds_an_openapi_document(admin: httpx.Client) -> None:
    """Without one it logs an error at each change of the APIService, and each minute."""
    assert admin.get("/openapi/v2").json()["swagger"] == "2.0"


def test_no_openapi_definition_has_a_name_of_kube_apiserver(admin: httpx.Client, kubernetes: Kubernetes) -> None:
    """Where two differ, as in another version, kube-apiserver would publish both: the second as `…_v2`."""
    of_kubernetes = kubernetes.request("GET", "/openapi/v2")["definitions"].keys()
    assert len(of_kubernetes) > 500
    assert not of_kubernetes & admin.get("/openapi/v2").json()["definitions"].keys()


def test_an_outage_is_an_error_and_never_a_number(beanstalkd: Beanstalkd, pki: Path) -> None:
    address = f"{beanstalkd.host}:{beanstalkd.port}"
    with (
        serving("--beanstalkd", f"eu={address}", "--max-age", "2s") as server,
        server.client((pki / "admin.crt", pki / "admin.key")) as client,
    ):
        eventually(lambda: client.get(f"{VALUES}/tube-x").status_code, 200)
        beanstalkd.stop()
        eventually(lambda: client.get(f"{VALUES}/tube-x").status_code, 503)
        why = f"beanstalkd 'eu' ({address}) can't be read: connection refused"
        eventually(lambda: why in client.get(f"{VALUES}/tube-x").json()["message"], True)
        assert client.get(f"{VALUES}/tube-x").json()["reason"] == "ServiceUnavailable"
        assert client.get("/readyz").status_code == 200, "a source that is down never makes the server unready"
        beanstalkd.start()
        eventually(lambda: client.get(f"{VALUES}/tube-x").status_code, 200)


def test_its_own_metrics_are_exported_to_prometheus(admin: httpx.Client) -> None:
    figures = admin.get("/metrics").text
    for line in (
        'beanscale_beanstalkd_up{address="127.0.0.1",server="eu"} 1.0',
        'beanscale_tubes{address="127.0.0.1",',
    ):
        assert line in figures
    assert "beanscale_serving_certificate_expiry_timestamp_seconds" in figures
    assert "beanscale_request_duration_seconds_bucket" in figures
