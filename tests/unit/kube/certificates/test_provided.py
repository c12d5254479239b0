"""A provided certificate is served if kube-apiserver accepts it, otherwise rejected with the reason."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.kube.certificates.authority import CertificateError, make_authority, make_serving
from app.kube.certificates.secret import read_provided
from tests.unit.kube.handshake import serve, shake_hands

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
NAME = "beanscale-server.shop.svc"
AUTHORITY = make_authority(["svc"], NOW, 365 * DAY)
SERVING = make_serving(AUTHORITY, [NAME], NOW, 30 * DAY)
SECRET = {"tls.crt": SERVING.pem, "tls.key": SERVING.key_pem, "ca.crt": AUTHORITY.pem}
RSA = rsa.generate_private_key(65537, 2048)


def self_signed(names: list[str]) -> bytes:
    """As `openssl req -x509` makes one, with an RSA key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(RSA.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + DAY)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    return builder.sign(RSA, hashes.SHA256()).public_bytes(Encoding.PEM)


def rsa_key(password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)


def test_a_certificate_of_cert_manager_is_served_and_its_ca_is_the_bundle() -> None:
    provided = read_provided(SECRET, NAME, NOW)
    assert provided.bundle == AUTHORITY.pem
    assert provided.authority_expires_at == AUTHORITY.expires_at
    assert provided.serving_made_at == SERVING.certificate.not_valid_before_utc
    assert shake_hands(serve(provided.serving), provided.bundle, NAME)


def test_any_kind_of_key_and_a_self_signed_certificate_are_accepted() -> None:
    pem = self_signed([NAME])
    provided = read_provided({"tls.crt": pem, "tls.key": rsa_key(), "ca.crt": pem}, NAME, NOW)
    assert serve(provided.serving)
    assert provided.bundle == pem


def issued(
    between: tuple[str, ...] = ("intermediate",),
    ends: datetime = NOW + DAY,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> dict[str, bytes]:
    """A Secret with a certificate that a CA signed which the root in ca.crt signed; what is `between` comes along."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "intermediate", "leaf")}

    def signed(name: str, by: str, end: datetime, *extensions: x509.ExtensionType) -> bytes:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, by))
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).serial_number(7)
        builder = builder.public_key(keys[name].public_key()).not_valid_before(NOW - 2 * DAY).not_valid_after(end)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(keys[by], hashes.SHA256()).public_bytes(Encoding.PEM)

    constraints = x509.BasicConstraints(ca=True, path_length=None)
    authorities = {
        "root": signed("root", "root", NOW + DAY, constraints),
        "intermediate": signed("intermediate", "root", ends, constraints),
    }
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    leaf = signed("leaf", "intermediate", NOW + DAY, names, x509.ExtendedKeyUsage([usage]))
    key = keys["leaf"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join([leaf, *(authorities[each] for each in between)])
    return {"tls.crt": chain, "tls.key": key, "ca.crt": authorities["root"]}


def test_an_intermediate_ca_can_be_included() -> None:
    secret = issued(between=("root", "intermediate"))
    assert read_provided(secret, NAME, NOW).authority_expires_at == NOW + DAY


@pytest.mark.parametrize("names", [[NAME, "other"], ["*.shop.svc"], [NAME.upper()]])
def test_any_name_of_the_certificate_can_match(names: list[str]) -> None:
    assert read_provided({"tls.crt": self_signed(names), "tls.key": rsa_key()}, NAME, NOW)


def test_without_a_ca_the_bundle_is_not_written() -> None:
    provided = read_provided({**SECRET, "ca.crt": b"\n"}, NAME, NOW)
    assert (provided.bundle, provided.authority_expires_at) == (b"", None)


def test_a_chain_is_served_whole() -> None:
    chain = SERVING.pem + AUTHORITY.pem
    assert read_provided({**SECRET, "tls.crt": chain}, NAME, NOW).serving.pem == chain


Spoil = Callable[[], dict[str, bytes]]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (dict, "it has no tls.crt and no tls.key yet"),
        (lambda: {"tls.key": b" \n"}, "it has no tls.key yet"),
        (lambda: {"tls.crt": b"garbage"}, "its tls.crt isn't a PEM certificate"),
        (lambda: {"tls.key": b"garbage"}, "its tls.key isn't a PEM key without a password"),
        (lambda: {"tls.key": rsa_key(b"secret")}, "its tls.key isn't a PEM key without a password"),
        (lambda: {"tls.key": rsa_key()}, "its tls.crt and its tls.key don't belong together"),
        (lambda: {"ca.crt": b"garbage"}, "its ca.crt isn't a PEM certificate"),
        (
            lambda: {"ca.crt": make_authority(["svc"], NOW, DAY).pem},
            "no valid CA in its ca.crt signed its tls.crt or its intermediates",
        ),
        (lambda: issued(usage=ExtendedKeyUsageOID.CLIENT_AUTH), "lacks server authentication"),
        (lambda: issued(between=()), "no valid CA in its ca.crt signed its tls.crt or its intermediates"),
        (lambda: issued(between=("root",)), "no valid CA in its ca.crt signed its tls.crt or its intermediates"),
        (lambda: issued(ends=NOW - DAY), "no valid CA in its ca.crt signed its tls.crt or its intermediates"),
        (
            lambda: {"tls.crt": self_signed(["*.svc"]), "tls.key": rsa_key()},
            rf"its certificate must name {NAME}, which kube-apiserver verifies, but names \*\.svc",
        ),
        (
            lambda: {"tls.crt": self_signed([]), "tls.key": rsa_key()},
            "which kube-apiserver verifies, but names no name",
        ),
    ],
)
def test_a_certificate_that_kube_apiserver_would_reject_is_rejected_with_the_reason(spoil: Spoil, why: str) -> None:
    invalid = spoil()
    with pytest.raises(CertificateError, match=why):
        read_provided({**SECRET, **invalid} if invalid else {}, NAME, NOW)


def test_the_validity_dates_are_checked() -> None:
    with pytest.raises(CertificateError, match=r"its certificate expired on 20..-..-.. at ..:..:.. UTC"):
        read_provided(SECRET, NAME, NOW + 30 * DAY)
    with pytest.raises(CertificateError, match="its certificate is valid only from"):
        read_provided(SECRET, NAME, NOW - DAY)
