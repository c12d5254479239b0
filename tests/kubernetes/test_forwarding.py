"""Two adapters in one cluster: the other gets a token by which kube-apiserver knows us, for those who may ask."""

import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from app.kube.account_token import VALIDITY_S
from app.kube.certificates.renewal import KeyRing, next_key_ring
from app.kube.client import Kubernetes
from app.kube.reviews import review_token
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.cluster_objects import eventually, kubernetes, namespace
from tests.kubernetes.conftest import VALUES, Beanscale, Pair, serving
from tests.kubernetes.people import RBAC
from tests.unit.kube.apiserver import Answer, Apiserver
from tests.unit.kube.apiserver import serving as serving_adapter
from tests.unit.kube.test_upstream import VALUES as THEIR_VALUES
from tests.unit.kube.test_upstream import resources

__all__ = ["kubernetes", "namespace"]

HOST = "adapter.others.svc"
THEIRS = f"{VALUES}/s0-rabbit"


@pytest.fixture(scope="module")
def keys() -> KeyRing:
    return next_key_ring(None, [HOST], datetime.now(UTC))


@pytest.fixture(scope="module")
def adapter(keys: KeyRing) -> Iterator[Apiserver]:
    with serving_adapter(keys.serving) as started:
        started.answer = Answer(body=resources("s0-rabbit"))
        yield started


@pytest.fixture(scope="module")
def account(kubernetes: Kubernetes, namespace: str) -> Iterator[str]:
    """Ours, with the rights that the chart gives."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kubernetes.request("POST", accounts, body={"metadata": {"name": "server"}})
    kubernetes.request("POST", accounts, body={"metadata": {"name": "forward"}})
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": "server"}
    issue = {
        "apiGroups": [""],
        "resources": ["serviceaccounts/token"],
        "resourceNames": ["forward"],
        "verbs": ["create"],
    }
    roles = f"{RBAC}/namespaces/{namespace}/roles"
    kubernetes.request("POST", roles, body={"metadata": {"name": "forward"}, "rules": [issue]})
    reader = f"{RBAC}/namespaces/kube-system/rolebindings"
    bindings = {
        f"{RBAC}/clusterrolebindings": {"kind": "ClusterRole", "name": "system:auth-delegator"},
        reader: {"kind": "Role", "name": "extension-apiserver-authentication-reader"},
        f"{RBAC}/namespaces/{namespace}/rolebindings": {"kind": "Role", "name": "forward"},
    }
    for path, role in bindings.items():
        bound = {**role, "apiGroup": "rbac.authorization.k8s.io"}
        kubernetes.request(
            "POST", path, body={"metadata": {"name": namespace}, "roleRef": bound, "subjects": [subject]}
        )
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    yield kubernetes.request("POST", f"{accounts}/server/token", body=request)["status"]["token"]
    for path in bindings:
        kubernetes.request("DELETE", f"{path}/{namespace}")


@pytest.fixture(scope="module")
def beside(
    source: Beanstalkd,
    adapter: Apiserver,
    keys: KeyRing,
    account: str,
    namespace: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Beanscale]:
    """A beanscale that finds the other under its Service's name."""
    folder = tmp_path_factory.mktemp("forwarding")
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": account}
    (folder / "kubeconfig").write_text(json.dumps(config))
    (folder / "ca.crt").write_bytes(keys.bundle)
    (folder / "hosts").write_text(f"127.0.0.1 localhost {HOST}\n")
    own_hosts = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(folder / "hosts")]
    options = ["--beanstalkd", f"eu={source.host}:{source.port}", "--kubeconfig", str(folder / "kubeconfig")]
    forwarding = ["--forward-to", f"others/adapter:{adapter.port}", "--forward-ca", str(folder / "ca.crt")]
    forwarding += ["--forward-account", f"{namespace}/forward"]
    with serving(*options, *forwarding, before=own_hosts) as started:
        yield started


@pytest.fixture
def admin(pki: Path) -> Pair:
    return pki / "admin.crt", pki / "admin.key"


def test_its_metrics_are_listed_with_beanscales(beside: Beanscale, admin: Pair) -> None:
    def names() -> list[str]:
        found = beside.raw_get("/apis/external.metrics.k8s.io/v1beta1", admin)[1]["resources"]
        return [each["name"] for each in found]

    eventually(lambda: names()[-1] == "s0-rabbit")
    assert names()[0].startswith("beanstalkd_tube_")


def test_it_gets_a_token_of_the_account_for_forwarding(
    beside: Beanscale, adapter: Apiserver, kubernetes: Kubernetes, namespace: str, admin: Pair
) -> None:
    adapter.answer = Answer(body=json.dumps(THEIR_VALUES).encode())
    assert beside.raw_get(THEIRS, admin) == (200, THEIR_VALUES)
    token = adapter.asked[-1].headers["authorization"].removeprefix("Bearer ")
    user = review_token(kubernetes, token).user
    assert user is not None
    assert user.name == f"system:serviceaccount:{namespace}:forward"
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == VALIDITY_S


def test_an_unauthorized_request_is_not_forwarded_through_beanscale(beside: Beanscale, adapter: Apiserver) -> None:
    adapter.asked.clear()
    with beside.client() as unauthorized:
        assert unauthorized.get(THEIRS).status_code == 403
    assert not [each.line for each in adapter.asked if "s0-rabbit" in each.line]  # its discovery it is asked anyway


def test_its_rejection_names_beanscales_account(
    beside: Beanscale, adapter: Apiserver, namespace: str, admin: Pair
) -> None:
    adapter.answer = Answer(401, b'{"kind": "Status", "message": "Unauthorized"}')
    code, data = beside.raw_get(THEIRS, admin)
    assert code == 503
    assert f"it rejected the token of ServiceAccount {namespace}/forward" in data["message"]


def test_its_failure_affects_no_metric_of_beanscale(beside: Beanscale, adapter: Apiserver, admin: Pair) -> None:
    adapter.answer = Answer(body=b"garbage")
    code, data = beside.raw_get(THEIRS, admin)
    assert (code, "others/adapter" in data["message"]) == (503, True)
    assert beside.raw_get(f"{VALUES}/tube-default", admin)[1]["items"][0]["value"] == "0"
    with beside.client(admin) as client:
        assert client.get("/readyz").status_code == 200
        assert 'beanscale_forwarded_requests_total{code="503"}' in client.get("/metrics").text
