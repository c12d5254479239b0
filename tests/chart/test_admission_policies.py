"""What RBAC can't restrict, by a real kube-apiserver: which fields server and console can change in their objects."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chart.conftest import Chart

GRANTED = {"Role", "RoleBinding", "ServiceAccount", "Secret", "ConfigMap"}
POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
SERVING_CERT, CA, PASSWORD = "secret/beanscale-serving-cert", "configmap/beanscale-ca", "secret/beanscale-console"
OWNERS = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000001"}]
"""Of an object that doesn't exist, so Kubernetes would delete what has it as owner."""

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl(chart: Chart, cluster: str) -> Iterator[Kubectl]:
    """Run kubectl in a namespace with the release's accounts, their permissions, their objects, and the policies."""
    namespace = "beanscale-test-policies"

    def run(*arguments: str, account: str = "", given: Any = None) -> subprocess.CompletedProcess[str]:
        who = [f"--as=system:serviceaccount:{namespace}:beanscale-{account}"] if account else []
        command = [cluster, f"--namespace={namespace}", *who, *arguments]
        text = json.dumps(given) if given else None
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    objects = chart.render({"namespaceOverride": namespace})
    made = [each for each in objects if each["kind"] in GRANTED and each["metadata"].get("namespace") == namespace]
    policies = [each for each in objects if each["kind"] in POLICIES]
    items = {"apiVersion": "v1", "kind": "List", "items": [*made, *policies]}
    run("delete", "namespace", namespace, "--ignore-not-found")
    try:
        run("create", "namespace", namespace).check_returncode()
        run("create", "--filename=-", given=items).check_returncode()
        deadline = time.monotonic() + 60
        while not change(run, "server", CA, "annotations", {"now": str(time.monotonic())}):
            assert time.monotonic() < deadline, "the policies take no effect"
            time.sleep(0.2)
        yield run
    finally:
        run("delete", "--ignore-not-found", "--filename=-", given=items | {"items": policies}).check_returncode()
        run("delete", "namespace", namespace, "--wait=false").check_returncode()


def change(kubectl: Kubectl, account: str, what: str, field: str, value: Any) -> str:
    """Try to change a field of an object's metadata, or its data; return the error, or an empty text."""
    patch = {"data": value} if field == "data" else {"metadata": {field: value}}
    return kubectl("patch", what, "--type=merge", f"--patch={json.dumps(patch)}", account=account).stderr


@pytest.mark.parametrize(("account", "what"), [("server", SERVING_CERT), ("server", CA), ("console", PASSWORD)])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ownerReferences", OWNERS),
        ("finalizers", ["example.com/never"]),
        ("annotations", {"replicator.v1.mittwald.de/replicate-from": "kube-system/another"}),
        ("labels", {"app.kubernetes.io/managed-by": None}),
    ],
)
def test_an_account_can_change_only_the_data_of_its_objects(
    kubectl: Kubectl, account: str, what: str, field: str, value: Any
) -> None:
    assert "beanscale may change only the data of its Secrets and its ConfigMap" in change(
        kubectl, account, what, field, value
    )
    assert change(kubectl, "", what, "annotations", {"of-another": "user"}) == ""
    assert change(kubectl, account, what, "data", {"a": "Yg=="}) == ""


def applied(kubectl: Kubectl, **more: Any) -> str:
    """Return the error of a dry run, in which the server creates its Secret as RBAC allows it."""
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"} | more
    secret["metadata"] = {"name": "beanscale-serving-cert"} | more.get("metadata", {})
    apply = ("apply", "--server-side", "--dry-run=server", "--filename=-")
    return kubectl(*apply, account="server", given=secret).stderr


def test_the_server_can_recreate_its_secret_but_gets_no_token_of_another_account(kubectl: Kubectl) -> None:
    """Kubernetes puts a token of any account of the namespace into a Secret of that type."""
    kubectl("delete", SERVING_CERT).check_returncode()
    labels = {"labels": {"a": "b"}, "annotations": {"meta.helm.sh/release-name": "beanscale"}}
    assert applied(kubectl, metadata=labels) == ""
    token = {"type": "kubernetes.io/service-account-token"}
    other = {"annotations": {"kubernetes.io/service-account.name": "default"}}
    assert "may change only" in applied(kubectl, metadata=other, **token)
    assert "may change only" in applied(kubectl, metadata={"finalizers": ["example.com/never"]})
    assert "may change only" in applied(kubectl, metadata={"ownerReferences": OWNERS})
