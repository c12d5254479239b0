"""The scaler as installed: its account, its Roles, and what it reports. tests/scaler has the rest."""

from collections.abc import Iterator

import pytest

from tests.cluster.commands import eventually
from tests.cluster.observing import handed_out
from tests.cluster.release import PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def by_server(release: Release) -> Iterator[Release]:
    """Scaled to no worker by the server, as before Kubernetes 1.37: only it knows `idleFor`."""
    release.upgrade({"helloWorld": {"autoscaling": {"minReplicas": 0, "idleFor": "10s"}}})
    assert release.read(release.autoscaler)["spec"]["minReplicas"] == 1
    eventually(lambda: release.read(release.workers)["spec"]["replicas"] == 0, "no worker wanted", within_s=90)
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)
    release.kubectl("scale", release.workers, "--replicas=1")  # the HPA alone leaves a workload at 0
    release.wait_for_pods_ready(1)


def test_the_server_scales_to_zero_and_back_as_its_account_may(by_server: Release) -> None:
    with by_server.beanstalkd() as client:
        jobs = [client.put(b"job", ttr=60, delay=3600) for _ in range(6)]
        client.kick(len(jobs))  # all at once, so that no reading counts only some of them
        eventually(lambda: by_server.read(by_server.workers)["spec"]["replicas"] == 3, "three workers", within_s=30)
        assert handed_out(client, jobs, within_s=120) == dict.fromkeys(jobs, 1)
    eventually(lambda: by_server.read(by_server.workers)["spec"]["replicas"] == 0, "no worker wanted", within_s=90)
    selection = ("--field-selector=reason=Scaled", "--sort-by=.metadata.creationTimestamp")
    messages = [each["message"] for each in by_server.read("events", *selection)["items"]]
    name = by_server.workers.replace("deployment", "Deployment")
    idle = "no job was ready, reserved, put or deleted for 10 s"
    assert [each for each in messages if "from 0 to" in each][-1].startswith(f"Scaled {name} from 0 to 3: tube-{TUBE}")
    assert messages[-1] == f"Scaled {name} from 1 to 0: {idle}"
