"""A request is taken apart as kube-apiserver does it, so that both authorise the same thing."""

import pytest

from app.api.request_info import MOST_REMEMBERED, request_info

V1 = "/apis/external.metrics.k8s.io/v1beta1"


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "namespace", "resource", "name"),
    [
        ("GET", f"{V1}/namespaces/shop/tube-a", b"", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a/", b"", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch=true", "watch", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch=false", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a/x", b"", "get", "shop", "tube-a", "x"),
        ("DELETE", f"{V1}/namespaces/shop/tube-a", b"", "deletecollection", "shop", "tube-a", ""),
        ("POST", f"{V1}/namespaces/shop/tube-a", b"", "create", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces", b"", "list", "", "namespaces", ""),
        ("GET", f"{V1}/tube-a", b"", "list", "", "tube-a", ""),
        ("GET", V1, b"", "get", "", "", ""),
        ("GET", "/metrics", b"", "get", "", "", ""),
        ("POST", "/metrics", b"", "post", "", "", ""),
        ("GET", "/", b"", "get", "", "", ""),
        ("GET", f"/{V1}/namespaces/shop/tube-a", b"", "get", "", "", ""),
        ("GET", f"{V1}//namespaces/shop/tube-a", b"", "get", "", "", ""),
    ],
)
def test_verb_namespace_and_resource(
    method: str, path: str, query: bytes, verb: str, namespace: str, resource: str, name: str
) -> None:
    info = request_info(method, path, query)
    assert (info.verb, info.namespace, info.resource, info.name, info.path) == (verb, namespace, resource, name, path)


def test_dots_stay_a_part_of_the_path_so_that_they_lead_nowhere() -> None:
    info = request_info("GET", f"{V1}/namespaces/shop/../other/tube-a", b"")
    assert (info.namespace, info.resource, info.name) == ("shop", "..", "other")


def test_only_short_paths_are_remembered() -> None:
    """Anybody can ask for thousands of long ones before it's known who they are."""
    assert request_info("GET", "/short", b"") is request_info("GET", "/short", b"")
    long = "/" + "a" * MOST_REMEMBERED
    assert request_info("GET", long, b"") == request_info("GET", long, b"")
    assert request_info("GET", long, b"") is not request_info("GET", long, b"")
