"""The APIService: kube-apiserver verifies the server by its `caBundle` when it forwards requests."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app.kube.certificates.authority import CertificateError, read_bundle
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName

_log = structlog.get_logger()

_COLLECTION = "/apis/apiregistration.k8s.io/v1/apiservices"


@dataclass(frozen=True, slots=True)
class Published:
    """How kube-apiserver verifies the server."""

    authorities: tuple[x509.Certificate, ...]
    """The CAs that it trusts; empty if there are none, or the `caBundle` is invalid."""
    is_verified: bool
    """`insecureSkipTLSVerify` is not set."""


def read(kubernetes: Kubernetes, name: str, service: ObjectName) -> Published:
    """Return what is published. Raise KubernetesError, with reason `NotOurs` if it points to another Service."""
    found = kubernetes.find(f"{_COLLECTION}/{name}")
    if found is None:
        raise KubernetesError(
            f"{kubernetes.server} has no APIService {name}, so it sends no requests to beanscale",
            "the chart renders it with apiService.create=true: run helm upgrade",
            status=404,
            reason="NotFound",
        )
    spec: dict[str, Any] = found["spec"]
    target = spec.get("service")
    owner = ObjectName(str(target.get("namespace", "")), str(target.get("name", ""))) if target else None
    if owner != service:
        belongs = f"belongs to Service {owner}" if owner else "is served by kube-apiserver itself"
        raise KubernetesError(
            f"APIService {name} {belongs}, not to {service}: its caBundle is not changed",
            "a cluster has one server per metrics API: remove the other, or install beanscale without its APIService",
            reason="NotOurs",
        )
    try:
        authorities = read_bundle(base64.b64decode(spec["caBundle"])) if spec.get("caBundle") else ()
    except (CertificateError, binascii.Error):
        authorities = ()
    return Published(authorities, is_verified=not spec.get("insecureSkipTLSVerify"))


def publish(kubernetes: Kubernetes, name: str, service: ObjectName, authorities: Iterable[x509.Certificate]) -> None:
    """Make kube-apiserver trust these CAs only. Raise KubernetesError, also if the APIService has a new owner."""
    pems = [each.public_bytes(Encoding.PEM) for each in authorities]
    patch = [
        # The owner is tested in the same transaction: a release that takes the name over just now keeps what it wrote.
        {"op": "test", "path": "/spec/service/namespace", "value": service.namespace},
        {"op": "test", "path": "/spec/service/name", "value": service.name},
        {"op": "add", "path": "/spec/caBundle", "value": base64.b64encode(b"".join(pems)).decode()},
        {"op": "add", "path": "/spec/insecureSkipTLSVerify", "value": False},
    ]
    kubernetes.request("PATCH", f"{_COLLECTION}/{name}", body=patch, content_type="application/json-patch+json")
    _log.info("CA published", api_service=name, certificates=len(pems))
