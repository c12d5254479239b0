"""Who acts as somebody else must be allowed to be each part of them, and has their rights alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.authorization import Attributes, Authorizer
from app.api.impersonation import impersonated
from app.api.status import StatusError
from app.cluster.reviews import Decision, ResourceAttributes, User

pytestmark = pytest.mark.anyio
EVE = User("eve", ("system:authenticated",))
ROOT = User("root", ("system:masters",))
BOB = (b"impersonate-user", b"bob")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def allowing(*names: str) -> Authorizer:
    """Everybody may be these, whatever they are: users, groups and so on."""

    def review(_: User, what: Attributes) -> Decision:
        return Decision(isinstance(what, ResourceAttributes) and what.verb == "impersonate" and what.name in names, "")

    return Authorizer(review)


async def test_who_asks_for_nobody_else_stays_who_they_are() -> None:
    assert await impersonated(EVE, [(b"accept", b"*/*")], allowing()) == EVE
    assert await impersonated(EVE, [(b"impersonate-user", b"")], allowing()) == EVE


async def test_who_may_becomes_somebody_else_and_loses_all_of_their_own() -> None:
    assert await impersonated(ROOT, [BOB], allowing()) == User("bob", ("system:authenticated",))
    everything = [
        BOB,
        (b"impersonate-group", b"dev"),
        (b"impersonate-group", b"ops"),
        (b"impersonate-uid", b"7"),
        (b"impersonate-extra-scopes%2fof", b"a"),
    ]
    assert await impersonated(EVE, everything, allowing("bob", "dev", "ops", "7", "a")) == User(
        "bob", ("dev", "ops", "system:authenticated"), "7", (("scopes/of", ("a",)),)
    )


@pytest.mark.parametrize("missing", ["bob", "dev", "7", "a"])
async def test_who_may_not_be_each_part_may_be_none(missing: str) -> None:
    parts = [BOB, (b"impersonate-group", b"dev"), (b"impersonate-uid", b"7"), (b"impersonate-extra-x", b"a")]
    with pytest.raises(StatusError) as error:
        await impersonated(EVE, parts, allowing(*({"bob", "dev", "7", "a"} - {missing})))
    assert (error.value.code, 'User "eve" cannot impersonate resource' in str(error.value)) == (403, True)


async def test_an_account_brings_its_groups() -> None:
    account = (b"impersonate-user", b"system:serviceaccount:shop:worker")
    assert (await impersonated(EVE, [account], allowing("worker"))).groups == (
        "system:serviceaccounts",
        "system:serviceaccounts:shop",
        "system:authenticated",
    )
    with pytest.raises(StatusError, match=r'serviceaccounts "worker" is forbidden.* in the namespace "shop"'):
        await impersonated(EVE, [account], allowing())


async def test_nobody_stays_nobody() -> None:
    anonymous = (b"impersonate-user", b"system:anonymous")
    assert (await impersonated(ROOT, [anonymous], allowing())).groups == ("system:unauthenticated",)


@pytest.mark.parametrize("header", [b"impersonate-group", b"impersonate-uid", b"impersonate-extra-x"])
async def test_a_part_of_nobody_is_refused(header: bytes) -> None:
    with pytest.raises(StatusError) as error:
        await impersonated(ROOT, [(header, b"x")], allowing())
    assert error.value.code == 400


async def test_a_name_that_is_a_path_is_no_free_pass() -> None:
    for path in (b"/healthz", b"healthz", b"/livez"):
        with pytest.raises(StatusError):
            await impersonated(EVE, [(b"impersonate-user", path)], allowing())


PARTS = [b"user", b"group", b"uid", b"extra-a", b"extra-%4", b"extra-", b""]


@given(st.lists(st.tuples(st.sampled_from(PARTS).map(b"impersonate-".__add__), st.binary(max_size=12))))
async def test_who_may_be_nobody_else_stays_who_they_are_or_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        assert await impersonated(EVE, headers, allowing()) == EVE
    except StatusError as refused:
        assert refused.code in {400, 403}  # noqa: PT017 - any other end is a failure
