"""The discovery documents that kube-apiserver, kubectl and controllers read."""

import json
from typing import Any

import pytest

from app.api import discovery
from app.api.request import Request
from app.metrics.built_in import NAMES
from tests.unit.api.requests import request

METRICS = [*NAMES, "checkout-backlog", "tube-default"]
KINDS = ["ExternalMetricValue", *METRICS[1:]]
"""Each its own, for kubectl."""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
KUBE_APISERVER = f"{AGGREGATED},{AGGREGATED.replace('v=v2', 'v=v2beta1')}"


def asked(accept: str, **headers: str) -> Request:
    others = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return request("/apis", b"", (b"accept", accept.encode()), *others)


@pytest.mark.parametrize("accept", [KUBE_APISERVER, f"{KUBE_APISERVER},application/json"])
def test_aggregated_discovery_is_one_document(accept: str) -> None:
    answer = discovery.groups(METRICS, 443, asked(accept))
    assert answer.headers["content-type"] == AGGREGATED
    assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Accept", "public")
    content = json.loads(answer.body)
    assert (content["kind"], content["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    ((found,),) = [group["versions"] for group in content["items"]]
    assert (found["version"], found["freshness"]) == ("v1beta1", "Current")
    assert [
        (resource["resource"], resource["responseKind"], resource["scope"], resource["verbs"])
        for resource in found["resources"]
    ] == [(metric, kind_named(kind), "Namespaced", ["get"]) for metric, kind in zip(METRICS, KINDS, strict=True)]


def test_each_metric_has_a_kind_of_its_own() -> None:
    """kubectl finds a metric again by its kind."""
    assert len(set(KINDS)) == len(METRICS)


def kind_named(kind: str) -> dict[str, str]:
    return {"group": "external.metrics.k8s.io", "version": "v1beta1", "kind": kind}


def test_a_client_with_the_etag_gets_304_until_the_metrics_change() -> None:
    def ask(metrics: list[str], etag: str = "") -> Any:
        return discovery.groups(metrics, 443, asked(KUBE_APISERVER, if_none_match=etag))

    etag = ask(METRICS).headers["etag"]
    assert (ask(METRICS, etag).status_code, ask(METRICS, etag).body) == (304, b"")
    assert ask([*METRICS, "tube-more"], etag).status_code == 200


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/yaml, application/json;q=0.9"])
def test_older_clients_get_the_group_and_its_resources_separately(accept: str) -> None:
    groups = discovery.groups(METRICS, 443, asked(accept)).body.decode()
    assert "APIGroupList" in groups
    resources = discovery.resources(METRICS, asked(accept)).body.decode()
    assert all(word in resources for word in ("APIResourceList", "ExternalMetricValueList", *METRICS))
    assert "preferredVersion" in discovery.group(asked(accept)).body.decode()
