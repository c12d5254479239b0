"""When to keep, renew and roll what we serve with: one pure step, the same in every replica.

Replicas share a key ring in a Secret, so whichever comes first takes the step for all. Rolling the CA needs no talk
between them, only time:

1. At two thirds of its life the CA is replaced: the bundle trusts both, the old serving certificate stays.
2. An hour later, when every kube-apiserver has long seen the new bundle, the new CA signs.
3. The old CA leaves the bundle when all that it signed has expired: then no replica, however cut off, can serve it.
   Where lives were shortened meanwhile, the shorter ones count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
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
    """How long things hold. What a CA signs last must not outlive it: hence a third of its life at most."""

    authority: timedelta = timedelta(days=365)
    serving: timedelta = timedelta(days=30)

    @property
    def published(self) -> timedelta:
        """How long a new CA must have been in the bundle before it signs what is served."""
        return min(timedelta(hours=1), self.serving / 6)

    @property
    def check(self) -> timedelta:
        """From one look to the next. An emptied Secret or caBundle heals within this time."""
        return min(timedelta(seconds=10), self.published / 2)


LIFETIMES = Lifetimes()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All that replicas share."""

    authority: Authority
    """Signs from now on."""
    former: tuple[bytes, ...]
    """PEM of CAs that no longer sign, newest first; what they signed may still be served."""
    serving: ServingCertificate

    @property
    def bundle(self) -> bytes:
        """The CAs that clients must trust, as PEM: the `caBundle`."""
        return b"".join((self.authority.pem, *self.former))

    @property
    def serving_made_at(self) -> datetime:
        """When the serving certificate's life began."""
        return self.serving.made_at

    @property
    def authority_expires_at(self) -> datetime:
        """When the CA that signs ends."""
        return self.authority.expires_at


def next_key_ring(ring: KeyRing | None, names: Sequence[str], now: datetime, lives: Lifetimes = LIFETIMES) -> KeyRing:
    """The ring as it should be now; equal to `ring` when there is nothing to do. `names`: what clients call us."""
    if ring is None or not ring.authority.is_valid_at(now):
        authority = make_authority(now, lives.authority)
        return KeyRing(authority, (), make_serving(authority, names, now, lives.serving))
    if now >= ring.authority.renew_at or ring.authority.life > lives.authority:
        ring = KeyRing(make_authority(now, lives.authority), (ring.authority.pem, *ring.former), ring.serving)
    if _must_be_replaced(ring, names, now, lives) or (
        _is_due(ring, now, lives) and now >= ring.authority.made_at + lives.published
    ):
        ring = replace(ring, serving=make_serving(ring.authority, names, now, lives.serving))
    return _forget(ring, now, lives)


def _must_be_replaced(ring: KeyRing, names: Sequence[str], now: datetime, lives: Lifetimes) -> bool:
    # Two looks before it ends at the latest: where lives were lengthened, a new CA would have to wait for longer.
    ends_soon = now >= ring.serving.expires_at - 2 * lives.check
    return ends_soon or not ring.serving.is_valid_at(now) or not ring.serving.names.issuperset(names)


def _is_due(ring: KeyRing, now: datetime, lives: Lifetimes) -> bool:
    is_old = now >= ring.serving.renew_at or ring.serving.life > lives.serving
    return is_old or not ring.authority.signed(ring.serving.certificate)


def _forget(ring: KeyRing, now: datetime, lives: Lifetimes) -> KeyRing:
    # The last thing that a former CA signed is no younger than its successor.
    if not ring.former or now < ring.authority.made_at + lives.serving:
        return ring
    if not ring.authority.signed(ring.serving.certificate):
        return ring
    return replace(ring, former=())


def write(ring: KeyRing) -> dict[str, bytes]:
    """A Secret's `data`, not yet in base64."""
    return {
        "ca.crt": ring.bundle,
        "ca.key": ring.authority.key_pem,
        "tls.crt": ring.serving.pem,
        "tls.key": ring.serving.key_pem,
    }


def read(stored: Mapping[str, bytes]) -> KeyRing | None:
    """What `write` wrote; None when there is nothing yet. Raises CertificateError."""
    parts = [stored.get(key, b"") for key in ("ca.crt", "ca.key", "tls.crt", "tls.key")]
    if not any(parts):
        return None
    bundle, authority_key, serving, serving_key = parts
    authorities = read_bundle(bundle)
    ring = KeyRing(
        read_authority(_pem(authorities[0]), authority_key),
        tuple(map(_pem, authorities[1:])),
        read_serving(serving, serving_key),
    )
    if not any(issued_by(ring.serving.certificate, authority) for authority in authorities):
        raise CertificateError("no CA of the bundle signed the serving certificate")
    return ring


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
