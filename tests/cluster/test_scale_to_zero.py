"""No job, no pod: the workers come with the first job and leave with the last."""

from collections.abc import Iterator

import pytest

from tests.cluster.commands import eventually, refused
from tests.cluster.observing import Timeline, handed_out
from tests.cluster.release import CHART, PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def resting(release: Release) -> Iterator[Release]:
    """Scaled to no worker at all."""
    release.upgrade({"helloWorld": {"autoscaling": {"minReplicas": 0}}})
    release.wait_for_pods_wanted(0)
    eventually(lambda: not release.pods("hello-world"), "no worker left")
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)
    release.wait_for_pods_wanted(1)


def test_jobs_start_workers_and_an_empty_tube_stops_them(resting: Release) -> None:
    with Timeline(resting, resting.autoscaler, path="{.status.desiredReplicas}") as wanted:
        with resting.waiting_jobs(6) as (client, jobs):
            resting.wait_for_pods_wanted(3)
            resting.wait_for_pods_ready(3)
            client.pause_tube(TUBE, 0)
            assert handed_out(client, jobs, within_s=120) == dict.fromkeys(jobs, 1)
        wanted.wait_for("0")
    counts = list(map(int, wanted.said()))
    assert counts[:2] == [0, 3]
    assert counts[1:] == sorted(counts[1:], reverse=True)
    assert counts[-1] == 0


def test_helm_test_passes_without_a_worker(resting: Release) -> None:
    eventually(lambda: not resting.read(resting.autoscaler)["status"].get("currentReplicas"), "none is left")
    assert "is active and at 0 replicas" in resting.helm("test", "--logs", "--timeout", PATIENCE)


@pytest.fixture
def idle(release: Release) -> Iterator[Release]:
    """Scaled to no worker by the server, as on every Kubernetes before 1.37."""
    release.upgrade({"helloWorld": {"secondsPerJob": 1, "autoscaling": {"minReplicas": 0, "idleFor": "5s"}}})
    release.wait(release.workers, "jsonpath={.spec.replicas}=0")
    eventually(lambda: not release.read(release.autoscaler)["status"].get("currentReplicas"), "the HPA reports none")
    yield release
    release.kubectl("scale", release.workers, "--replicas=1")  # an HPA ignores a workload that the server scaled to 0
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)
    release.wait_for_pods_wanted(1)


def test_the_server_scales_to_zero_and_back(idle: Release) -> None:
    """With no more permissions than the chart grants."""
    before = rejections(idle)  # of other tests
    assert idle.read(idle.autoscaler)["spec"]["minReplicas"] == 1
    assert "is at 0 replicas; beanscale scales it up" in idle.helm("test", "--logs", "--timeout", PATIENCE)
    with idle.beanstalkd() as client:
        for _ in range(6):
            client.put(b"job", delay=3600)
        client.kick(6)  # all at once, so that no poll counts only some of them
        idle.wait(idle.workers, "jsonpath={.spec.replicas}=3", 10)
    idle.wait(idle.workers, "jsonpath={.spec.replicas}=0")
    events = idle.read("events", "--field-selector=reason=Scaled,source=beanscale")["items"]
    messages = "\n".join(each["message"] for each in events)
    for numbers in ("from 1 to 0: no job was ready, reserved, put or deleted for 5 s", "from 0 to 3: tube-hello-world"):
        assert f"Scaled Deployment/beanscale-hello-world {numbers}" in messages
    assert rejections(idle) == before


def rejections(release: Release) -> list[str]:
    events = release.read("events", "--field-selector=reason=NotScaled")["items"]
    return sorted(each["message"] for each in events)


def test_an_unsupported_cluster_is_rejected_with_the_fix_before_the_install() -> None:
    given = ("--kube-version=1.36.0", "--set=helloWorld.autoscaling.minReplicas=0,scaling.enabled=false")
    assert "HPAScaleToZero" in refused("helm", "template", CHART, *given)
