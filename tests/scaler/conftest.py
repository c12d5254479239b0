"""Servers with `--scaler` beside a whole Kubernetes, whose HPA controller reads their metrics every 15 s, its default.

The servers run outside the cluster, as an account with the chart's permissions, so that a test can stop each part.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import greenstalk
import pytest

from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from tests.beanstalkd.conftest import Beanstalkd, beanstalkd, running_beanstalkd
from tests.kubernetes.cluster_objects import Patient
from tests.kubernetes.conftest import pki
from tests.scaler.cluster import FLEETS, Cluster, Json, Versions, cluster, eventually, exists

__all__ = ["beanstalkd", "pki"]

type Note = Callable[[str], None]

NOTED = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def note(request: pytest.FixtureRequest) -> Note:
    """Print a line at the end of the run."""
    return request.config.stash.setdefault(NOTED, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if noted := config.stash.get(NOTED, None):
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(noted))


@pytest.fixture(scope="session")
def kubernetes(pki: Path) -> Kubernetes:  # noqa: ARG001 - it tells how to run these tests
    return Patient(find_credentials(Path(os.environ["KUBECONFIG"]), None))


@pytest.fixture(scope="session", name="cluster")
def registered(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Ready for a server: its API is registered, and fleets can be created and keep their pods up to date."""
    namespace = f"scaler-{uuid.uuid4().hex[:8]}"
    kubernetes.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})

    def catch_up(fleet: Json) -> None:
        """Do what a workload's controller does."""
        spec, status = fleet["spec"], fleet.get("status") or {}
        if spec["replicas"] != status.get("replicas") and "deletionTimestamp" not in fleet["metadata"]:
            made.patch(FLEETS, "fleets", fleet["metadata"]["name"], status={"replicas": spec["replicas"]})

    with cluster(kubernetes, namespace, tmp_path_factory.mktemp("account")) as made:
        eventually(lambda: exists(kubernetes, made.path(FLEETS, "fleets")), "the resource of fleets")
        with Versions(kubernetes, made.path(FLEETS, "fleets"), on_change=catch_up):
            yield made
    kubernetes.request("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.fixture(scope="module")
def source() -> Iterator[Beanstalkd]:
    yield from running_beanstalkd()


@pytest.fixture
def name() -> str:
    """Of a tube, its HPA and its workload, so that no test meets another's."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def jobs(source: Beanstalkd, name: str) -> Iterator[greenstalk.Client[bytes]]:
    """A connection that uses and watches the tube."""
    with greenstalk.Client((source.host, source.port), encoding=None, use=name, watch=name) as client:
        yield client
