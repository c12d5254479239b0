"""Our own CA and serving certificates: made and read, with time as an argument and no I/O.

They carry every extension that Go's verifier and OpenSSL's VERIFY_X509_STRICT ask for (RFC 5280, 4.2): Python's clients
are strict by default since 3.13.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""How cryptography says that it can't make sense of bytes; not all are a ValueError."""

BACKDATED = timedelta(hours=1)
"""Certificates hold from an hour before they were made: clocks of nodes differ."""


class CertificateError(ValueError):
    """Stored certificates or keys can't be used; `str()` says which and why."""


@dataclass(frozen=True, slots=True)
class _Certified:
    """A certificate and its key."""

    pem: bytes
    key_pem: bytes = field(repr=False)
    certificate: x509.Certificate = field(repr=False, compare=False)

    @property
    def made_at(self) -> datetime:
        """When it came into being; it holds from BACKDATED earlier."""
        return self.certificate.not_valid_before_utc + BACKDATED

    @property
    def expires_at(self) -> datetime:
        """When nobody accepts it any more."""
        return self.certificate.not_valid_after_utc

    @property
    def life(self) -> timedelta:
        """How long it was made to last."""
        return self.expires_at - self.made_at

    @property
    def renew_at(self) -> datetime:
        """Two thirds into its life: a third is left to find and mend what keeps it from being renewed."""
        return self.made_at + self.life * 2 / 3

    def is_valid_at(self, now: datetime) -> bool:
        """Whether clients accept its dates."""
        return self.certificate.not_valid_before_utc <= now < self.expires_at


@dataclass(frozen=True, slots=True)
class Authority(_Certified):
    """A CA, with the key that signs."""

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether this CA vouches for a certificate."""
        return issued_by(certificate, self.certificate)


@dataclass(frozen=True, slots=True)
class ServingCertificate(_Certified):
    """What a TLS server presents, with its key; `pem` may bring certificates of CAs in between."""

    @property
    def names(self) -> frozenset[str]:
        """The DNS names and IP addresses that it is good for."""
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return frozenset(names.get_values_for_type(x509.DNSName)) | frozenset(
            map(str, names.get_values_for_type(x509.IPAddress))
        )


def make_authority(now: datetime, life: timedelta) -> Authority:
    """A new self-signed CA; `now` with a time zone, counted in whole seconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Dated, so that two CAs in one bundle are told apart by people too.
    subject = _name(f"beanscale CA {now:%Y-%m-%dT%H:%M:%S}Z")
    builder = (
        _builder(subject, subject, key, key)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(certificate.public_bytes(Encoding.PEM), _key_pem(key), certificate)


def make_serving(authority: Authority, names: Iterable[str], now: datetime, life: timedelta) -> ServingCertificate:
    """A new certificate for DNS names and IP addresses; it never outlives its CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = _load_key(authority.key_pem, "the CA's key")
    builder = (
        _builder(_name("beanscale"), authority.certificate.subject, key, signer)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + life, authority.expires_at))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    )
    certificate = builder.sign(signer, hashes.SHA256())
    return ServingCertificate(certificate.public_bytes(Encoding.PEM), _key_pem(key), certificate)


def read_authority(pem: bytes, key_pem: bytes) -> Authority:
    """Raises CertificateError."""
    certificate = _load_certificate(pem, key_pem, "the CA")
    return Authority(certificate.public_bytes(Encoding.PEM), key_pem, certificate)


def read_serving(pem: bytes, key_pem: bytes) -> ServingCertificate:
    """Raises CertificateError."""
    certificate = _load_certificate(pem, key_pem, "the serving certificate")
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *UNREADABLE) as error:
        raise CertificateError("the serving certificate names no host") from error
    return ServingCertificate(pem, key_pem, certificate)


def read_bundle(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a bundle in their order. Raises CertificateError."""
    return load_certificates(pem, "the CA bundle")


def load_certificates(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """All of them, whose dates can be read too. Raises CertificateError, which begins with `what`."""
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
        for each in certificates:
            _ = each.not_valid_before_utc, each.not_valid_after_utc  # a year 0 shows only here
    except UNREADABLE as error:
        raise CertificateError(f"{what} isn't a PEM certificate ({error})") from error
    return certificates


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the names fit and the signature is right; dates are another question."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _load_certificate(pem: bytes, key_pem: bytes, what: str) -> x509.Certificate:
    certificate = load_certificates(pem, what)[0]
    try:
        public_key = certificate.public_key()
    except UNREADABLE as error:
        raise CertificateError(f"{what} isn't a PEM certificate whose key can be read ({error})") from error
    if _load_key(key_pem, f"the key of {what}").public_key() != public_key:
        raise CertificateError(f"{what} and its key don't belong together")
    return certificate


def _load_key(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except UNREADABLE as error:
        raise CertificateError(f"{what} isn't a PEM key without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{what} isn't an elliptic curve key, so it isn't one that beanscale made")
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    own, signers = key.public_key(), signer.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signers), critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
