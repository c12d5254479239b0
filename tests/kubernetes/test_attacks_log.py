"""The log has the user, the request and the decision, and never a secret."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from app.kube.client import Kubernetes
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.attackers import MASTER, line
from tests.kubernetes.cluster_objects import eventually, kubernetes, namespace
from tests.kubernetes.conftest import VALUES, Beanscale, Pair, serving
from tests.kubernetes.people import aggregator, cluster_ca, shopper

__all__ = ["aggregator", "cluster_ca", "kubernetes", "namespace", "shopper"]

METRIC = f"{VALUES}/tube-default"
SECRET = "S3cret"  # noqa: S105 - it shall be found
BASIC = b64encode(f"user:{SECRET}".encode()).decode()


@pytest.fixture(scope="module")
def telling(source: Beanstalkd) -> Iterator[Beanscale]:
    options = ("--log-format", "json", "--audit-log", "all", "--log-level", "debug")
    with serving("--beanstalkd", f"eu={source.host}:{source.port}", *options) as server:
        yield server


def logged(server: Beanscale, audit_id: str) -> dict[str, Any]:
    """The line of a request; it is written behind the answer."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        lines = map(json.loads, server.log.read_text().splitlines())
        found[:] = [each for each in lines if each.get("audit_id") == audit_id]
        return bool(found)

    eventually(is_there)
    return found[0]


def test_a_request_is_logged_with_user_request_and_decision(
    telling: Beanscale, aggregator: Pair, shopper: Pair, namespace: str
) -> None:
    with line(telling, aggregator) as shared, line(telling, shopper) as own, line(telling) as anonymous:
        shared.get("/metrics", audit_id="allowed", x_forwarded_for="192.0.2.1", **MASTER)
        own.get(METRIC, audit_id="denied", x_forwarded_for="192.0.2.1")
        anonymous.get("/metrics", audit_id="anonymous")
        anonymous.get("/metrics", audit_id="unauthenticated", authorization="Bearer made-up")
    allowed, denied = logged(telling, "allowed"), logged(telling, "denied")
    assert (
        allowed.items()
        >= {
            "event": "request",
            "verdict": "allowed",
            "status": 200,
            "user": "me",
            "groups": ["system:masters", "system:authenticated"],
            "authenticated_by": "front-proxy",
            "source": "127.0.0.1",
            "forwarded_for": "192.0.2.1",
            "verb": "get",
            "path": "/metrics",
        }.items()
    )
    assert (
        denied.items()
        >= {
            "event": "request refused",
            "verdict": "denied",
            "status": 403,
            "user": namespace,
            "authenticated_by": "client-certificate",
            "verb": "list",
            "api_group": "external.metrics.k8s.io",
            "resource": "tube-default",
            "namespace": "default",
        }.items()
    )
    assert "forwarded_for" not in denied
    assert logged(telling, "anonymous")["user"] == "system:anonymous"
    assert logged(telling, "unauthenticated").items() >= {"verdict": "unauthenticated", "status": 401}.items()


def test_no_secret_is_logged(telling: Beanscale, kubernetes: Kubernetes, namespace: str, aggregator: Pair) -> None:
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kubernetes.request("POST", accounts, body={"metadata": {"name": "pod"}})
    token = kubernetes.request("POST", f"{accounts}/pod/token", body={})["status"]["token"]
    heads = [
        *(
            f"GET {path} HTTP/1.1\r\nauthorization: {proof}"
            for path in (METRIC, "/metrics", "/nope", "/livez", "/%zz", "a:b")
            for proof in (f"Bearer {token}", f"Bearer {SECRET}", f"bearer  {SECRET}", f"Basic {BASIC}", f"{SECRET}")
        ),
        f"GET {METRIC}?token={SECRET}&access_token={SECRET}&password={SECRET} HTTP/1.1",
        f"GET /metrics?{SECRET} HTTP/1.1",
        f"GET /%zz?token={SECRET} HTTP/1.1",
        f"GET /metrics#{SECRET} HTTP/1.1",
        f"GET https://user:{SECRET}@beanscale/metrics HTTP/1.1",
        f"GET https://user:{SECRET}@:x/metrics HTTP/1.1",
        f"GET http://[{SECRET}/metrics HTTP/1.1",
        f"GET {METRIC}?labelSelector={SECRET}%20in HTTP/1.1",
        f"GET {METRIC}?fieldSelector={SECRET} HTTP/1.1",
        f"GET {METRIC}?timeout={SECRET} HTTP/1.1",
        f"GET {METRIC}?resourceVersion=1&resourceVersionMatch={SECRET} HTTP/1.1",
        f"GET /metrics HTTP/1.1\r\ncookie: session={SECRET}\r\nproxy-authorization: Basic {BASIC}\r\nx-token: {SECRET}",
        f"GET /metrics HTTP/1.1\r\nauthorization: Bearer {SECRET}\r\nno colon {SECRET}",
        f"GET /metrics HTTP/1.1\r\nauthorization: Bearer {SECRET}\0",
        f"POST /metrics HTTP/1.1\r\ncontent-length: 6\r\n\r\n{SECRET}",
        f"POST /metrics HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{SECRET}",
        f"{SECRET}",
    ]
    for head in heads:
        for certificate, user in ((None, ""), (aggregator, "\r\nx-remote-user: me\r\nx-remote-group: system:masters")):
            first, _, rest = head.partition("\r\n")
            with line(telling, certificate) as own:
                own.all(f"{first}{user}\r\nconnection: close\r\n{rest}\r\n\r\n".encode(), silence_s=0.1)
    with line(telling, aggregator) as shared:
        shared.get("/metrics", audit_id="the-last", **MASTER)
    assert logged(telling, "the-last")
    log = telling.log.read_text()
    for secret in (SECRET, BASIC, token, token.rpartition(".")[2]):
        assert secret not in log
