"""Attackers: their CAs and certificates, and a user with few permissions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kube.client import Kubernetes
from tests.kubernetes.attackers import Authority
from tests.kubernetes.cluster_objects import kubernetes, namespace
from tests.kubernetes.conftest import Pair

__all__ = ["aggregator", "cluster_ca", "kubernetes", "namespace", "proxy_ca", "shopper", "unknown_ca"]

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def cluster_ca(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.of_cluster(pki, "ca", tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def proxy_ca(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.of_cluster(pki, "front-proxy-ca", tmp_path_factory.mktemp("front-proxy"))


@pytest.fixture(scope="module")
def unknown_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("unknown"), "beanscale-front-proxy-ca")


@pytest.fixture(scope="module")
def aggregator(pki: Path) -> Pair:
    """kube-apiserver's front-proxy certificate."""
    return pki / "front-proxy-client.crt", pki / "front-proxy-client.key"


@pytest.fixture(scope="module")
def shopper(kubernetes: Kubernetes, namespace: str, cluster_ca: Authority) -> Iterator[Pair]:
    """Who may list external metrics in one namespace, and look at what begins like /livez."""
    may_list = {"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["list"]}
    may_look = {"nonResourceURLs": ["/livez", "/livez/*"], "verbs": ["get"]}
    whom = [{"kind": "User", "name": namespace, "apiGroup": "rbac.authorization.k8s.io"}]
    for kind, prefix, rule in (
        ("Role", f"{RBAC}/namespaces/{namespace}/", may_list),
        ("ClusterRole", f"{RBAC}/", may_look),
    ):
        metadata = {"name": namespace}
        binds = {"kind": kind, "name": namespace, "apiGroup": "rbac.authorization.k8s.io"}
        plural = f"{prefix}{kind.lower()}"
        kubernetes.request("POST", f"{plural}s", body={"metadata": metadata, "rules": [rule]})
        binding = {"metadata": metadata, "roleRef": binds, "subjects": whom}
        kubernetes.request("POST", f"{plural}bindings", body=binding)
    yield cluster_ca.issue(namespace)
    for kind in ("clusterrolebindings", "clusterroles"):
        kubernetes.request("DELETE", f"{RBAC}/{kind}/{namespace}")
