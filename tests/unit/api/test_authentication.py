"""Who a request's user is, as long as no certificate is needed to tell."""

from collections.abc import Callable
from typing import Any

import pytest

from app.api.authentication import ANONYMOUS, Authenticator, Trust
from app.api.status import StatusError
from app.cluster.client import KubernetesError
from app.cluster.request_header import parse
from app.cluster.reviews import User

pytestmark = pytest.mark.anyio
NOBODY_TRUSTED = Trust.of(parse({}))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def request(*headers: tuple[bytes, bytes]) -> Any:
    return {"extensions": {"tls": {"client_certificate": None}}, "headers": headers}


WITH_TOKEN = request((b"authorization", b"Bearer of-somebody"))


def authenticator(review: Callable[[str], User | None], trust: Trust | None = NOBODY_TRUSTED) -> Authenticator:
    made = Authenticator(review)
    made.trust = trust
    return made


async def code(by: Authenticator, scope: Any) -> int:
    with pytest.raises(StatusError) as refused:
        await by.user(scope)
    return refused.value.code


async def test_who_proves_nothing_is_anonymous_even_before_it_is_known_who_is_trusted() -> None:
    """Else the kubelet's probes would fail, and restart us, for as long as kube-apiserver is away."""
    by = authenticator(lambda _: None, trust=None)
    assert await by.user(request()) == ANONYMOUS
    assert await by.user(request((b"x-remote-user", b"admin"), (b"x-remote-group", b"system:masters"))) == ANONYMOUS
    assert await code(by, WITH_TOKEN) == 503


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((), ("system:authenticated",)),
        (("gardeners",), ("gardeners", "system:authenticated")),
        (("system:authenticated", "gardeners"), ("system:authenticated", "gardeners")),
        (("system:unauthenticated",), ("system:unauthenticated",)),
    ],
)
async def test_whoever_proved_who_they_are_is_authenticated_unless_they_say_they_are_not(
    groups: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    by = authenticator(lambda _: User("eve", groups))
    assert await by.user(WITH_TOKEN) == User("eve", expected)


async def test_a_token_that_is_nobodys_is_refused() -> None:
    assert await code(authenticator(lambda _: None), WITH_TOKEN) == 401


async def test_a_token_that_nobody_can_review_lets_nobody_in() -> None:
    def review(_token: str) -> User | None:
        raise KubernetesError("kube-apiserver is away")

    assert await code(authenticator(review), WITH_TOKEN) == 503
