"""Our APIService: by its `caBundle`, kube-apiserver verifies us when it forwards requests."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app.kube.certificates.authority import CertificateError, read_bundle
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName

_log = structlog.get_logger()

Others = frozenset[x509.Certificate]
_COLLECTION = "/apis/apiregistration.k8s.io/v1/apiservices"


def publish(
    kubernetes: Kubernetes, name: str, service: ObjectName, bundle: bytes, are_needed: Callable[[Others], bool]
) -> bool:
    """Have kube-apiserver verify us by these CAs; tells whether that was a change.

    `are_needed` is asked about all others that are there: another replica may still need them, which has read an older
    Secret or runs with other settings.
    Raises KubernetesError, with reason `NotOurs` when the APIService forwards to any other Service: it is left alone.
    """
    spec = _get(kubernetes, name)["spec"]
    _must_be_ours(name, spec, service)
    present = _readable(spec.get("caBundle"))
    wanted = list(read_bundle(bundle))
    others = [each for each in present if each not in wanted]
    if are_needed(frozenset(others)):
        wanted += others
    if set(present) == set(wanted) and not spec.get("insecureSkipTLSVerify"):
        return False
    ca_bundle = b"".join(each.public_bytes(Encoding.PEM) for each in wanted)
    patch = [
        # The owner is tested in the same transaction: a release that takes the name over just now keeps what it wrote.
        {"op": "test", "path": "/spec/service/namespace", "value": service.namespace},
        {"op": "test", "path": "/spec/service/name", "value": service.name},
        {"op": "add", "path": "/spec/caBundle", "value": base64.b64encode(ca_bundle).decode()},
        {"op": "add", "path": "/spec/insecureSkipTLSVerify", "value": False},
    ]
    kubernetes.request("PATCH", _path(name), body=patch, content_type="application/json-patch+json")
    _log.info("CA published", api_service=name, certificates=len(wanted))
    return True


def _get(kubernetes: Kubernetes, name: str) -> dict[str, Any]:
    try:
        return kubernetes.request("GET", _path(name))
    except KubernetesError as error:
        if error.status == 404:
            raise KubernetesError(
                f"{kubernetes.server} has no APIService {name}, so nobody is sent to beanscale; the chart renders it"
                " with apiService.create=true: run helm upgrade",
                status=404,
                reason="NotFound",
            ) from error
        raise


def _readable(ca_bundle: str | None) -> tuple[x509.Certificate, ...]:
    """None where there are none, or where it's spoilt: then it helps nobody."""
    try:
        return read_bundle(base64.b64decode(ca_bundle)) if ca_bundle else ()
    except (CertificateError, binascii.Error):
        return ()


def _must_be_ours(name: str, spec: dict[str, Any], service: ObjectName) -> None:
    owner = _service(spec)
    if owner != service:
        belongs = f"belongs to Service {owner}" if owner else "is kube-apiserver's own"
        raise KubernetesError(
            f"APIService {name} {belongs}, not to {service}: its caBundle is left alone;"
            " a cluster has one server per metrics API: remove the other, or install beanscale without its APIService",
            reason="NotOurs",
        )


def _service(spec: dict[str, Any]) -> ObjectName | None:
    service = spec.get("service")
    return ObjectName(str(service.get("namespace", "")), str(service.get("name", ""))) if service else None


def _path(name: str) -> str:
    return f"{_COLLECTION}/{name}"
