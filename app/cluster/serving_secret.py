"""The Secret in which replicas share their key ring: the first writer wins, the others take what it wrote."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import structlog

from app.cluster.certificates import CertificateError
from app.cluster.client import Kubernetes, KubernetesError
from app.cluster.renewal import KeyRing, read, write
from app.settings import ObjectName

_ATTEMPTS = 5
"""Each lost race means that another replica won it, so the second attempt finds its ring."""

_log = structlog.get_logger()

Step = Callable[[KeyRing | None], KeyRing]
"""What the ring should be, given what it is; equal to it when there is nothing to do."""


def settle(kubernetes: Kubernetes, secret: ObjectName, step: Step, held: KeyRing | None = None) -> KeyRing:
    """Take the step in the Secret, and return the ring that all replicas agree on now.

    `held` is put back where the Secret was emptied or spoilt while we ran. Needs the verbs get and patch on this one
    Secret; it must exist, since nobody can be allowed to create just one. Raises KubernetesError.
    """
    for _ in range(_ATTEMPTS):
        found = _get(kubernetes, secret)
        stored = _read(secret, found)
        ring = step(stored or held)
        if ring == stored:
            return ring
        try:
            _patch(kubernetes, secret, ring, found["metadata"]["resourceVersion"])
        except KubernetesError as error:
            if error.status != 409:
                raise
            continue
        _log.info("serving certificate stored", secret=str(secret), expires_at=ring.serving.expires_at.isoformat())
        return ring
    raise KubernetesError(
        f"{kubernetes.server}: Secret {secret} changed {_ATTEMPTS} times while beanscale wrote to it;"
        " only beanscale may write there",
        status=409,
        reason="Conflict",
    )


def _get(kubernetes: Kubernetes, secret: ObjectName) -> dict[str, Any]:
    try:
        return kubernetes.request("GET", _path(secret))
    except KubernetesError as error:
        if error.status == 404:
            raise KubernetesError(
                f"{kubernetes.server} has no Secret {secret} for the serving certificate; the chart renders it:"
                " run helm upgrade, or create it empty (kubectl create secret generic)",
                status=404,
                reason="NotFound",
            ) from error
        raise


def _read(secret: ObjectName, found: dict[str, Any]) -> KeyRing | None:
    try:
        return read({key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()})
    except (CertificateError, binascii.Error) as error:
        _log.warning("serving certificate unusable, replacing it", secret=str(secret), why=str(error))
        return None


def _patch(kubernetes: Kubernetes, secret: ObjectName, ring: KeyRing, version: str) -> None:
    patch = {
        "metadata": {"resourceVersion": version},  # somebody else's change since: 409
        "data": {key: base64.b64encode(value).decode() for key, value in write(ring).items()},
    }
    kubernetes.request("PATCH", _path(secret), body=patch, content_type="application/merge-patch+json")


def _path(secret: ObjectName) -> str:
    return f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
