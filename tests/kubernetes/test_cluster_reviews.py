"""Who asks, who may, and whom to trust as a client: asked of a real kube-apiserver."""

import json

import pytest

from app.kube.auth_config import AuthConfigWatcher
from app.kube.client import Kubernetes
from app.kube.reviews import PathAttributes, ResourceAttributes, User, review_access, review_token
from tests.kubernetes.cluster_objects import MERGE, eventually, kubernetes, namespace

__all__ = ["kubernetes", "namespace"]

TRUST = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@pytest.fixture(scope="module")
def account(kubernetes: Kubernetes, namespace: str) -> str:
    """The path of a ServiceAccount without any rights."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kubernetes.request("POST", accounts, body={"metadata": {"name": "worker"}})
    return f"{accounts}/worker"


def test_a_token_review_yields_its_user(kubernetes: Kubernetes, namespace: str, account: str) -> None:
    user = review_token(kubernetes, token(kubernetes, account)).user
    assert user is not None
    assert user.name == f"system:serviceaccount:{namespace}:worker"
    assert {"system:serviceaccounts", "system:authenticated"} <= set(user.groups)
    assert user.uid
    assert "authentication.kubernetes.io/credential-id" in dict(user.extra)


def test_an_invented_token_is_rejected(kubernetes: Kubernetes) -> None:
    owner = review_token(kubernetes, "made-up")
    assert owner.user is None
    assert "invalid bearer token" in owner.problem


def test_a_token_for_another_audience_is_rejected(kubernetes: Kubernetes, account: str) -> None:
    other = token(kubernetes, account, "vault")
    assert review_token(kubernetes, other).user is None


def test_rbac_decides_access(kubernetes: Kubernetes) -> None:
    list_metric = ResourceAttributes("shop", "list", "external.metrics.k8s.io", "v1beta1", "tube-default")
    bob = User("bob", ("system:authenticated",), "7", (("scopes", ("a", "b")),))
    assert not review_access(kubernetes, bob, list_metric).allowed
    assert review_access(kubernetes, User("eve", ("system:masters",)), list_metric).allowed
    assert not review_access(kubernetes, bob, PathAttributes("/metrics", "get")).allowed
    version = review_access(kubernetes, bob, PathAttributes("/version", "get"))
    assert version.allowed
    assert version.reason.startswith("RBAC: allowed by ClusterRoleBinding")


def token(kubernetes: Kubernetes, account: str, *audiences: str) -> str:
    request = {"spec": {"audiences": list(audiences)} if audiences else {}}
    return str(kubernetes.request("POST", f"{account}/token", body=request)["status"]["token"])


def test_the_front_proxy_configuration_is_read(kubernetes: Kubernetes) -> None:
    config = watched(kubernetes).current
    assert config is not None
    assert "BEGIN CERTIFICATE" in config.client_ca_pem
    assert "BEGIN CERTIFICATE" in config.requestheader_ca_pem
    assert b"x-remote-user" in config.username_headers


def test_a_change_applies_at_once_and_an_invalid_one_never(kubernetes: Kubernetes) -> None:
    watcher = watched(kubernetes)
    first = watcher.current
    before = kubernetes.request("GET", TRUST)["data"]["requestheader-allowed-names"]

    def has_one_more() -> bool:
        return watcher.current is not None and "one-more" in watcher.current.allowed_names

    try:
        allow(kubernetes, json.dumps([*json.loads(before), "one-more"]))
        eventually(has_one_more, within_s=20)
        allow(kubernetes, "garbage")
        eventually(lambda: "requestheader-allowed-names" in (watcher.warning() or ""))
        assert has_one_more()
        assert watcher.failure() is None
    finally:
        allow(kubernetes, before)
    eventually(lambda: watcher.current == first)


def watched(kubernetes: Kubernetes) -> AuthConfigWatcher:
    """A watcher that has read once."""
    watcher = AuthConfigWatcher()
    watcher.start(kubernetes)
    eventually(lambda: watcher.current is not None)
    return watcher


def allow(kubernetes: Kubernetes, allowed: str) -> None:
    kubernetes.request("PATCH", TRUST, body={"data": {"requestheader-allowed-names": allowed}}, content_type=MERGE)
