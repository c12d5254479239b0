"""Kubernetes decides who may ask: each way to prove who one is, and each way to fail at it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kubernetes.conftest import VALUES, Beanscale

METRIC = f"{VALUES}/tube-default"
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules: [{{apiGroups: [external.metrics.k8s.io], resources: ["*"], verbs: [get, list]}}]
"""
MASTER = {"X-Remote-User": "somebody", "X-Remote-Group": "system:masters"}


def pair(pki: Path, name: str) -> tuple[Path, Path]:
    return pki / f"{name}.crt", pki / f"{name}.key"


def message(answer: httpx.Response) -> str:
    status = answer.json()
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status_code)
    return str(status["message"])


@pytest.fixture(scope="module")
def account(kubectl: str) -> Iterator[str]:
    """A ServiceAccount that may list external metrics, and nothing else."""
    name = "beanscale-access-test"
    subprocess.run([kubectl, "create", "serviceaccount", name], check=True)
    subprocess.run([kubectl, "apply", "-f", "-"], input=ROLE.format(name=name), text=True, check=True)
    subprocess.run(
        [kubectl, "create", "clusterrolebinding", name, f"--clusterrole={name}", f"--serviceaccount=default:{name}"],
        check=True,
    )
    yield name
    for kind in ("clusterrolebinding", "clusterrole", "serviceaccount"):
        subprocess.run([kubectl, "delete", kind, name, "--wait=false"], check=True)


def token_of(kubectl: str, account: str) -> str:
    return subprocess.run(
        [kubectl, "create", "token", account], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_aggregators_user_headers_are_trusted(server: Beanscale, pki: Path) -> None:
    with server.client(pair(pki, "front-proxy-client"), **MASTER) as aggregator:
        assert aggregator.get(METRIC).status_code == 200


def test_many_users_share_one_connection_of_the_aggregator(server: Beanscale, pki: Path) -> None:
    with server.client(pair(pki, "front-proxy-client")) as aggregator:
        for _ in range(3):
            assert aggregator.get(METRIC, headers=MASTER).status_code == 200
            refused = aggregator.get(METRIC, headers={"X-Remote-User": "nobody"})
            assert refused.status_code == 403
            assert message(refused) == (
                'tube-default.external.metrics.k8s.io is forbidden: User "nobody" cannot list resource "tube-default"'
                ' in API group "external.metrics.k8s.io" in the namespace "default"'
            )


def test_headers_without_the_aggregators_certificate_are_ignored(server: Beanscale, pki: Path) -> None:
    with server.client(None, **MASTER) as anonymous:
        assert message(anonymous.get(METRIC)).startswith(
            'tube-default.external.metrics.k8s.io is forbidden: User "system:anonymous"'
        )
    with server.client(pair(pki, "kubelet"), **MASTER) as node:
        assert 'User "system:node:node0"' in message(node.get(METRIC))


def test_the_aggregators_certificate_without_a_user_header_is_rejected(server: Beanscale, pki: Path) -> None:
    with server.client(pair(pki, "front-proxy-client")) as aggregator:
        refused = aggregator.get(METRIC)
    assert (refused.status_code, message(refused)) == (401, "Unauthorized")


def test_a_certificate_of_the_cluster_is_its_user(server: Beanscale, pki: Path) -> None:
    with server.client(pair(pki, "admin")) as admin:
        assert admin.get(METRIC).status_code == 200
        assert admin.get(METRIC, headers={"X-Remote-User": "nobody"}).status_code == 200


def test_a_token_is_its_account_with_the_permissions_of_rbac(server: Beanscale, kubectl: str, account: str) -> None:
    with server.client(Authorization=f"Bearer {token_of(kubectl, account)}") as pod:
        assert pod.get(METRIC).status_code == 200
        refused = pod.get("/metrics")
        assert refused.status_code == 403
        assert message(refused) == (
            f'forbidden: User "system:serviceaccount:default:{account}" cannot get path "/metrics"'
        )


def test_an_invalid_token_is_rejected(server: Beanscale) -> None:
    with server.client(Authorization="Bearer abc") as anonymous:
        for path in (METRIC, "/livez"):
            refused = anonymous.get(path)
            assert (refused.status_code, message(refused)) == (401, "Unauthorized")


def test_anonymous_clients_can_read_the_health_and_nothing_else(server: Beanscale) -> None:
    with server.client() as anonymous:
        for path in ("/livez", "/readyz", "/healthz"):
            assert (anonymous.get(path).status_code, anonymous.get(path).text) == (200, "ok")
        for path in ("/metrics", "/apis", METRIC, "/nope", "/readyz/../metrics"):
            assert anonymous.get(path).status_code == 403
        assert anonymous.get("/livez?verbose").status_code == 200


def test_health_lists_each_check(server: Beanscale, pki: Path) -> None:
    with server.client(pair(pki, "admin")) as admin:
        assert admin.get("/readyz?verbose").text == (
            "[+]ping ok\n[+]certificate ok\n[+]access ok\n[+]first-poll ok\n[+]shutdown ok\nreadyz check passed\n"
        )
        assert admin.get("/readyz/certificate").text == "ok"
        assert admin.get("/readyz/nope").status_code == 404
