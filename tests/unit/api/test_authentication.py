"""The user of a request is that of Kubernetes' own servers."""

import asyncio
import threading
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from app.api.authentication import ANONYMOUS, MAX_TOKEN, Authenticator
from app.api.request import Caller, Request
from app.api.review_cache import MAX_PENDING_EACH
from app.api.status import StatusError
from app.api.tls import ClientCertificate
from app.kube.auth_config import AuthConfig, AuthConfigWatcher, parse
from app.kube.errors import KubernetesError
from app.kube.reviews import TokenOwner, User
from tests.unit.api.requests import scope

pytestmark = pytest.mark.anyio
NAMES = {
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-", "X-More-"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-username-headers": '["X-Remote-User", "X-Other-User"]',
}
NOBODY_TRUSTED = parse({})
UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
CN, O = x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME  # noqa: E741 - as in certificates
Subject = tuple[tuple[x509.ObjectIdentifier, str], ...]


class Authority:
    """A CA that can be renewed, with its key or with another."""

    def __init__(self, name: str) -> None:
        self.name = x509.Name([x509.NameAttribute(CN, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.renew()

    def renew(self) -> None:
        self.certificate = self._signed(self.name, self.key, (-1, 24))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def client(
        self, *subject: tuple[x509.ObjectIdentifier, str], hours: tuple[int, int] = (-1, 1)
    ) -> ClientCertificate:
        name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
        leaf = self._signed(name, ec.generate_private_key(ec.SECP256R1()), hours)
        return ClientCertificate(tuple(each.public_bytes(Encoding.DER) for each in (leaf, self.certificate)))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, hours: tuple[int, int]) -> x509.Certificate:
        begin, end = (datetime.now(UTC) + timedelta(hours=each) for each in hours)
        builder = x509.CertificateBuilder().issuer_name(self.name).subject_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
        return builder.sign(self.key, hashes.SHA256())


CLUSTER, PROXY = Authority("cluster"), Authority("front-proxy")
TRUST = parse(NAMES | {"client-ca-file": CLUSTER.pem, "requestheader-client-ca-file": PROXY.pem})
AGGREGATOR = PROXY.client((CN, "front-proxy-client"))


def request(*headers: tuple[bytes, bytes], certificate: ClientCertificate | None = None) -> Any:
    made = scope("/", b"", *headers, certificate=certificate)
    return {**made, "request": Request(made)}


def with_token(value: bytes) -> Any:
    return request((b"authorization", value))


WITH_TOKEN = with_token(b"Bearer of-a-user")


def authenticator(review: Callable[[str], TokenOwner], trust: AuthConfig | None = NOBODY_TRUSTED) -> Authenticator:
    auth_config = AuthConfigWatcher()
    auth_config.current = trust
    return Authenticator(auth_config, review)


def nobodys(_token: str) -> TokenOwner:
    return TokenOwner(None)


def by_certificate(scope: Any, trust: AuthConfig = TRUST) -> Caller | None:
    """The caller, or None if the request is unauthorized."""
    try:
        return asyncio.run(authenticator(nobodys, trust).caller(scope))
    except StatusError as error:
        assert error.reason == "Unauthorized"  # noqa: PT017 - any other is a failure
        return None


NAMES_OF_HEADERS = [
    b"x-remote-user",
    b"x-remote-group",
    b"x-remote-uid",
    b"x-remote-extra-%41%",
    b"x-more-",
    b"x-other-user",
]
STRANGE = st.lists(
    st.tuples(st.sampled_from([*NAMES_OF_HEADERS, b"authorization"]) | st.binary(max_size=8), st.binary(max_size=20))
)


@given(STRANGE)
async def test_no_header_authenticates_a_client_without_credential(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        caller = await authenticator(nobodys, TRUST).caller(request(*headers))
    except StatusError as refused:
        assert refused.code == 401  # noqa: PT017 - any other end is a failure
    else:
        assert caller == Caller(ANONYMOUS, "anonymous")


@given(STRANGE)
def test_any_user_that_the_aggregator_sends_is_text(headers: list[tuple[bytes, bytes]]) -> None:
    caller = by_certificate(request((b"x-remote-user", b"eve"), *headers, certificate=AGGREGATOR))
    assert caller is not None
    assert caller.by == "front-proxy"
    repr(caller).encode()
    "".join((caller.user.name, *caller.user.groups, caller.user.uid, *(key for key, _ in caller.user.extra))).encode()


async def code(by: Authenticator, scope: Any) -> int:
    with pytest.raises(StatusError) as refused:
        await by.caller(scope)
    return refused.value.code


async def test_a_client_without_credential_is_anonymous_even_before_the_configuration_is_loaded() -> None:
    """Else the kubelet's probes would fail, and restart us, for as long as kube-apiserver is away."""
    by = authenticator(nobodys, trust=None)
    anonymous = Caller(ANONYMOUS, "anonymous")
    assert await by.caller(request()) == anonymous
    assert await by.caller(request((b"x-remote-user", b"admin"), (b"x-remote-group", b"system:masters"))) == anonymous
    assert await code(by, WITH_TOKEN) == 401
    assert await code(by, request(certificate=AGGREGATOR)) == 401


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((), ("system:authenticated",)),
        (("gardeners",), ("gardeners", "system:authenticated")),
        (("system:authenticated", "gardeners"), ("system:authenticated", "gardeners")),
        (("system:unauthenticated",), ("system:unauthenticated",)),
    ],
)
async def test_a_valid_credential_adds_system_authenticated_unless_it_states_unauthenticated(
    groups: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    by = authenticator(lambda _: TokenOwner(User("eve", groups)))
    assert await by.caller(WITH_TOKEN) == Caller(User("eve", expected), "token")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", "abc"),
        (b"bEARER abc", "abc"),
        (b" Bearer abc ", "abc"),
        (b"Bearer abc def", "abc"),
        (b"Bearer \xc3\xa9\xff", "é�"),
    ],
)
async def test_a_token_is_parsed_as_in_kubernetes(header: bytes, token: str) -> None:
    by = authenticator(lambda asked: TokenOwner(User(asked, ())))
    assert (await by.caller(with_token(header))).user.name == token


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer ", b"Bearer  abc", b"Bearer\tabc", b"Basic YTpi", b"abc"])
async def test_a_header_without_bearer_token_is_no_credential(header: bytes) -> None:
    assert (await authenticator(nobodys).caller(with_token(header))).by == "anonymous"


async def test_the_first_of_two_tokens_applies() -> None:
    by = authenticator(lambda asked: TokenOwner(User(asked, ())))
    two = request((b"authorization", b"Bearer one"), (b"authorization", b"Bearer two"))
    assert (await by.caller(two)).user.name == "one"


async def test_an_invalid_token_is_rejected_and_cached() -> None:
    asked: list[str] = []

    def review(token: str) -> TokenOwner:
        asked.append(token)
        return TokenOwner(None)

    by = authenticator(review)
    assert [await code(by, WITH_TOKEN) for _ in range(3)] == [401, 401, 401]
    assert asked == ["of-a-user"]


async def test_a_token_whose_review_failed_is_rejected_and_reviewed_again() -> None:
    asked: list[str] = []

    def review(token: str) -> TokenOwner:
        asked.append(token)
        return TokenOwner(None, "the issuer can't be reached")

    by = authenticator(review)
    assert [await code(by, WITH_TOKEN) for _ in range(3)] == [401, 401, 401]
    assert len(asked) == 3


async def test_an_oversized_token_is_rejected_without_a_review() -> None:
    def review(_token: str) -> TokenOwner:
        raise AssertionError

    assert await code(authenticator(review), with_token(b"Bearer " + b"a" * (MAX_TOKEN + 1))) == 401


async def test_a_token_that_cant_be_reviewed_is_rejected() -> None:
    def review(_token: str) -> TokenOwner:
        raise KubernetesError("https://10.0.0.1:6443 is away")

    with pytest.raises(StatusError) as refused:
        await authenticator(review).caller(WITH_TOKEN)
    assert refused.value.code == 503
    assert "10.0.0.1" not in str(refused.value), "where kube-apiserver is concerns no client"
    assert refused.value.__notes__ == ["https://10.0.0.1:6443 is away"]


def test_the_aggregators_headers_are_parsed_as_in_kubernetes() -> None:
    headers = (
        (b"x-other-user", b"not-me"),
        (b"x-remote-user", b"eve"),
        (b"x-remote-user", b"not-me"),
        (b"x-remote-group", b"a"),
        (b"x-remote-group", b""),
        (b"x-remote-group", b"b"),
        (b"x-remote-uid", b"7"),
        (b"x-more-scopes%2fof%41", b"3"),
        (b"x-remote-extra-scopes%2fof%41", b"1"),
        (b"x-remote-extra-bad%zz", b"x"),
        (b"x-remote-extra-scopes%2fof%41", b"2"),
        (b"x_remote_user", b"not-me"),
    )
    assert by_certificate(request(*headers, certificate=AGGREGATOR)) == Caller(
        User(
            "eve",
            ("a", "b", "system:authenticated"),
            "7",
            (("scopes/ofA", ("1", "2", "3")), ("bad%zz", ("x",))),
        ),
        "front-proxy",
    )


@pytest.mark.parametrize("user", [(), ((b"x-remote-user", b""),)])
def test_the_aggregator_without_a_user_header_is_rejected(user: tuple[tuple[bytes, bytes], ...]) -> None:
    assert by_certificate(request(*user, (b"x-remote-group", b"system:masters"), certificate=AGGREGATOR)) is None


MASTER = ((b"x-remote-user", b"eve"), (b"x-remote-group", b"system:masters"))


@pytest.mark.parametrize(
    ("certificate", "speaks"),
    [
        (PROXY.client((CN, "front-proxy-client")), True),
        (PROXY.client((CN, "other"), (CN, "front-proxy-client")), True),
        (PROXY.client((CN, "front-proxy-client"), (CN, "other")), False),
        (PROXY.client((CN, "Front-Proxy-Client")), False),
        (PROXY.client((O, "front-proxy-client")), False),
        (CLUSTER.client((CN, "front-proxy-client")), False),
        (Authority("front-proxy").client((CN, "front-proxy-client")), False),
        (PROXY.client((CN, "front-proxy-client"), hours=(-2, -1)), False),
        (PROXY.client((CN, "front-proxy-client"), hours=(1, 2)), False),
    ],
)
def test_only_the_aggregators_certificate_can_act_as_front_proxy(certificate: ClientCertificate, speaks: bool) -> None:
    caller = by_certificate(request(*MASTER, certificate=certificate))
    assert (caller is not None and caller.user.name == "eve") is speaks


def test_an_empty_list_of_allowed_names_allows_any_certificate_of_the_ca() -> None:
    configuration = NAMES | {"requestheader-allowed-names": "[]", "requestheader-client-ca-file": PROXY.pem}
    any_client = request(*MASTER, certificate=PROXY.client((CN, "anybody")))
    assert by_certificate(any_client, parse(configuration)) is not None
    assert by_certificate(any_client) is None
    anonymous = request(*MASTER, certificate=CLUSTER.client((CN, "any_client")))
    assert by_certificate(anonymous, parse(configuration)) is None


def test_a_certificate_of_the_cluster_is_its_user_with_groups_uid_and_fingerprint() -> None:
    certificate = CLUSTER.client((O, "a"), (CN, "first"), (O, "b"), (CN, "eve"), (UID, "7"))
    extra = (("authentication.kubernetes.io/credential-id", (f"X509SHA256={certificate.fingerprint}",)),)
    assert by_certificate(request(certificate=certificate)) == Caller(
        User("eve", ("a", "b", "system:authenticated"), "7", extra), "client-certificate"
    )
    assert len(certificate.fingerprint) == 64


@pytest.mark.parametrize("subject", [((O, "a"),), ((CN, "eve"), (UID, "7"), (UID, "8"))])
def test_a_certificate_without_a_name_or_with_two_uids_is_rejected(subject: Subject) -> None:
    assert by_certificate(request(certificate=CLUSTER.client(*subject))) is None


def test_a_ca_renewed_with_its_key_is_the_same_ca_and_one_with_another_key_is_not() -> None:
    """kubeadm renews so; open connections were verified by the CA's old certificate."""
    authority = Authority("proxy")
    aggregator = request(*MASTER, certificate=authority.client((CN, "front-proxy-client")))
    authority.renew()
    assert by_certificate(aggregator, parse(NAMES | {"requestheader-client-ca-file": authority.pem}))
    rotated = parse(NAMES | {"requestheader-client-ca-file": Authority("proxy").pem})
    assert by_certificate(aggregator, rotated) is None


async def test_a_token_applies_if_the_certificate_is_not_trusted() -> None:
    by = authenticator(lambda _: TokenOwner(User("eve", ())), TRUST)
    scope = request((b"authorization", b"Bearer abc"), certificate=Authority("other").client((CN, "x")))
    assert (await by.caller(scope)).by == "token"


async def test_a_certificate_takes_precedence_over_a_token() -> None:
    by = authenticator(lambda _: TokenOwner(User("eve", ())), TRUST)
    scope = request((b"authorization", b"Bearer abc"), certificate=CLUSTER.client((CN, "adam")))
    assert (await by.caller(scope)).user.name == "adam"


def test_long_headers_are_parsed_each_time_and_not_cached() -> None:
    long = (*MASTER, (b"x-remote-extra-a", b64encode(bytes(100_000))))
    first, second = (by_certificate(request(*long, certificate=AGGREGATOR)) for _ in range(2))
    assert first == second
    assert first is not None
    assert second is not None
    assert first.user is not second.user


async def test_an_address_has_a_share_of_the_reviews_of_tokens() -> None:
    go_on = threading.Event()

    def review(_token: str) -> TokenOwner:
        assert go_on.wait(60)
        return TokenOwner(None)

    to = authenticator(review)

    async def code(address: str, number: int) -> int:
        try:
            await to.caller({**with_token(b"Bearer made-up-%d" % number), "client": (address, 1)})
        except StatusError as error:
            return error.code
        return 200

    waiting = [asyncio.create_task(code("192.0.2.1", number)) for number in range(MAX_PENDING_EACH)]
    await asyncio.sleep(0)
    assert await code("192.0.2.1", MAX_PENDING_EACH) == 429
    waiting.append(asyncio.create_task(code("192.0.2.2", MAX_PENDING_EACH)))
    await asyncio.sleep(0)
    go_on.set()
    assert set(await asyncio.gather(*waiting)) == {401}
