"""Who acts as somebody else must be allowed to be each part of them, and has their rights alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.authorization import Attributes, Authorizer
from app.api.impersonation import Headers
from app.api.impersonation import impersonated as impersonated_for
from app.api.request import request_info
from app.api.status import StatusError
from app.kube.reviews import Decision, ResourceAttributes, User

pytestmark = pytest.mark.anyio
EVE = User("eve", ("system:authenticated",))
ROOT = User("root", ("system:masters",))
BOB = (b"impersonate-user", b"bob")


async def impersonated(user: User, headers: Headers, authorizer: Authorizer) -> User:
    return await impersonated_for(user, headers, request_info("GET", "/metrics", b""), authorizer)


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
    assert (error.value.code, 'User "eve" cannot impersonate' in str(error.value)) == (403, True)


async def test_an_account_brings_its_groups() -> None:
    account = (b"impersonate-user", b"system:serviceaccount:shop:worker")
    assert (await impersonated(EVE, [account], allowing("worker"))).groups == (
        "system:serviceaccounts",
        "system:serviceaccounts:shop",
        "system:authenticated",
    )
    with pytest.raises(StatusError, match=r'cannot impersonate-on:serviceaccount:get path "/metrics"'):
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


INFO = request_info("GET", "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/tube-a", b"")


def ruled_by(*rules: tuple[str, str]) -> Authorizer:
    """Allowed are pairs of a verb and a resource, or a path."""

    def review(_: User, what: Attributes) -> Decision:
        named = what.resource if isinstance(what, ResourceAttributes) else what.path
        return Decision((what.verb, named) in rules, "")

    return Authorizer(review)


@pytest.mark.parametrize(
    ("way", "resource", "name", "groups"),
    [
        ("user-info", "users", "bob", ("system:authenticated",)),
        ("arbitrary-node", "nodes", "system:node:a.b", ("system:nodes", "system:authenticated")),
        (
            "serviceaccount",
            "serviceaccounts",
            "system:serviceaccount:shop:a",
            ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"),
        ),
    ],
)
async def test_who_may_for_some_requests_may_for_these_alone(
    way: str, resource: str, name: str, groups: tuple[str, ...]
) -> None:
    allowing_both = ruled_by((f"impersonate-on:{way}:list", "tube-a"), (f"impersonate:{way}", resource))
    headers = [(b"impersonate-user", name.encode())]
    assert await impersonated_for(EVE, headers, INFO, allowing_both) == User(name, groups)
    for other in (request_info("GET", "/metrics", b""), request_info("DELETE", INFO.path, b"")):
        with pytest.raises(StatusError, match=f"cannot impersonate-on:{way}:"):
            await impersonated_for(EVE, headers, other, allowing_both)
    with pytest.raises(StatusError, match=f"cannot impersonate:{way} resource"):
        await impersonated_for(EVE, headers, INFO, ruled_by((f"impersonate-on:{way}:list", "tube-a")))


@pytest.mark.parametrize(
    ("header", "value", "why"),
    [
        (b"impersonate-group", b"system:masters", "the system:masters group"),
        (b"impersonate-group", b"", "the empty string group"),
        (b"impersonate-extra-a", b"1", "an invalid key in extra"),
        (b"impersonate-extra-a.b%2f%43", b"1", "a non-lowercase key in extra"),
        (b"impersonate-extra-a.b%2fc", b"", "the empty string value in extra"),
    ],
)
async def test_the_narrower_ways_never_lead_to_these(header: bytes, value: bytes, why: str) -> None:
    rules = [("impersonate:user-info", resource) for resource in ("users", "groups", "userextras")]
    with pytest.raises(StatusError, match=f"impersonating {why} is not allowed"):
        await impersonated_for(
            EVE, [BOB, (header, value)], INFO, ruled_by(("impersonate-on:user-info:list", "tube-a"), *rules)
        )


async def test_many_parts_may_be_allowed_at_once() -> None:
    def review(_: User, what: Attributes) -> Decision:
        allowed = {"bob", "*"} if what.verb == "impersonate:user-info" else {""}
        return Decision(isinstance(what, ResourceAttributes) and what.name in allowed, "")

    groups = [(b"impersonate-group", name) for name in (b"a", b"b", b"c", b"d")]
    assert (await impersonated_for(EVE, [BOB, *groups], INFO, Authorizer(review))).groups[:4] == ("a", "b", "c", "d")
    with pytest.raises(StatusError):
        await impersonated_for(EVE, [BOB, *groups[:3]], INFO, Authorizer(review))


async def test_a_part_of_nobody_is_told_as_go_would() -> None:
    parts = [(b"impersonate-uid", b"7"), (b"impersonate-group", b"g"), (b"impersonate-extra-k", b"v")]
    with pytest.raises(StatusError) as error:
        await impersonated(ROOT, parts, allowing())
    assert str(error.value) == (
        'requested &user.DefaultInfo{Name:"", UID:"7", Groups:[]string{"g"},'
        ' Extra:map[string][]string{"k":[]string{"v"}}} without impersonating a user name'
    )
