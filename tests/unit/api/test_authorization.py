"""What Kubernetes decided is remembered for a while, and never more than fits."""

import pytest

from app.api.authorization import Attributes, Authorizer
from app.api.request_info import MOST_REMEMBERED, request_info
from app.api.status import StatusError
from app.cluster.client import KubernetesError
from app.cluster.reviews import Decision, PathAttributes, User

pytestmark = pytest.mark.anyio
EVE, ADAM = User("eve", ("gardeners",)), User("adam", ("gardeners",))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Reviews:
    """Allows /metrics to Eve; `asked` is what it was asked so far."""

    def __init__(self) -> None:
        self.asked: list[tuple[User, Attributes]] = []
        self.away = False

    def __call__(self, user: User, attributes: Attributes) -> Decision:
        self.asked.append((user, attributes))
        if self.away:
            raise KubernetesError("nobody is there")
        return Decision(user == EVE and attributes == PathAttributes("/metrics", "get"), "")


async def verdict(authorizer: Authorizer, user: User, path: str) -> int:
    try:
        await authorizer.check(user, request_info("GET", path, b""))
    except StatusError as error:
        return error.code
    return 200


async def test_a_decision_is_remembered_for_that_user_and_that_path() -> None:
    reviews = Reviews()
    authorizer = Authorizer(reviews)
    assert [await verdict(authorizer, EVE, "/metrics") for _ in range(3)] == [200, 200, 200]
    assert len(reviews.asked) == 1
    assert await verdict(authorizer, ADAM, "/metrics") == 403
    assert await verdict(authorizer, EVE, "/metrics/") == 403


async def test_nobody_gets_in_while_nobody_can_decide_and_that_is_not_remembered() -> None:
    reviews = Reviews()
    reviews.away = True
    authorizer = Authorizer(reviews)
    assert await verdict(authorizer, EVE, "/metrics") == 500
    reviews.away = False
    assert await verdict(authorizer, EVE, "/metrics") == 200


async def test_long_paths_are_decided_each_time() -> None:
    """Four thousand remembered paths of 60 KB would be all the memory that a pod has."""
    reviews = Reviews()
    authorizer = Authorizer(reviews)
    long = "/metrics/" + "a" * MOST_REMEMBERED
    assert [await verdict(authorizer, EVE, long) for _ in range(2)] == [403, 403]
    assert len(reviews.asked) == 2
