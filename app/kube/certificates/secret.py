"""The Secret with the serving certificate: shared by all replicas, first writer wins; or provided, then only read.

A provided certificate, such as cert-manager's, is checked by what kube-apiserver requires of it (Go's crypto/x509).
What kube-apiserver would reject is reported by name and cause, and the previous certificate stays served.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.clock import Instant
from app.kube.certificates.authority import (
    UNREADABLE,
    CertificateError,
    ServingCertificate,
    issued_by,
    load_certificates,
)
from app.kube.certificates.renewal import KeyRing, Lifetimes, next_key_ring, read, write
from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from app.text import listing

CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"
"""The keys of a Secret of type kubernetes.io/tls, and the one that cert-manager adds."""
_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_MAX_CHAIN = 10
_MAX_ATTEMPTS = 5
"""Each conflict means that another replica has written, so the second attempt finds its key ring."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the Secret holds for all replicas."""

    ring: KeyRing
    changes: tuple[str, ...] = ()
    """What was done for that; see CHANGES and REPAIRS of controller.py."""
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Its labels and annotations: Helm ignores what isn't marked as its own, also when it uninstalls."""


def reconcile(  # noqa: PLR0913 - the parts of a certificate, and where it is kept
    kubernetes: Kubernetes,
    secret: ObjectName,
    names: Sequence[str],
    lifetimes: Lifetimes,
    now: Instant,
    *,
    before: Reconciled | None = None,
) -> Reconciled:
    """Write the next key ring for `names` into the Secret, if another one is due.

    What `before` holds is restored if the Secret was deleted, emptied or made invalid while the process ran. Needs the
    verbs get, patch and create on this one Secret. Raise KubernetesError.
    """
    held = before.ring if before else None
    done: tuple[str, ...] = ()
    for _ in range(_MAX_ATTEMPTS):
        found = kubernetes.find(_path(secret))
        if found is None:
            _create(kubernetes, secret, before.metadata if before else {})
            done = ("secret-recreated",)
            continue
        try:
            stored, is_invalid = read(_data(found)), False
        except (CertificateError, binascii.Error) as error:
            _log.warning("serving certificate invalid, replacing it", secret=str(secret), error=str(error))
            stored, is_invalid = None, True
        ring = next_key_ring(stored or held, names, kubernetes.server_time(now), lifetimes)
        metadata = {key: found["metadata"][key] for key in ("labels", "annotations") if found["metadata"].get(key)}
        if ring == stored:
            return Reconciled(ring, done, metadata)
        patch = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},  # changed since: 409
            "data": {key: base64.b64encode(value).decode() for key, value in write(ring).items()},
        }
        try:
            kubernetes.request("PATCH", _path(secret), body=patch, content_type="application/merge-patch+json")
        except KubernetesError as error:
            if error.status != 409:
                raise
            continue
        done += tuple(_changes(stored, held, ring, is_invalid=is_invalid))
        _log.info(
            "serving certificate stored",
            secret=str(secret),
            changes=done,
            expires_at=ring.serving.expires_at.isoformat(),
            ca_expires_at=ring.authority.expires_at.isoformat(),
        )
        return Reconciled(ring, done, metadata)
    raise KubernetesError(
        f"{kubernetes.server}: Secret {secret} changed {_MAX_ATTEMPTS} times while beanscale wrote to it",
        "only beanscale may write to it",
        status=409,
        reason="Conflict",
    )


def _changes(stored: KeyRing | None, held: KeyRing | None, ring: KeyRing, *, is_invalid: bool) -> list[str]:
    before = stored or held
    if before is None:
        return ["remade" if is_invalid else "made"]
    happened = {
        "restored": stored is None,
        "authority-renewed": ring.authority != before.authority,
        "renewed": ring.serving != before.serving,
        "authority-retired": len(ring.former) < len(before.former),
    }
    return [change for change, is_so in happened.items() if is_so]


def _create(kubernetes: Kubernetes, secret: ObjectName, metadata: Mapping[str, Mapping[str, str]]) -> None:
    """Create the Secret without data, as the chart renders it.

    By server-side apply: unlike for a POST, RBAC can allow to create this one name. If two replicas apply at once, it
    is still one Secret, and what the first one wrote into it stays.
    """
    named = {"namespace": secret.namespace, "name": secret.name, **metadata}
    try:
        kubernetes.request(
            "PATCH",
            _path(secret),
            query={"fieldManager": "beanscale", "force": "true"},
            body={"apiVersion": "v1", "kind": "Secret", "metadata": named, "type": "Opaque"},
            content_type="application/apply-patch+yaml",
        )
    except KubernetesError as error:
        raise KubernetesError(
            f"{kubernetes.server} has no Secret {secret} for the serving certificate, and it can't be created: {error}",
            "the chart renders it: run helm upgrade",
            status=error.status,
            reason=error.reason,
        ) from error
    _log.warning("serving certificate Secret was missing, recreating it", secret=str(secret))


@dataclass(frozen=True, slots=True)
class ProvidedCertificate:
    """A certificate that another program keeps in the Secret."""

    serving: ServingCertificate
    authorities: tuple[x509.Certificate, ...]
    """The CAs to verify it by; empty: the Secret's owner makes kube-apiserver trust it."""
    authority_expires_at: datetime | None
    """When its CA expires; None if it is not known."""

    @property
    def serving_made_at(self) -> datetime:
        """When the validity of the serving certificate began."""
        return self.serving.certificate.not_valid_before_utc

    @property
    def bundle(self) -> bytes:
        """The `caBundle` as PEM; empty if beanscale doesn't publish it."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.authorities)


def read_provided_secret(kubernetes: Kubernetes, secret: ObjectName, name: str, now: Instant) -> ProvidedCertificate:
    """Return the certificate in the Secret, for a server that kube-apiserver calls `name`.

    Raise KubernetesError if the Secret can't be read, CertificateError if the certificate can't be served.
    """
    found = kubernetes.find(_path(secret))
    if found is None:
        raise KubernetesError(
            f"{kubernetes.server} has no Secret {secret} with the serving certificate",
            "create it (kubectl create secret tls), or check why cert-manager doesn't (kubectl describe certificate)",
            status=404,
            reason="NotFound",
        )
    try:
        return read_provided(_data(found), name, kubernetes.server_time(now))
    except (CertificateError, binascii.Error) as error:
        raise CertificateError(f"the certificate in Secret {secret} can't be served: {error}") from error


def read_provided(stored: Mapping[str, bytes], name: str, now: datetime) -> ProvidedCertificate:
    """Parse a Secret's data, decoded from base64; kube-apiserver verifies `name`. Raise CertificateError."""
    missing = [key for key in (CERTIFICATE, KEY) if not stored.get(key, b"").strip()]
    if missing:
        raise CertificateError(f"it has no {' and no '.join(missing)} yet")
    chain = load_certificates(stored[CERTIFICATE], f"its {CERTIFICATE}")[:_MAX_CHAIN]
    serving = ServingCertificate(stored[CERTIFICATE], stored[KEY], chain[0])
    try:
        key = load_pem_private_key(serving.key_pem, password=None)
        public_key = serving.certificate.public_key()
    except UNREADABLE as error:
        raise CertificateError(f"its {KEY} isn't a PEM key without a password ({error})") from error
    if key.public_key() != public_key:
        raise CertificateError(f"its {CERTIFICATE} and its {KEY} don't belong together")
    if now >= serving.expires_at:
        raise CertificateError(f"its certificate expired on {serving.expires_at:%Y-%m-%d at %H:%M:%S} UTC")
    if not serving.is_valid_at(now):
        begins = serving.certificate.not_valid_before_utc
        raise CertificateError(f"its certificate is valid only from {begins:%Y-%m-%d at %H:%M:%S} UTC")
    _check_purpose(serving, name)
    if not stored.get(AUTHORITIES, b"").strip():
        return ProvidedCertificate(serving, (), None)
    authorities = load_certificates(stored[AUTHORITIES], f"its {AUTHORITIES}")
    roots = _roots(chain[0], chain[1:], authorities, now)
    if not roots:
        raise CertificateError(f"no valid CA in its {AUTHORITIES} signed its {CERTIFICATE} or its intermediates")
    return ProvidedCertificate(serving, authorities, max(each.not_valid_after_utc for each in roots))


def _check_purpose(serving: ServingCertificate, name: str) -> None:
    names: set[str] = set()
    usage = None
    try:
        names = {each.lower() for each in serving.names}
        usage = serving.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        pass  # without names it is rejected below; without usages it is for all
    except UNREADABLE as error:
        raise CertificateError(f"its certificate's extensions can't be read ({error})") from error
    # As in Go: a wildcard stands for the first label, and for one only.
    if not names & {name, f"*.{name.partition('.')[2]}"}:
        found = listing(sorted(names)) or "no name"
        raise CertificateError(f"its certificate must name {name}, which kube-apiserver verifies, but names {found}")
    if usage is not None and _FOR_SERVERS.isdisjoint(usage):
        raise CertificateError("its certificate isn't for servers: its extended key usage lacks server authentication")


def _roots(
    certificate: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: datetime,
) -> list[x509.Certificate]:
    """Return the CAs at which the chains from the certificate end, if all certificates of the chain are valid now."""
    if certificate in authorities:
        return [certificate]
    found: list[x509.Certificate] = []
    for issuer in (*authorities, *intermediates):
        if issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc and issued_by(certificate, issuer):
            found += _roots(issuer, [each for each in intermediates if each != issuer], authorities, now)
    return found


def _data(found: dict[str, Any]) -> Mapping[str, bytes]:
    return {key: base64.b64decode(value, validate=True) for key, value in (found.get("data") or {}).items()}


def _path(secret: ObjectName) -> str:
    return object_path("/api/v1", secret.namespace, "secrets", secret.name)
