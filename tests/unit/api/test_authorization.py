"""What is asked of Kubernetes about a request, and what its answer lets happen."""

import asyncio
import json
import threading

import pytest

from app.api.authentication import ANONYMOUS
from app.api.authorization import Attributes, Authorizer, attributes
from app.api.request import Caller
from app.api.review_cache import MAX_PENDING
from app.api.status import StatusError
from app.kube.errors import KubernetesError
from app.kube.reviews import Condition, Decision, PathAttributes, ResourceAttributes, User
from app.kube.upstream import GROUP
from tests.unit.api.requests import request

pytestmark = pytest.mark.anyio
EVE, ADAM = User("eve", ("gardeners",)), User("adam", ("gardeners",))
METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/tube-a"


class Kubernetes:
    """Allows /metrics to Eve; `asked` is what it was asked so far."""

    def __init__(self) -> None:
        self.asked: list[tuple[User, Attributes]] = []
        self.away = False

    def __call__(self, user: User, attributes: Attributes) -> Decision:
        self.asked.append((user, attributes))
        if self.away:
            raise KubernetesError("connection refused")
        return Decision(user == EVE and attributes == PathAttributes("/metrics", "get"), "")


def what(path: str, query: bytes = b"", method: str = "GET") -> Attributes:
    asked = request(path, query, method=method)
    asked.caller = by_token(EVE)
    return attributes(asked, {"namespace": "shop", "metric": "tube-a"} if path == METRIC else {})


def by_token(user: User) -> Caller:
    return Caller(user, "token")


async def verdict(authorizer: Authorizer, user: User, path: str, query: bytes = b"", method: str = "GET") -> int:
    try:
        await authorizer.check(by_token(user), what(path, query, method))
    except StatusError as error:
        return error.code
    return 200


async def test_a_decision_is_cached_by_user_and_path() -> None:
    kubernetes = Kubernetes()
    authorizer = Authorizer(kubernetes)
    assert [await verdict(authorizer, EVE, "/metrics") for _ in range(3)] == [200, 200, 200]
    assert len(kubernetes.asked) == 1
    assert await verdict(authorizer, ADAM, "/metrics") == 403
    assert await verdict(authorizer, EVE, "/metrics/") == 403
    for other in (User("eve", ()), User("eve", EVE.groups, "7"), User("eve", EVE.groups, "", (("a", ("b",)),))):
        assert await verdict(authorizer, other, "/metrics") == 403
    assert len(kubernetes.asked) == 6


async def test_a_failed_review_denies_access_and_is_not_cached() -> None:
    kubernetes = Kubernetes()
    kubernetes.away = True
    authorizer = Authorizer(kubernetes)
    assert await verdict(authorizer, EVE, "/metrics") == 500
    kubernetes.away = False
    assert await verdict(authorizer, EVE, "/metrics") == 200


async def test_a_failed_review_shows_the_client_neither_an_address_nor_beanscales_permissions() -> None:
    def away(*_: object) -> Decision:
        raise KubernetesError("https://10.0.0.1:6443 refused: serviceaccount beanscale cannot create reviews")

    with pytest.raises(StatusError) as refused:
        await Authorizer(away).check(Caller(ANONYMOUS, "anonymous"), what("/metrics"))
    assert refused.value.code == 500
    assert str(refused.value) == "Internal error occurred: access can't be reviewed now; retry later"
    assert "10.0.0.1" in refused.value.__notes__[0], "the log has it"


async def test_masters_and_probes_need_no_review() -> None:
    kubernetes = Kubernetes()
    authorizer = Authorizer(kubernetes)
    assert await verdict(authorizer, User("root", ("system:masters",)), METRIC) == 200
    for probe in ("/livez", "/readyz", "/healthz"):
        assert await verdict(authorizer, ANONYMOUS, probe) == 200
    assert kubernetes.asked == []
    for almost in ("/livez/", "/livez/ping", "//livez", "/LIVEZ", "/livez%00", "/livez;x"):
        assert await verdict(authorizer, ANONYMOUS, almost) == 403
    assert len(kubernetes.asked) == 6


@pytest.mark.parametrize(
    ("method", "query", "expected"),
    [
        ("GET", b"", {"verb": "list"}),
        ("GET", b"watch=1", {"verb": "watch"}),
        ("POST", b"labelSelector=a", {"verb": "create"}),
        (
            "GET",
            b"labelSelector=a%3Db,c%21%3Dd,e+in+(g,f),h+notin+(i),j,%21k,l%3E1",
            {
                "verb": "list",
                "labels": (
                    Condition("a", "In", ("b",)),
                    Condition("c", "NotIn", ("d",)),
                    Condition("e", "In", ("f", "g")),
                    Condition("h", "NotIn", ("i",)),
                    Condition("j", "Exists"),
                    Condition("k", "DoesNotExist"),
                ),
            },
        ),
        ("DELETE", b"labelSelector=b", {"verb": "deletecollection", "labels": (Condition("b", "Exists"),)}),
        ("GET", b"fieldSelector=metadata.name%3Da", {"verb": "list"}),
        ("GET", b"limit=x&labelSelector=b", {"verb": "list", "labels": (Condition("b", "Exists"),)}),
        ("GET", b"labelSelector=" + b"a," * 4000 + b"a", {"verb": "list"}),
        ("GET", b"labelSelector=a+in+(" + b"b," * 2100 + b"b)", {"verb": "list"}),
    ],
)
async def test_a_review_contains_the_selectors_of_a_list(
    method: str, query: bytes, expected: dict[str, object]
) -> None:
    kubernetes = Kubernetes()
    await verdict(Authorizer(kubernetes), EVE, METRIC, query, method)
    whole = {"namespace": "shop", "group": "external.metrics.k8s.io", "version": "v1beta1", "resource": "tube-a"}
    assert kubernetes.asked == [(EVE, ResourceAttributes(**(whole | expected)))]  # type: ignore[arg-type]


async def test_evaluation_errors_of_a_denial_are_logged_and_not_returned() -> None:
    authorizer = Authorizer(lambda *_: Decision(False, "because", 'clusterrole "x" not found'))
    with pytest.raises(StatusError) as refused:
        await authorizer.check(by_token(EVE), what("/metrics"))
    assert str(refused.value) == 'forbidden: User "eve" cannot get path "/metrics": because'
    assert refused.value.__notes__ == ['clusterrole "x" not found']


@pytest.mark.parametrize(
    "denied",
    [
        PathAttributes("/" + "a" * 8000, "get"),
        ResourceAttributes("shop", "list", GROUP, "v1beta1", "a" * 8000),
        ResourceAttributes("a" * 8000, "list", GROUP, "v1beta1", "tube-a"),
    ],
)
async def test_a_denial_repeats_only_the_beginning_of_a_long_name(denied: Attributes) -> None:
    with pytest.raises(StatusError) as refused:
        await Authorizer(lambda *_: Decision(False, "")).check(by_token(EVE), denied)
    assert len(json.dumps(refused.value.content)) < 3000


async def test_reviews_of_other_clients_never_delay_what_kube_apiserver_forwards() -> None:
    answer = threading.Event()

    def review(user: User, _: Attributes) -> Decision:
        if user.name != "hpa":
            assert answer.wait(60)
        return Decision(True, "")

    authorizer, waiting = Authorizer(review), []
    for by in ("token", "client-certificate", "anonymous"):
        for number in range(2 * MAX_PENDING):
            caller = Caller(User(f"user-{number % 20}", ()), by)  # type: ignore[arg-type]
            waiting.append(asyncio.create_task(authorizer.check(caller, PathAttributes(f"/{number}", "get"))))
    await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(30):
            assert await authorizer.check(Caller(User("hpa", ()), "front-proxy"), what(METRIC)) == ""
        rejected = [error for task in waiting if task.done() and (error := task.exception())]
        assert {getattr(error, "code", None) for error in rejected} == {429}, "never an internal error"
    finally:
        answer.set()
        await asyncio.gather(*waiting, return_exceptions=True)
