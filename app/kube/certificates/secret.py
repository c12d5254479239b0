"""The Secret with what we serve: shared by our replicas, first writer wins; or somebody else's, only read.

A certificate that somebody else keeps in a Secret, such as cert-manager: read and judged, never written.

It is judged by what kube-apiserver will ask of it (Go's crypto/x509), so that what it would refuse is said here first:
by name and cause, while what was served before goes on.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.kube.certificates.authority import (
    UNREADABLE,
    CertificateError,
    ServingCertificate,
    issued_by,
    load_certificates,
)
from app.kube.certificates.renewal import KeyRing, read, write
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName

_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_LONGEST_CHAIN = 10
CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret of type kubernetes.io/tls, and the one that cert-manager adds."""


@dataclass(frozen=True, slots=True)
class ProvidedCertificate:
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


def read_provided(stored: Mapping[str, bytes], name: str, now: datetime) -> ProvidedCertificate:
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
        return ProvidedCertificate(serving, (), None)
    authorities = load_certificates(stored[AUTHORITIES], f"its {AUTHORITIES}")
    vouching = _vouching(chain[0], chain[1:], authorities, now)
    if not vouching:
        raise CertificateError(
            f"no CA in its {AUTHORITIES} vouches now for its {CERTIFICATE}, by what this brings along"
        )
    return ProvidedCertificate(serving, authorities, max(each.not_valid_after_utc for each in vouching))


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
    if not serving.is_valid_at(now):
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


_ATTEMPTS = 5
"""Each lost race means that another replica won it, so the second attempt finds its ring."""
_MARKS = ("labels", "annotations")
_CREATE = {"fieldManager": "beanscale", "force": "true"}

_log = structlog.get_logger()

Step = Callable[[KeyRing | None], KeyRing]
"""What the ring should be, given what it is; equal to it when there is nothing to do. Asked once the Secret is read."""


Marks = Mapping[str, Mapping[str, str]]
"""The Secret's labels and annotations. Helm lets alone what isn't marked as its own, also when it uninstalls."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What all replicas agree on now."""

    ring: KeyRing
    changes: tuple[str, ...] = ()
    """What we did for that, in a word each; identity.py has them all."""
    marks: Marks = field(default_factory=dict)


def reconcile(kubernetes: Kubernetes, secret: ObjectName, step: Step, before: Reconciled | None = None) -> Reconciled:
    """Take the step in the Secret.

    What was settled `before` is put back where the Secret was deleted, emptied or spoilt while we ran. Needs the verbs
    get, patch and create on this one Secret. Raises KubernetesError.
    """
    held = before.ring if before else None
    done: tuple[str, ...] = ()
    for _ in range(_ATTEMPTS):
        found = _get(kubernetes, secret)
        if found is None:
            _create(kubernetes, secret, before.marks if before else {})
            done = ("secret-recreated",)
            continue
        stored, spoilt = _read(secret, found)
        ring = step(stored or held)
        marks = {name: found["metadata"][name] for name in _MARKS if found["metadata"].get(name)}
        if ring == stored:
            return Reconciled(ring, done, marks)
        try:
            _patch(kubernetes, secret, ring, found["metadata"]["resourceVersion"])
        except KubernetesError as error:
            if error.status != 409:
                raise
            continue
        done += tuple(_changes(stored, held, ring, spoilt=spoilt))
        _log.info(
            "serving certificate stored",
            secret=str(secret),
            changes=done,
            expires_at=ring.serving.expires_at.isoformat(),
            ca_expires_at=ring.authority.expires_at.isoformat(),
        )
        return Reconciled(ring, done, marks)
    raise KubernetesError(
        f"{kubernetes.server}: Secret {secret} changed {_ATTEMPTS} times while beanscale wrote to it;"
        " only beanscale may write there",
        status=409,
        reason="Conflict",
    )


def read_given(
    kubernetes: Kubernetes, secret: ObjectName, name: str, now: Callable[[], datetime]
) -> ProvidedCertificate:
    """What somebody else keeps there; kube-apiserver asks by `name`. `now` is asked after the Secret was read.

    Raises KubernetesError where it can't be read, CertificateError where it can't be served.
    """
    found = _get(kubernetes, secret)
    if found is None:
        raise KubernetesError(
            f"{kubernetes.server} has no Secret {secret}, from which the serving certificate is to come: create it"
            " (kubectl create secret tls), or see why cert-manager doesn't (kubectl describe certificate)",
            status=404,
            reason="NotFound",
        )
    try:
        return read_provided(_data(found), name, now())
    except (CertificateError, binascii.Error) as error:
        raise CertificateError(f"Secret {secret} can't be served from: {error}") from error


def _changes(stored: KeyRing | None, held: KeyRing | None, ring: KeyRing, *, spoilt: bool) -> list[str]:
    if stored is None and ring == held:
        return ["restored"]
    before = stored or held
    if before is None:
        return ["remade" if spoilt else "made"]
    happened = {
        "authority-renewed": ring.authority != before.authority,
        "renewed": ring.serving != before.serving,
        "authority-retired": len(ring.former) < len(before.former),
    }
    return [change for change, is_so in happened.items() if is_so]


def _get(kubernetes: Kubernetes, secret: ObjectName) -> dict[str, Any] | None:
    try:
        return kubernetes.request("GET", _path(secret))
    except KubernetesError as error:
        if error.status == 404:
            return None
        raise


def _read(secret: ObjectName, found: dict[str, Any]) -> tuple[KeyRing | None, bool]:
    """The ring, and whether there was one that can't be used."""
    try:
        return read(_data(found)), False
    except (CertificateError, binascii.Error) as error:
        _log.warning("serving certificate unusable, replacing it", secret=str(secret), why=str(error))
        return None, True


def _data(found: dict[str, Any]) -> Mapping[str, bytes]:
    return {key: base64.b64decode(value, validate=True) for key, value in (found.get("data") or {}).items()}


def _create(kubernetes: Kubernetes, secret: ObjectName, marks: Marks) -> None:
    """Empty, as the chart renders it.

    By server-side apply: unlike for a POST, the right to create can be given for this one name. Applied by two replicas
    at once it's still one Secret, and what the first wrote into it stays.
    """
    metadata = {"namespace": secret.namespace, "name": secret.name, **marks}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
    try:
        kubernetes.request(
            "PATCH", _path(secret), query=_CREATE, body=body, content_type="application/apply-patch+yaml"
        )
    except KubernetesError as error:
        raise KubernetesError(
            f"{kubernetes.server} has no Secret {secret} for the serving certificate, and it can't be created: {error}",
            status=error.status,
            reason=error.reason,
        ) from error
    _log.warning("the Secret of the serving certificate was gone, and is made anew", secret=str(secret))


def _patch(kubernetes: Kubernetes, secret: ObjectName, ring: KeyRing, version: str) -> None:
    patch = {
        "metadata": {"resourceVersion": version},  # somebody else's change since: 409
        "data": {key: base64.b64encode(value).decode() for key, value in write(ring).items()},
    }
    kubernetes.request("PATCH", _path(secret), body=patch, content_type="application/merge-patch+json")


def _path(secret: ObjectName) -> str:
    return f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
