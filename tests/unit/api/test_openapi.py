"""The documents that kube-apiserver merges and kubectl explains from: complete, and not sent twice."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.responses import Response

from app.api import openapi
from app.api.request import Request
from app.api.status import StatusError
from tests.unit.api.requests import request

GROUP_VERSION = "apis/external.metrics.k8s.io/v1beta1"
METRICS = ["beanstalkd_tube_jobs", "tube-default"]
PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
DOCUMENTS: list[Callable[[Request], Response]] = [
    openapi.v2,
    lambda asked: openapi.v3_index(METRICS, asked),
    lambda asked: openapi.v3(METRICS, asked),
]


def asked(**headers: str) -> Request:
    return request("/", b"", *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()))


def references(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(content, list):
        for value in content:
            yield from references(value)


def test_v2_has_a_definition_for_every_reference() -> None:
    document = json.loads(openapi.v2(asked()).body)
    assert document["swagger"] == "2.0"
    wanted = set(references(document))
    assert wanted
    assert wanted <= {f"#/definitions/{name}" for name in document["definitions"]}


def test_v3_has_a_schema_for_every_reference_and_a_path_for_every_metric() -> None:
    document = json.loads(openapi.v3(METRICS, asked()).body)
    assert document["openapi"].startswith("3.")
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    namespaced = f"/{GROUP_VERSION}/namespaces/{{namespace}}"
    kind = {"group": "external.metrics.k8s.io", "version": "v1beta1", "kind": "ExternalMetricValueList"}
    for resource in ("{resource}", *METRICS):
        read = document["paths"][f"{namespaced}/{resource}"]["get"]
        assert read["x-kubernetes-group-version-kind"] == kind
    operations = [item["get"]["operationId"] for item in document["paths"].values()]
    assert len(set(operations)) == len(operations)


def test_both_versions_describe_the_same() -> None:
    v2, v3 = json.loads(openapi.v2(asked()).body), json.loads(openapi.v3([], asked()).body)
    assert v2["paths"].keys() == v3["paths"].keys()
    assert v2["definitions"].keys() == v3["components"]["schemas"].keys()
    for name, definition in v2["definitions"].items():
        assert name.startswith("beanscale.external_metrics.v1beta1."), "a shared name differs between versions"
        assert definition.get("description") == v3["components"]["schemas"][name].get("description")


def test_v3_lists_only_beanscales_group_with_urls_that_change_with_the_documents() -> None:
    before, after = (
        json.loads(openapi.v3_index(metrics, asked()).body)["paths"] for metrics in (METRICS, [*METRICS, "tube-more"])
    )
    assert set(before) == {"apis/external.metrics.k8s.io", GROUP_VERSION}
    url = before[GROUP_VERSION]["serverRelativeURL"]
    assert url.startswith(f"/openapi/v3/{GROUP_VERSION}?hash=")
    assert url != after[GROUP_VERSION]["serverRelativeURL"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_client_with_the_etag_gets_304(document: Callable[[Request], Response]) -> None:
    etag = document(asked()).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = document(asked(if_none_match=known))
        assert (response.status_code, response.body, response.headers["etag"]) == (304, b"", etag)
    assert document(asked(if_none_match='"other"')).status_code == 200


def test_v2_is_compressed_for_clients_that_accept_it() -> None:
    plain, zipped = openapi.v2(asked()), openapi.v2(asked(accept_encoding="gzip, deflate"))
    assert gzip.decompress(bytes(zipped.body)) == plain.body
    assert zipped.headers.getlist("vary") == ["Accept", "Accept-Encoding"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_protobuf_is_not_available(document: Callable[[Request], Response]) -> None:
    with pytest.raises(StatusError) as error:
        document(asked(accept=PROTOBUF))
    assert error.value.code == 406
    assert document(asked(accept=f"{PROTOBUF},*/*")).status_code == 200
