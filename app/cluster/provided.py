"""A certificate that somebody else keeps in a Secret, such as cert-manager: read and judged, never written.

It is judged by what kube-apiserver will ask of it (Go's crypto/x509), so that what it would refuse is said here first:
by name and cause, while what was served before goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.cluster.certificates import (
    UNREADABLE,
    CertificateError,
    ServingCertificate,
    issued_by,
    load_certificates,
)

_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_LONGEST_CHAIN = 10
CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret of type kubernetes.io/tls, and the one that cert-manager adds."""


@dataclass(frozen=True, slots=True)
class Provided:
    """What the Secret holds."""

    serving: ServingCertificate
    authorities: tuple[x509.Certificate, ...]
    """The CAs to verify it by. None: whoever made the Secret sees to it that kube-apiserver trusts it."""
    authority_expires_at: datetime | None
    """When the CA ends that vouches for it; None where there is none."""

    @property
    def serving_made_at(self) -> datetime:
        """When the serving certificate's life began."""
        return self.serving.certificate.not_valid_before_utc

    @property
    def bundle(self) -> bytes:
        """The `caBundle`, as PEM; empty: not ours to write."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.authorities)


def read_provided(stored: Mapping[str, bytes], name: str, now: datetime) -> Provided:
    """Read a Secret's data, no longer in base64; kube-apiserver asks by `name`. Raises CertificateError."""
    missing = [key for key in (CERTIFICATE, KEY) if not stored.get(key, b"").strip()]
    if missing:
        raise CertificateError(f"it has no {' and no '.join(missing)} yet")
    chain = load_certificates(stored[CERTIFICATE], f"its {CERTIFICATE}")[:_LONGEST_CHAIN]
    serving = ServingCertificate(stored[CERTIFICATE], stored[KEY], chain[0])
    _check_key(serving)
    _check_dates(serving, now)
    _check_purpose(serving, name)
    if not stored.get(AUTHORITIES, b"").strip():
        return Provided(serving, (), None)
    authorities = load_certificates(stored[AUTHORITIES], f"its {AUTHORITIES}")
    vouching = _vouching(chain[0], chain[1:], authorities, now)
    if not vouching:
        raise CertificateError(
            f"no CA in its {AUTHORITIES} vouches now for its {CERTIFICATE}, by what this brings along"
        )
    return Provided(serving, authorities, max(each.not_valid_after_utc for each in vouching))


def _check_key(serving: ServingCertificate) -> None:
    try:
        key = load_pem_private_key(serving.key_pem, password=None)
        public_key = serving.certificate.public_key()
    except UNREADABLE as error:
        raise CertificateError(f"its {KEY} isn't a PEM key without a password ({error})") from error
    if key.public_key() != public_key:
        raise CertificateError(f"its {CERTIFICATE} and its {KEY} don't belong together")


def _check_dates(serving: ServingCertificate, now: datetime) -> None:
    if now >= serving.expires_at:
        raise CertificateError(f"its certificate has ended on {serving.expires_at:%Y-%m-%d at %H:%M:%S} UTC")
    if not serving.holds_at(now):
        begins = serving.certificate.not_valid_before_utc
        raise CertificateError(f"its certificate begins only on {begins:%Y-%m-%d at %H:%M:%S} UTC")


def _check_purpose(serving: ServingCertificate, name: str) -> None:
    try:
        names = {each.lower() for each in serving.names}
        usage = serving.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as missing:
        names = set() if missing.oid == x509.SubjectAlternativeName.oid else names
        usage = None
    except UNREADABLE as error:
        raise CertificateError(f"its certificate's extensions can't be read ({error})") from error
    # As in Go: a wildcard stands for the first label, and for one only.
    if not names & {name, f"*.{name.partition('.')[2]}"}:
        told = ", ".join(sorted(names)) or "no name"
        raise CertificateError(f"its certificate isn't for {name}, by which kube-apiserver asks, but for {told}")
    if usage is not None and _SERVERS.isdisjoint(usage):
        raise CertificateError("its certificate isn't for servers: its extended key usage lacks server authentication")


def _vouching(
    certificate: x509.Certificate,
    between: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> list[x509.Certificate]:
    """The CAs at which the ways from the certificate end, each step of which holds now."""
    if certificate in authorities:
        return [certificate]
    found: list[x509.Certificate] = []
    for issuer in (*authorities, *between):
        if issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc and issued_by(certificate, issuer):
            found += _vouching(issuer, [each for each in between if each != issuer], authorities, now)
    return found
