"""Each certificate is served from its own context, and one that can't be served leaves the one before in place."""

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.api.tls import ServingTls
from app.http.tls import server_context
from app.kube.certificates.authority import CertificateError, ServingCertificate
from app.kube.certificates.controller import load_into
from app.kube.certificates.renewal import KeyRing, next_key_ring

NOW = datetime.now(UTC).replace(microsecond=0)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def certified(key: Key) -> ServingCertificate:
    """By itself, as PEM without a line break in the end."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beanscale")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificate = builder.sign(key, algorithm)
    pem = certificate.public_bytes(Encoding.PEM).rstrip()
    return ServingCertificate(pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate)


EC = certified(ec.generate_private_key(ec.SECP256R1()))
RSA = certified(rsa.generate_private_key(65537, 2048))
ED25519 = certified(ed25519.Ed25519PrivateKey.generate())


def shown(tls: ServingTls) -> bytes:
    """What a client gets to see that likes each kind of key."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), tls.context.wrap_bio(to_server, to_client, server_side=True)]
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[0].getpeercert(binary_form=True) or b""


def test_certificates_with_any_kind_of_key_can_be_exchanged() -> None:
    tls = ServingTls()
    for certificate in (EC, RSA, ED25519, RSA, EC):
        tls.present(certificate)
        assert shown(tls) == certificate.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        (certified(rsa.generate_private_key(65537, 1024)), "can't be loaded: EE_KEY_TOO_SMALL"),  # noqa: S505 - that is the point
        (certified(ec.generate_private_key(ec.SECP256K1())), "TLS clients can't use the serving certificate"),
        (ServingCertificate(EC.pem, RSA.key_pem, EC.certificate), "can't be loaded"),
    ],
)
def test_an_unusable_certificate_is_rejected_and_the_previous_one_stays(unusable: ServingCertificate, why: str) -> None:
    tls = ServingTls()
    tls.present(EC)
    with pytest.raises(CertificateError, match=why):
        tls.present(unusable)
    assert shown(tls) == EC.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_client_gets_a_ticket_for_another_session(version: ssl.TLSVersion) -> None:
    """A session that is resumed would skip the check of its client certificate."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), server_context("1.2")
    client.check_hostname, client.verify_mode, client.maximum_version = False, ssl.CERT_NONE, version
    load_into(server, EC)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for end in (*ends, *ends):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        ends[0].read()  # tickets of TLS 1.3 come after the handshake
    assert ends[0].version() == version.name.replace("_", ".")
    assert not (ends[0].session and ends[0].session.has_ticket)


def test_client_cas_stay_trusted_when_the_certificate_changes() -> None:
    ring: KeyRing = next_key_ring(None, ["any"], NOW)
    tls = ServingTls()
    tls.trust(ring.bundle.decode())
    tls.present(EC)
    tls.present(RSA)
    assert [each.get("subject") for each in tls.context.get_ca_certs()] == [
        ((("commonName", f"beanscale CA {NOW:%Y-%m-%dT%H:%M:%S}Z"),),)
    ]
