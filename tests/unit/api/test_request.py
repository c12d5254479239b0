"""The path of a request is decoded once; what routes match is what is authorized."""

from dataclasses import replace
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.api.authorization import Attributes, Authorizer
from app.api.request import Caller, Request
from app.api.response import ErrorResponses
from app.api.status import StatusError
from app.kube.reviews import Decision, PathAttributes, ResourceAttributes, User
from tests.unit.api.requests import request, scope
from tests.unit.api.test_app import ALLOWING_API, answer

pytestmark = pytest.mark.anyio
V1 = "/apis/external.metrics.k8s.io/v1beta1"


async def authorized(method: str, path: str, query: bytes = b"") -> Attributes:
    """What Kubernetes is asked about a request."""
    asked: list[Attributes] = []

    def review(_: User, what: Attributes) -> Decision:
        asked.append(what)
        return Decision(allowed=False, reason="")

    api = replace(ALLOWING_API, authorizer=Authorizer(review)).application()
    got = await answer(api, method, path.encode(), query, [(b"authorization", b"Bearer me")])
    assert got.code == 403
    return asked[0]


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "namespace", "metric"),
    [
        ("GET", f"{V1}/namespaces/shop/tube-a", b"", "list", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube-a/", b"", "list", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube%2Da", b"", "list", "shop", "tube-a"),
        ("HEAD", f"{V1}/namespaces/shop/tube-a", b"", "list", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch=true", "watch", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch=false", "list", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"watch", "watch", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"limit=x&watch=yes", "watch", "shop", "tube-a"),
        ("DELETE", f"{V1}/namespaces/shop/tube-a", b"", "deletecollection", "shop", "tube-a"),
        ("POST", f"{V1}/namespaces/shop/tube-a", b"", "create", "shop", "tube-a"),
        ("FOO", f"{V1}/namespaces/shop/tube-a", b"", "", "shop", "tube-a"),
        ("GET", f"{V1}/namespaces/shop/tube-a", b"fieldSelector=metadata.name%3Dx", "list", "shop", "tube-a"),
    ],
)
async def test_a_metric_is_a_resource(
    method: str, path: str, query: bytes, verb: str, namespace: str, metric: str
) -> None:
    what = await authorized(method, path, query)
    assert isinstance(what, ResourceAttributes)
    assert (what.verb, what.namespace, what.resource) == (verb, namespace, metric)
    assert (what.group, what.version) == ("external.metrics.k8s.io", "v1beta1")


@pytest.mark.parametrize(
    "path",
    [
        V1,
        "/metrics",
        "/",
        "/api/v1/pods",
        f"{V1}/namespaces",
        f"{V1}/tube-a",
        f"{V1}/namespaces/shop/tube-a/x",
        f"{V1}/namespaces//tube-a",
        f"{V1}//namespaces/shop/tube-a",
        f"/{V1}/namespaces/shop/tube-a",
        f"{V1}/watch/namespaces/shop/tube-a",
        f"{V1}/proxy/namespaces/shop/tube-a/x/y",
        f"{V1}/namespaces/shop/../other/tube-a",
        "/livez/",
        "//livez",
        "/LIVEZ",
        "/livez/ping",
    ],
)
async def test_any_other_target_is_kept_verbatim(path: str) -> None:
    assert await authorized("GET", path) == PathAttributes(path, "get")
    assert await authorized("POST", path) == PathAttributes(path, "post")


def test_a_path_is_decoded_once() -> None:
    assert request("/a%2Fb%252F%ff+").path == "/a/b%2F\udcff+"


@pytest.mark.parametrize("path", ["/a%zz", "/a%", "/%4"])
async def test_a_path_that_cant_be_decoded_is_refused(path: str) -> None:
    with pytest.raises(StatusError, match="percent-encoding"):
        request(path)
    assert (await answer(ALLOWING_API.application(), "GET", path.encode(), b"", [])).code == 400


@given(st.binary() | st.lists(st.sampled_from([b"api", b"apis", b"namespaces", b"%2F", b"a", b""])).map(b"/".join))
def test_any_path_is_decoded_exactly_or_rejected(path: bytes) -> None:
    try:
        decoded = request(path).path
    except StatusError as error:
        assert error.code == 400  # noqa: PT017 - any other end is a failure
        return
    expected = unquote_to_bytes(path) if b"%" in path else path.decode("latin-1").encode()
    assert decoded.rstrip("/") == expected.decode("utf-8", "surrogateescape").rstrip("/")


def test_the_first_of_two_equal_headers_applies() -> None:
    assert request("/", b"", (b"accept", b"a/b"), (b"accept", b"c/d")).header(b"accept") == "a/b"


@pytest.mark.parametrize(
    ("query", "agent", "wanted"),
    [
        (b"", b"kubectl/v1.36", False),
        (b"", b"curl/8", True),
        (b"pretty=0", b"curl/8", False),
        (b"pretty=true", b"", True),
        (b"pretty=yes", b"", False),
        (b"pretty=", b"curl/8", True),
    ],
)
def test_browsers_and_kubectl_get_indented_json(query: bytes, agent: bytes, wanted: bool) -> None:
    made = request("/", query, (b"user-agent", agent))
    made.caller = Caller(User("eve", ()), "token")
    assert made.wants_indent is wanted


def test_the_query_of_an_anonymous_client_isnt_parsed_for_a_response() -> None:
    made = request("/", b"pretty=true")
    made.caller = Caller(User("system:anonymous", ()), "anonymous")
    assert not made.wants_indent


async def test_a_bug_is_an_internal_error_without_details_for_the_client() -> None:
    async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("https://10.0.0.1:6443")

    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    asked = scope("/")
    asked["request"] = Request(asked)
    await ErrorResponses(fails)(asked, send, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 500  # type: ignore[index]
    assert b"10.0.0.1" not in sent[1]["body"]  # type: ignore[index]
