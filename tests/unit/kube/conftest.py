"""A minimal cluster: a CA, a server with a certificate of it, and a pod's service account."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.kube.certificates.renewal import KeyRing, next_key_ring
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from tests.unit.kube.apiserver import Answer, Apiserver, serving


@pytest.fixture(scope="session")
def cluster() -> KeyRing:
    return next_key_ring(None, ["127.0.0.1", "kubernetes"], datetime.now(UTC))


@pytest.fixture(scope="session")
def listener(cluster: KeyRing) -> Iterator[Apiserver]:
    with serving(cluster.serving) as server:
        yield server


@pytest.fixture
def service_account(tmp_path: Path, cluster: KeyRing) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_bytes(cluster.bundle)
    return tmp_path


@pytest.fixture
def apiserver(listener: Apiserver, monkeypatch: pytest.MonkeyPatch) -> Apiserver:
    """The server, and an environment as in a pod of its cluster."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(listener.port))
    listener.answer = Answer()
    listener.answers.clear()
    listener.asked.clear()
    listener.hang_ups = 0
    return listener


@pytest.fixture
def kubernetes(apiserver: Apiserver, service_account: Path) -> Kubernetes:
    assert apiserver
    return Kubernetes(find_credentials(None, None, service_account))
