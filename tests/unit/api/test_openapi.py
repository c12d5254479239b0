"""The documents that kube-apiserver merges and kubectl explains from: whole, and not sent twice."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.negotiation import Wishes
from app.api.openapi import OpenApi

GROUP_VERSION = "apis/external.metrics.k8s.io/v1beta1"
METRICS = ["beanstalkd_tube_jobs", "tube-default"]


@pytest.fixture
def openapi() -> OpenApi:
    return OpenApi("v1.2.3", lambda: METRICS)


def wishes(query: bytes = b"", **headers: str) -> Wishes:
    return Wishes.of(query, [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


def references(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(content, list):
        for value in content:
            yield from references(value)


def test_v2_has_a_definition_for_every_reference(openapi: OpenApi) -> None:
    document = json.loads(openapi.everything(wishes()).body)
    assert document["swagger"] == "2.0"
    wanted = set(references(document))
    assert wanted
    assert wanted <= {f"#/definitions/{name}" for name in document["definitions"]}


def test_v3_has_a_schema_for_every_reference_and_a_path_for_every_metric(openapi: OpenApi) -> None:
    document = json.loads(openapi.group(f"/openapi/v3/{GROUP_VERSION}", wishes()).body)
    assert document["openapi"].startswith("3.")
    assert set(references(document)) <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    namespaced = f"/{GROUP_VERSION}/namespaces/{{namespace}}"
    kind = {"group": "external.metrics.k8s.io", "version": "v1beta1", "kind": "ExternalMetricValueList"}
    for resource in ("{resource}", *METRICS):
        read = document["paths"][f"{namespaced}/{resource}"]["get"]
        assert read["x-kubernetes-group-version-kind"] == kind
    operations = [item["get"]["operationId"] for item in document["paths"].values()]
    assert len(set(operations)) == len(operations)


def test_v3_names_our_group_alone_by_urls_that_change_with_the_documents(openapi: OpenApi) -> None:
    paths = json.loads(openapi.groups(wishes()).body)["paths"]
    assert set(paths) == {"apis/external.metrics.k8s.io", GROUP_VERSION}
    before = paths[GROUP_VERSION]["serverRelativeURL"]
    METRICS.append("tube-more")
    after = json.loads(openapi.groups(wishes()).body)["paths"][GROUP_VERSION]["serverRelativeURL"]
    METRICS.pop()
    assert before.startswith(f"/openapi/v3/{GROUP_VERSION}?hash=")
    assert before != after


def test_a_document_at_its_hash_is_kept_for_ever_and_an_old_hash_leads_to_the_new(openapi: OpenApi) -> None:
    url = json.loads(openapi.groups(wishes()).body)["paths"][GROUP_VERSION]["serverRelativeURL"]
    path, _, query = url.partition("?")
    kept = openapi.group(path, wishes(query.encode()))
    assert (kept.status_code, kept.headers["cache-control"]) == (200, "public, immutable")
    assert kept.headers["expires"]
    old = openapi.group(path, wishes(b"hash=OLD"))
    assert (old.status_code, "immutable" in old.headers.get("cache-control", "")) == (200, False)


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3", f"/openapi/v3/{GROUP_VERSION}"])
def test_who_has_it_already_gets_304(openapi: OpenApi, path: str) -> None:
    def ask(given: Wishes) -> Any:
        if path == "/openapi/v2":
            return openapi.everything(given)
        return openapi.groups(given) if path == "/openapi/v3" else openapi.group(path, given)

    etag = ask(wishes()).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = ask(wishes(if_none_match=known))
        assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert ask(wishes(if_none_match='"other"')).status_code == 200


def test_v2_is_compressed_for_who_reads_that(openapi: OpenApi) -> None:
    plain, zipped = openapi.everything(wishes()), openapi.everything(wishes(accept_encoding="gzip, deflate"))
    assert zipped.headers["content-encoding"] == "gzip"
    assert len(zipped.body) < len(plain.body) / 2
    for answer in (plain, zipped):
        assert answer.headers.getlist("vary") == ["Accept-Encoding", "Accept"]


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [("gzip", True), ("GZIP;q=0.1", True), ("br, gzip ;q=1.0", True), ("gzip;q=0", False), ("*", False), ("", False)],
)
def test_v2_is_compressed_as_far_as_that_is_liked(openapi: OpenApi, accepted: str, *, compressed: bool) -> None:
    assert ("content-encoding" in openapi.everything(wishes(accept_encoding=accepted)).headers) == compressed


@pytest.mark.parametrize(("path", "accept"), [("nope", "*/*"), ("nope", "json"), (GROUP_VERSION, "json")])
def test_v3_says_nothing_at_all_of_what_it_does_not_know(openapi: OpenApi, path: str, accept: str) -> None:
    answer = openapi.group(f"/openapi/v3/{path}", wishes(accept=accept))
    assert (answer.status_code, answer.body) == (200, b"")
    assert dict(answer.headers) == {"content-length": "0"}


def test_protobuf_is_not_there(openapi: OpenApi) -> None:
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert openapi.everything(wishes(accept=accept)).status_code == 406
    assert openapi.group(f"/openapi/v3/{GROUP_VERSION}", wishes(accept=accept)).status_code == 406
    assert openapi.everything(wishes(accept=f"{accept},*/*")).status_code == 200
