"""beanscale's own CA and serving certificates: made and parsed, with time as an argument and without I/O.

They have every extension that Go's verifier and OpenSSL's VERIFY_X509_STRICT require (RFC 5280, 4.2): Python's clients
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

from app.settings import is_ip

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes that it can't parse; not all are a ValueError."""

BACKDATED = timedelta(hours=1)
"""Certificates are valid from an hour before they were made, because clocks of nodes differ."""


class CertificateError(ValueError):
    """Certificates or keys can't be used; `str()` says which and why."""


@dataclass(frozen=True, slots=True)
class _Certified:
    """A certificate and its key."""

    pem: bytes
    key_pem: bytes = field(repr=False)
    certificate: x509.Certificate = field(repr=False, compare=False)

    @property
    def made_at(self) -> datetime:
        """When it was made; it is valid from BACKDATED earlier."""
        return self.certificate.not_valid_before_utc + BACKDATED

    @property
    def expires_at(self) -> datetime:
        """When its validity ends."""
        return self.certificate.not_valid_after_utc

    @property
    def lifetime(self) -> timedelta:
        """From `made_at` to `expires_at`."""
        return self.expires_at - self.made_at

    @property
    def renew_at(self) -> datetime:
        """Two thirds into its lifetime: a third is left to find and fix what prevents its renewal."""
        return self.made_at + self.lifetime * 2 / 3

    def is_valid_at(self, now: datetime) -> bool:
        """Return whether clients accept its dates."""
        return self.certificate.not_valid_before_utc <= now < self.expires_at


@dataclass(frozen=True, slots=True)
class Authority(_Certified):
    """A CA, with the key that signs."""

    def signed(self, certificate: x509.Certificate) -> bool:
        """Return whether this CA issued a certificate."""
        return issued_by(certificate, self.certificate)

    def may_sign(self, names: Iterable[str]) -> bool:
        """Return whether its name constraints permit these names; False for a CA without constraints."""
        try:
            constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return False
        return _constraints(names) <= set(constraints.permitted_subtrees or ())


@dataclass(frozen=True, slots=True)
class ServingCertificate(_Certified):
    """What a TLS server presents, with its key; `pem` may include intermediate certificates."""

    @property
    def names(self) -> frozenset[str]:
        """The DNS names and IP addresses that it is valid for."""
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return frozenset(names.get_values_for_type(x509.DNSName)) | frozenset(
            map(str, names.get_values_for_type(x509.IPAddress))
        )


def make_authority(names: Iterable[str], now: datetime, lifetime: timedelta) -> Authority:
    """Make a self-signed CA for servers of these names alone; `now` has a time zone and is rounded down to seconds.

    kube-apiserver and Prometheus trust it, and its key is in a Secret: it must be worth nothing for other names.
    """
    permitted = _constraints(names)
    # A kind of name that isn't among them would be permitted as a whole unless it is excluded.
    excluded: list[x509.GeneralName] = [
        x509.IPAddress(network)
        for network in map(ipaddress.ip_network, ("0.0.0.0/0", "::/0"))
        if not any(isinstance(each, x509.IPAddress) and each.value.version == network.version for each in permitted)
    ]
    if not any(isinstance(each, x509.DNSName) for each in permitted):
        excluded.append(x509.DNSName(""))
    constraints = x509.NameConstraints(sorted(permitted, key=str), excluded or None)
    key = ec.generate_private_key(ec.SECP256R1())
    # Dated, so that people can distinguish two CAs in one bundle.
    subject = _name(f"beanscale CA {now:%Y-%m-%dT%H:%M:%S}Z")
    builder = (
        _builder(subject, subject, key, key)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(constraints, critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(certificate.public_bytes(Encoding.PEM), _key_pem(key), certificate)


def make_serving(authority: Authority, names: Iterable[str], now: datetime, lifetime: timedelta) -> ServingCertificate:
    """Make a serving certificate for DNS names and IP addresses; it never outlives its CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    hosts = [x509.IPAddress(ipaddress.ip_address(each)) if is_ip(each) else x509.DNSName(each) for each in names]
    signer = _load_key(authority.key_pem, "the CA's key")
    builder = (
        _builder(_name("beanscale"), authority.certificate.subject, key, signer)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + lifetime, authority.expires_at))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    )
    certificate = builder.sign(signer, hashes.SHA256())
    return ServingCertificate(certificate.public_bytes(Encoding.PEM), _key_pem(key), certificate)


def read_authority(pem: bytes, key_pem: bytes) -> Authority:
    """Parse a CA and its key. Raise CertificateError."""
    certificate = _load_certificate(pem, key_pem, "the CA")
    return Authority(certificate.public_bytes(Encoding.PEM), key_pem, certificate)


def read_serving(pem: bytes, key_pem: bytes) -> ServingCertificate:
    """Parse a serving certificate and its key. Raise CertificateError."""
    certificate = _load_certificate(pem, key_pem, "the serving certificate")
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, *UNREADABLE) as error:
        raise CertificateError("the serving certificate names no host") from error
    return ServingCertificate(pem, key_pem, certificate)


def read_bundle(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Parse the certificates of a bundle, in their order. Raise CertificateError."""
    return load_certificates(pem, "the CA bundle")


def load_certificates(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Parse PEM certificates and their dates. Raise CertificateError, whose message begins with `what`."""
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
        for each in certificates:
            _ = each.not_valid_before_utc, each.not_valid_after_utc  # a year 0 shows only here
    except UNREADABLE as error:
        raise CertificateError(f"{what} isn't a PEM certificate ({error})") from error
    return certificates


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether the names match and the signature is valid; dates are not checked."""
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


def _constraints(names: Iterable[str]) -> set[x509.GeneralName]:
    return {x509.IPAddress(ipaddress.ip_network(each)) if is_ip(each) else x509.DNSName(each) for each in names}


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
