"""What we serve is accepted by strict clients, under our names, while it holds; and nothing else is."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from app.kube.certificates.authority import (
    CertificateError,
    make_authority,
    make_serving,
    read_authority,
    read_bundle,
    read_serving,
)
from app.kube.certificates.controller import load_into
from tests.unit.kube.handshake import serve, shake_hands

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NAME = "beanscale.shop.svc"
NAMES = (NAME, "127.0.0.1", "::1")
AUTHORITY = make_authority(NAMES, NOW, 365 * DAY)
SERVING = make_serving(AUTHORITY, NAMES, NOW, 30 * DAY)


@pytest.mark.parametrize("name", [NAME, "127.0.0.1", "::1"])
def test_a_strict_client_accepts_each_name(name: str) -> None:
    assert shake_hands(serve(SERVING), AUTHORITY.pem, name) == SERVING.certificate.public_bytes(Encoding.DER)


def test_a_client_refuses_another_name() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(serve(SERVING), AUTHORITY.pem, "beanscale.other.svc")


def test_a_client_that_trusts_another_ca_refuses() -> None:
    other = make_authority(NAMES, NOW, 365 * DAY)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(serve(SERVING), other.pem, NAME)


@pytest.mark.parametrize(
    ("permitted", "name"),
    [
        ([NAME], "kubernetes.default.svc"),
        ([NAME], "127.0.0.1"),
        ([NAME], "::1"),
        ([NAME, "127.0.0.1"], "127.0.0.2"),
        (["127.0.0.1"], NAME),
        (["127.0.0.1"], "::1"),
    ],
)
def test_what_the_ca_signs_for_another_name_is_refused(permitted: list[str], name: str) -> None:
    stolen = make_authority(permitted, NOW, 365 * DAY)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(permitted|excluded) subtree violation"):
        shake_hands(serve(make_serving(stolen, [name], NOW, 30 * DAY)), stolen.pem, name)


def test_a_client_that_cant_check_the_names_refuses_the_ca() -> None:
    assert AUTHORITY.certificate.extensions.get_extension_for_class(x509.NameConstraints).critical


def test_what_the_ca_signs_for_a_client_is_refused() -> None:
    usage = AUTHORITY.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_new_certificate_is_served_from_the_next_handshake_on() -> None:
    server = serve(SERVING)
    successor = make_serving(AUTHORITY, [NAME], NOW, 30 * DAY)
    load_into(server, successor)
    assert shake_hands(server, AUTHORITY.pem, NAME) == successor.certificate.public_bytes(Encoding.DER)


def test_a_serving_certificate_can_sign_nothing() -> None:
    constraints = SERVING.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = SERVING.certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert (usage.critical, usage.value.key_cert_sign) == (True, False)


def test_a_serving_certificate_never_outlives_its_ca() -> None:
    short = make_authority(NAMES, NOW, 10 * DAY)
    assert make_serving(short, [NAME], NOW, 30 * DAY).expires_at == short.expires_at


def test_a_clock_one_hour_slow_accepts_the_certificate() -> None:
    assert verified(NOW - timedelta(minutes=59))


def test_an_expired_certificate_is_refused() -> None:
    assert not verified(NOW + 31 * DAY)


def verified(at: datetime) -> bool:
    store = Store(list(read_bundle(AUTHORITY.pem)))
    try:
        PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(NAME)).verify(SERVING.certificate, [])
    except VerificationError:
        return False
    return True


@given(
    now=st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    days=st.integers(1, 4000),
)
def test_a_third_of_the_lifetime_is_left_when_renewal_is_due(now: datetime, days: int) -> None:
    authority = make_authority(NAMES, now, days * DAY)
    assert timedelta(0) <= now - authority.made_at < timedelta(seconds=1)
    assert authority.renew_at < authority.expires_at
    left = authority.expires_at - authority.renew_at
    assert abs(left - days * DAY / 3) < timedelta(seconds=1)


def test_a_written_certificate_is_read_back_unchanged() -> None:
    assert read_authority(AUTHORITY.pem, AUTHORITY.key_pem) == AUTHORITY
    assert read_serving(SERVING.pem, SERVING.key_pem) == SERVING
    assert SERVING.names == {NAME, "127.0.0.1", "::1"}


def test_keys_stay_out_of_logs() -> None:
    assert "PRIVATE" not in repr(AUTHORITY) + repr(SERVING)


RSA_KEY = rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # noqa: S505
P256, NO_CURVE = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f")
VERSION_3, VERSION_6 = bytes.fromhex("a003020102"), bytes.fromhex("a003020105")


def altered(pem: bytes, old: bytes, new: bytes) -> bytes:
    """Well-formed, but nothing that cryptography knows."""
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem.decode()).replace(old, new, 1)).encode()


OTHER_KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("pem", "key_pem", "why"),
    [
        (b"garbage", SERVING.key_pem, "isn't a PEM certificate"),
        (SERVING.pem[:200], SERVING.key_pem, "isn't a PEM certificate"),
        (altered(SERVING.pem, VERSION_3, VERSION_6), SERVING.key_pem, "isn't a PEM certificate"),
        (altered(SERVING.pem, P256, NO_CURVE), SERVING.key_pem, "isn't a PEM certificate"),
        (SERVING.pem, b"garbage", "isn't a PEM key"),
        (SERVING.pem, b"", "isn't a PEM key"),
        (SERVING.pem, RSA_KEY, "isn't an elliptic curve key"),
        (SERVING.pem, OTHER_KEY, "don't belong together"),
        (AUTHORITY.pem, AUTHORITY.key_pem, "names no host"),
    ],
)
def test_an_unusable_certificate_is_rejected_with_its_name(pem: bytes, key_pem: bytes, why: str) -> None:
    with pytest.raises(CertificateError, match=f"serving certificate.* {why}|serving certificate {why}"):
        read_serving(pem, key_pem)
