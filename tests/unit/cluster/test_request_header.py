"""Whom kube-apiserver tells us to trust: read exactly, and what can't be read trusts nobody new."""

import ssl
from datetime import UTC, datetime

import pytest

from app.cluster.client import KubernetesError
from app.cluster.renewal import step
from app.cluster.request_header import ClientTrust, parse

CA = step(None, ["localhost"], datetime.now(UTC)).bundle.decode()
USUAL = {
    "client-ca-file": CA,
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-client-ca-file": CA,
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-username-headers": '["X-Remote-User", " X-Other-User "]',
}
BLANKS = {"client-ca-file": " \n", "requestheader-client-ca-file": "\n"}


def test_every_value_is_read() -> None:
    assert parse(USUAL) == ClientTrust(
        client_ca_pem=CA,
        requestheader_ca_pem=CA,
        allowed_names=frozenset({"front-proxy-client"}),
        username_headers=(b"x-remote-user", b"x-other-user"),
        group_headers=(b"x-remote-group",),
        extra_header_prefixes=(b"x-remote-extra-",),
        uid_headers=(b"x-remote-uid",),
    )


def test_remarks_in_a_bundle_are_left_out() -> None:
    """OpenSSL refuses a bundle that isn't ASCII, or has no certificate; then nobody would get in."""
    remarked = parse(USUAL | {"client-ca-file": f"# the CA of Zoë\n{CA}\n# fin\n"})
    assert remarked == parse(USUAL)
    ssl.create_default_context(cadata=remarked.client_ca_pem)


@pytest.mark.parametrize("configuration", [{}, dict.fromkeys(USUAL, ""), dict.fromkeys(USUAL, "") | BLANKS])
def test_what_is_absent_trusts_nobody(configuration: dict[str, str]) -> None:
    assert parse(configuration) == ClientTrust("", "", frozenset(), (), (), (), ())


@pytest.mark.parametrize(
    ("key", "garbage", "why"),
    [
        ("client-ca-file", "garbage", "no readable certificates"),
        ("requestheader-client-ca-file", CA[:300], "no readable certificates"),
        ("requestheader-allowed-names", "front-proxy-client", "isn't JSON"),
        ("requestheader-allowed-names", '"front-proxy-client"', "isn't a JSON list"),
        ("requestheader-username-headers", "[1]", "isn't a JSON list of names"),
        ("requestheader-group-headers", '[" "]', "isn't a JSON list of names"),
    ],
)
def test_garbage_is_named(key: str, garbage: str, why: str) -> None:
    with pytest.raises(KubernetesError, match=f"{key}.*{why}"):
        parse(USUAL | {key: garbage})
