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


def test_an_unsupported_cluster_is_rejected_with_the_fix_before_the_install() -> None:
    given = ("--kube-version", "1.36.0", "--set", "helloWorld.autoscaling.minReplicas=0")
    assert "HPAScaleToZero" in refused("helm", "template", CHART, *given)
