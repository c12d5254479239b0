"""The objects that the chart would make, made by the tests of the cluster layer, and taken away again."""

import os
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.kube.certificates.controller import CertificateTargets, service_names
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from app.kube.errors import KubernetesError
from app.settings import ObjectName

MERGE = "application/merge-patch+json"


class Patient(Kubernetes):
    """It gives kube-apiserver more time than a server may: the machine of both may stand still for seconds."""

    def request(self, *asked: Any, timeout_s: float = 60, **more: Any) -> dict[str, Any]:
        return super().request(*asked, timeout_s=timeout_s, **more)


@pytest.fixture(scope="module")
def kubernetes() -> Kubernetes:
    return Patient(find_credentials(Path(os.environ["KUBECONFIG"]), None))


@pytest.fixture(scope="module")
def namespace(kubernetes: Kubernetes) -> Iterator[str]:
    name = f"cluster-layer-{uuid.uuid4().hex[:8]}"
    kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    yield name
    kubernetes.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def secret(kubernetes: Kubernetes, namespace: str) -> ObjectName:
    """As the chart renders it: without data."""
    name = f"serving-cert-{uuid.uuid4().hex[:8]}"
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body={"metadata": {"name": name}})
    return ObjectName(namespace, name)


@pytest.fixture
def registration(kubernetes: Kubernetes, namespace: str, secret: ObjectName) -> Iterator[CertificateTargets]:
    """An APIService of a group used only here."""
    group = f"g{uuid.uuid4().hex[:8]}.beanscale.example"
    service = ObjectName(namespace, "beanscale")
    spec = {
        "group": group,
        "version": "v1",
        "service": {"namespace": namespace, "name": service.name},
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    services = "/apis/apiregistration.k8s.io/v1/apiservices"
    kubernetes.request("POST", services, body={"metadata": {"name": f"v1.{group}"}, "spec": spec})
    yield CertificateTargets(kubernetes, secret, f"v1.{group}", service)
    kubernetes.request("DELETE", f"{services}/v1.{group}")


def names(registration: CertificateTargets) -> tuple[str, ...]:
    return service_names(registration.service, "cluster.local")


def path(secret: ObjectName) -> str:
    return f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"


def ca_bundle(registration: CertificateTargets) -> bytes:
    spec = api_service(registration)["spec"]
    return b64decode(spec.get("caBundle", ""))


def api_service(registration: CertificateTargets) -> dict[str, Any]:
    return registration.kubernetes.request("GET", api_service_path(registration))


def api_service_path(registration: CertificateTargets) -> str:
    return f"/apis/apiregistration.k8s.io/v1/apiservices/{registration.api_service}"


def available(registration: CertificateTargets) -> dict[str, str]:
    """What kube-apiserver says of its way to the Service: the condition, empty before it has looked."""
    conditions = api_service(registration).get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Available"), {})


def patch_api_service(registration: CertificateTargets, **spec: object) -> None:
    registration.kubernetes.request("PATCH", api_service_path(registration), body={"spec": spec}, content_type=MERGE)


def resources(registration: CertificateTargets) -> str:
    version, _, group = registration.api_service.partition(".")
    return f"/apis/{group}/{version}"


def answered(registration: CertificateTargets) -> bool:
    """Whether kube-apiserver forwards to us, over a connection that it makes now."""
    try:
        return registration.kubernetes.request("GET", resources(registration)).get("kind") == "APIResourceList"
    except KubernetesError:
        return False


def eventually(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)
