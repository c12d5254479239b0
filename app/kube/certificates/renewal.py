"""When to renew the serving certificate and its CA: pure, the same in every replica.

Replicas share a key ring in a Secret, so the first one renews it for all. Replacing the CA needs no communication
between them, only time:

1. At two thirds of its lifetime the CA is replaced: the bundle trusts both, the old serving certificate stays.
2. An hour later, when every kube-apiserver has seen the new bundle, the new CA signs.
3. The old CA leaves the bundle when all that it signed has expired, so that no replica can still serve it.
   If lifetimes were shortened in between, the shorter ones apply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from app.kube.certificates.authority import (
    Authority,
    CertificateError,
    ServingCertificate,
    issued_by,
    make_authority,
    make_serving,
    read_authority,
    read_bundle,
    read_serving,
)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long certificates are valid. None may outlive its CA, so `serving` is at most a third of `authority`."""

    authority: timedelta = timedelta(days=365)
    serving: timedelta = timedelta(days=30)

    @property
    def published(self) -> timedelta:
        """How long a new CA must be in the bundle before it signs a served certificate."""
        return min(timedelta(hours=1), self.serving / 6)

    @property
    def check(self) -> timedelta:
        """Time between two checks. An emptied Secret or caBundle is restored within this time."""
        return min(timedelta(seconds=10), self.published / 2)


LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All that the replicas share."""

    authority: Authority
    """Signs new certificates."""
    former: tuple[bytes, ...]
    """PEM of CAs that no longer sign, newest first; certificates that they signed may still be served."""
    serving: ServingCertificate

    @property
    def bundle(self) -> bytes:
        """The CAs that clients must trust, as PEM: the `caBundle`."""
        return b"".join((self.authority.pem, *self.former))

    @property
    def serving_made_at(self) -> datetime:
        """When the serving certificate was made."""
        return self.serving.made_at

    @property
    def authority_expires_at(self) -> datetime:
        """When the CA that signs expires."""
        return self.authority.expires_at


def next_key_ring(
    ring: KeyRing | None, names: Sequence[str], now: datetime, lifetimes: Lifetimes = LIFETIMES
) -> KeyRing:
    """Return the key ring that should be stored now; equal to `ring` if nothing is due. Pure, except for new keys.

    `names` are those that clients verify.
    """
    if ring is None or not ring.authority.is_valid_at(now):
        authority = make_authority(names, now, lifetimes.authority)
        return KeyRing(authority, (), make_serving(authority, names, now, lifetimes.serving))
    if (
        now >= ring.authority.renew_at
        or ring.authority.lifetime > lifetimes.authority
        or not ring.authority.may_sign(names)
    ):
        ring = KeyRing(
            make_authority(names, now, lifetimes.authority), (ring.authority.pem, *ring.former), ring.serving
        )
    authority, serving = ring.authority, ring.serving
    must_be_replaced = (
        not serving.is_valid_at(now)
        or not serving.names.issuperset(names)
        # Two checks before it expires at the latest: if lifetimes were extended, a new CA would have to wait longer.
        or now >= serving.expires_at - 2 * lifetimes.check
    )
    is_due = (
        now >= serving.renew_at or serving.lifetime > lifetimes.serving or not authority.signed(serving.certificate)
    )
    if must_be_replaced or (is_due and now >= authority.made_at + lifetimes.published):
        ring = replace(ring, serving=make_serving(authority, names, now, lifetimes.serving))
    # The last certificate that a former CA signed is at least as old as the CA that replaced it.
    former_expired = now >= authority.made_at + lifetimes.serving
    if ring.former and former_expired and authority.signed(ring.serving.certificate):
        ring = replace(ring, former=())
    return ring


def write(ring: KeyRing) -> dict[str, bytes]:
    """Return a Secret's `data`, not yet in base64."""
    return {
        "ca.crt": ring.bundle,
        "ca.key": ring.authority.key_pem,
        "tls.crt": ring.serving.pem,
        "tls.key": ring.serving.key_pem,
    }


def read(stored: Mapping[str, bytes]) -> KeyRing | None:
    """Return the key ring that `write` wrote; None if there is nothing yet. Raise CertificateError."""
    parts = [stored.get(key, b"") for key in ("ca.crt", "ca.key", "tls.crt", "tls.key")]
    if not any(parts):
        return None
    bundle, authority_key, serving, serving_key = parts
    authorities = read_bundle(bundle)
    current, *former = (each.public_bytes(Encoding.PEM) for each in authorities)
    ring = KeyRing(read_authority(current, authority_key), tuple(former), read_serving(serving, serving_key))
    if not any(issued_by(ring.serving.certificate, authority) for authority in authorities):
        raise CertificateError("no CA of the bundle signed the serving certificate")
    return ring
