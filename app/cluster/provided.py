"""A certificate that somebody else keeps in a Secret, such as cert-manager: read and judged, never written.

It is judged by what kube-apiserver will ask of it (Go's crypto/x509), so that what it would refuse is said here first:
by name and cause, while what was served before goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from app.cluster.certificates import (
    UNREADABLE,
    CertificateError,
    ServingCertificate,
    issued_by,
    read_bundle,
)

CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret of type kubernetes.io/tls, and the one that cert-manager adds."""


@dataclass(frozen=True, slots=True)
class Provided:
    """What the Secret holds."""

    serving: ServingCertificate
    authorities: tuple[x509.Certificate, ...]
    """The CAs to verify it by. None: whoever made the Secret sees to it that kube-apiserver trusts it."""

    @property
    def bundle(self) -> bytes:
        """The `caBundle`, as PEM; empty: not ours to write."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.authorities)

    @property
    def authority_expires_at(self) -> datetime | None:
        """When the first of the CAs ends that vouch for it."""
        return min((each.not_valid_after_utc for each in self.authorities), default=None)


def read_provided(stored: Mapping[str, bytes], name: str, now: datetime) -> Provided:
    """Read a Secret's data, no longer in base64; kube-apiserver asks by `name`. Raises CertificateError."""
    missing = [key for key in (CERTIFICATE, KEY) if not stored.get(key, b"").strip()]
    if missing:
        raise CertificateError(f"it has no {' and no '.join(missing)} yet")
    chain = _chain(stored[CERTIFICATE])
    serving = ServingCertificate(stored[CERTIFICATE], stored[KEY], chain[0])
    _check_key(serving)
    _check_dates(serving, now)
    _check_name(serving, name)
    authorities = read_bundle(stored[AUTHORITIES]) if stored.get(AUTHORITIES, b"").strip() else ()
    if authorities and not _vouched_for(chain, authorities):
        raise CertificateError(f"no CA in its {AUTHORITIES} vouches for its {CERTIFICATE}")
    return Provided(serving, authorities)


def _chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except UNREADABLE as error:
        raise CertificateError(f"its {CERTIFICATE} isn't PEM certificates ({error})") from error


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


def _check_name(serving: ServingCertificate, name: str) -> None:
    try:
        names = serving.names
    except (x509.ExtensionNotFound, *UNREADABLE):
        names = frozenset()
    # As in Go: a wildcard stands for the first label, and for one only.
    if not names & {name, f"*.{name.partition('.')[2]}"}:
        told = ", ".join(sorted(names)) or "no name"
        raise CertificateError(f"its certificate isn't for {name}, by which kube-apiserver asks, but for {told}")


def _vouched_for(chain: tuple[x509.Certificate, ...], authorities: tuple[x509.Certificate, ...]) -> bool:
    if not set(chain).isdisjoint(authorities):
        return True
    return any(issued_by(each, authority) for each in chain for authority in authorities)
