"""A kubeconfig works, or says in one line why not; and in a pod none is needed."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.kube.certificates.renewal import KeyRing
from app.kube.client import Kubernetes, connect
from app.kube.credentials import find_credentials
from app.kube.errors import KubeconfigError
from tests.unit.kube.apiserver import Apiserver, kubeconfig

SERVER = "https://127.0.0.1:6443"


@pytest.fixture
def config(tmp_path: Path, cluster: KeyRing, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return kubeconfig(tmp_path / "config", SERVER, cluster.bundle, token="secret")  # noqa: S106


def change(config: Path, section: str, **fields: object) -> None:
    content = yaml.safe_load(config.read_text())
    content[f"{section}s"][0][section] |= fields
    config.write_text(yaml.safe_dump(content))


def refusal(config: Path | None, context: str | None = None) -> str:
    with pytest.raises(KubeconfigError) as refused:
        connect(config, context)
    assert "\n" not in str(refused.value)
    assert (refused.value.status, refused.value.reason) == (None, "Kubeconfig")
    return str(refused.value)


def test_a_kubeconfig_with_a_token_is_used(tmp_path: Path, cluster: KeyRing, apiserver: Apiserver) -> None:
    """Named explicitly it counts in a pod as well."""
    config = kubeconfig(tmp_path / "config", apiserver.address, cluster.bundle, token="secret")  # noqa: S106
    assert Kubernetes(find_credentials(config, None)).request("GET", "/version") == {}
    assert apiserver.asked[0].headers["authorization"] == "Bearer secret"


def test_the_servers_name_can_differ_from_its_address(tmp_path: Path, cluster: KeyRing, apiserver: Apiserver) -> None:
    config = kubeconfig(tmp_path / "config", apiserver.address, cluster.bundle)
    change(config, "cluster", **{"tls-server-name": "kubernetes"})
    assert connect(config, "here").request("GET", "/version") == {}


def test_kubeconfig_can_be_set_in_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"/nowhere/config:{config}")
    assert connect(None, None).server == SERVER


def test_a_client_certificate_inside_the_kubeconfig_leaves_no_file_behind(
    config: Path, cluster: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    inside = {"client-certificate-data": cluster.serving.pem, "client-key-data": cluster.serving.key_pem}
    change(config, "user", **{key: b64encode(pem).decode() for key, pem in inside.items()})
    assert connect(config, None).server == SERVER
    assert not list((tmp_path / "tmp").iterdir())


def test_a_missing_kubeconfig_is_named(config: Path) -> None:
    assert refusal(config / "x").startswith(f"there is no kubeconfig at {config}/x; name one with --kubeconfig")
    assert refusal(config.parent).startswith(f"can't read the kubeconfig {config.parent}: Is a directory")


def test_a_missing_context_is_named(config: Path) -> None:
    assert refusal(config, "prod").startswith(f"can't use context 'prod' of {config} as a kubeconfig: ")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "file is empty"),
        ("a: [", "expected the node content"),
        ("[1, 2]", "unexpected structure"),
        ("just text", "unexpected structure"),
        ("apiVersion: v1", "Expected key"),
    ],
)
def test_a_file_other_than_a_kubeconfig_is_rejected(config: Path, content: str, why: str) -> None:
    config.write_text(content)
    assert why in refusal(config)


@pytest.mark.parametrize(
    ("section", "fields", "why"),
    [
        ("cluster", {"server": "http://127.0.0.1:8001"}, "without verified TLS"),
        ("cluster", {"insecure-skip-tls-verify": True}, "without verified TLS"),
        ("cluster", {"certificate-authority": "/nowhere/ca.crt"}, "File does not exist: /nowhere/ca.crt"),
        ("cluster", {"certificate-authority": __file__}, "expected PEM"),
        ("cluster", {"certificate-authority-data": "!"}, "the certificate-authority of"),
        ("user", {"client-certificate": __file__, "client-key": __file__}, "check that certificate and key match"),
        ("context", {"cluster": "gone"}, "gone"),
    ],
)
def test_an_unsupported_entry_is_named(config: Path, section: str, fields: dict[str, Any], why: str) -> None:
    change(config, section, **fields)
    assert why in refusal(config)


def test_a_failing_credential_plugin_is_named(cluster: KeyRing, config: Path) -> None:
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/login"}
    kubeconfig(config, SERVER, cluster.bundle, exec=program)
    assert "/nowhere/login" in refusal(config)


def test_a_pod_without_a_token_is_an_error(apiserver: Apiserver, tmp_path: Path) -> None:
    assert apiserver
    with pytest.raises(KubeconfigError, match="automountServiceAccountToken"):
        find_credentials(None, None, tmp_path)


def test_the_apiserver_address_in_a_pod_can_be_ipv6(monkeypatch: pytest.MonkeyPatch, service_account: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT", raising=False)
    assert find_credentials(None, None, service_account).server == "https://[fd00::1]:443"
