"""A request is taken apart as kube-apiserver does it, so that both authorise the same thing."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.request import MOST_REMEMBERED_INFOS, request_info
from app.api.status import StatusError

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
        ("GET", f"/{V1}/namespaces/shop/tube-a", b"", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces//tube-a", b"", "list", "", "tube-a", ""),
        ("GET", f"{V1}/watch/namespaces/shop/tube-a", b"", "watch", "shop", "tube-a", ""),
        ("GET", f"{V1}/proxy/namespaces/shop/tube-a/x/y", b"", "proxy", "shop", "tube-a", "x"),
        ("GET", f"{V1}/namespaces/shop/status", b"", "get", "shop", "namespaces", "shop"),
        ("GET", "/api/v1/pods", b"", "list", "", "pods", ""),
        ("GET", "/api/v1", b"", "get", "", "", ""),
        ("FOO", f"{V1}/namespaces/shop/tube-a", b"", "", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch", "watch", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch=False", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"limit=x&watch=yes", "watch", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch=1;x", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"fieldSelector=metadata.name%3Dx", "list", "shop", "tube-a", "x"),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"fieldSelector=metadata.name!%3Dx", "list", "shop", "tube-a", ""),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"fieldSelector=metadata.name%3D..", "list", "shop", "tube-a", ""),
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


def test_a_path_is_decoded_once() -> None:
    assert request_info("GET", "/a%2Fb%252F%ff+", b"").path == "/a/b%2F\udcff+"


def test_a_path_that_cant_be_decoded_is_refused() -> None:
    with pytest.raises(StatusError, match='invalid URL escape "%zz"'):
        request_info("GET", "/a%zz", b"")


def test_only_short_paths_are_remembered() -> None:
    """Anybody can ask for thousands of long ones before it's known who they are."""
    assert request_info("GET", "/short", b"") is request_info("GET", "/short", b"")
    long = "/" + "a" * MOST_REMEMBERED_INFOS
    assert request_info("GET", long, b"") == request_info("GET", long, b"")
    assert request_info("GET", long, b"") is not request_info("GET", long, b"")
    many = b"labelSelector=" + b",".join([b"a"] * 20)
    assert request_info("GET", "/api/v1/pods", many) is not request_info("GET", "/api/v1/pods", many)


@given(
    st.sampled_from(["GET", "DELETE", "FOO"]),
    st.binary() | st.lists(st.sampled_from([b"api", b"apis", b"namespaces", b"%2F", b"a", b""])).map(b"/".join),
    st.binary() | st.binary().map(lambda raw: b"labelSelector=" + raw) | st.binary().map(b"fieldSelector=a=".__add__),
)
def test_any_request_is_about_what_its_path_says_or_refused(method: str, path: bytes, query: bytes) -> None:
    try:
        info = request_info(method, path.decode("latin-1"), query)
    except StatusError as error:
        assert error.code == 400  # noqa: PT017 - any other end is a failure
        return
    assert info.path == unquote_to_bytes(path).decode("utf-8", "surrogateescape")
    assert {info.group, info.namespace, info.resource, info.subresource} <= {"", *info.path.split("/")}
