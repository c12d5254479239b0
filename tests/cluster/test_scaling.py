"""The main job: jobs in a tube, pods in a deployment."""

import time
from dataclasses import dataclass

import greenstalk
import pytest

from tests.cluster.commands import eventually
from tests.cluster.conftest import Measure
from tests.cluster.observing import Timeline, handed_out
from tests.cluster.release import TUBE, Release

pytestmark = pytest.mark.timeout(900)

JOBS, MOST_WORKERS = 20, 10
WORKERS = "--selector=app.kubernetes.io/component=hello-world"
EXIT_STATUS = "{.metadata.name} {.status.containerStatuses[0].state.terminated.exitCode}"


@dataclass(frozen=True)
class Burst:
    """Observations from the first job put until one worker is left."""

    wanted: list[str]
    """The numbers of pods that the autoscaler decided on, in order."""
    reaction_s: float
    """From the last job put until the autoscaler decided on more pods."""
    reserves: dict[int, int]
    """Job ID to the number of times it was reserved."""
    exits: dict[str, str]
    """Pod name to exit status of the workers that stopped."""


@pytest.fixture(scope="module")
def burst(release: Release, measure: Measure) -> Burst:
    """20 jobs in a paused tube until all ten workers run, so that no count depends on the machine, then done."""
    with (
        Timeline(release, release.autoscaler, path="{.status.desiredReplicas}") as wanted,
        Timeline(release, "pods", WORKERS, path=EXIT_STATUS) as exits,
    ):
        with release.waiting_jobs(JOBS) as (client, jobs):
            put_at = time.monotonic()
            release.wait_for_pods_wanted(10)
            release.wait_for_pods_ready(10)
            measure("20 jobs put → ten workers ready", time.monotonic() - put_at)
            client.pause_tube(TUBE, 0)
            reserves = handed_out(client, jobs, within_s=180)
        done_at = time.monotonic()
        release.wait_for_pods_wanted(1)
        release.wait_for_pods_ready(1)
        eventually(lambda: len(release.read("pods", WORKERS)["items"]) == 1, "nine workers gone", within_s=180)
        eventually(lambda: len(exit_statuses(exits)) >= MOST_WORKERS - 1, "their exit statuses")
        wanted.wait_for("1")
        measure("last job done → one worker left", time.monotonic() - done_at)
    reaction_s = wanted.seen[1][0] - put_at
    measure("20 jobs put → the autoscaler wants ten pods", reaction_s)
    return Burst(wanted.said(), reaction_s, reserves, exit_statuses(exits))


def test_the_autoscaler_wants_all_ten_pods_in_one_step_within_one_sync(burst: Burst) -> None:
    assert burst.wanted[:2] == ["1", "10"]
    assert burst.reaction_s < 30  # one sync is 5 s here; the strict figure is scripts/bench's


def test_it_goes_back_to_one(burst: Burst) -> None:
    counts = list(map(int, burst.wanted[1:]))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_every_job_is_done_once_although_workers_terminate(burst: Burst) -> None:
    assert burst.reserves == dict.fromkeys(burst.reserves, 1)
    assert len(burst.reserves) == JOBS
    assert list(burst.exits.values()) == ["0"] * 9, burst.exits


def test_a_worker_that_is_deleted_finishes_its_job(release: Release) -> None:
    (pod,) = release.pods("hello-world")
    name = pod["metadata"]["name"]
    with release.beanstalkd() as client, Timeline(release, "pods", WORKERS, path=EXIT_STATUS) as exits:
        job = eventually(lambda: reserved_job(client), "a reserved job")
        release.kubectl("delete", "pod", name, "--wait=false")
        assert handed_out(client, [job], within_s=60) == {job: 1}
        release.wait(f"pod/{name}", "delete")
        eventually(lambda: exit_statuses(exits), "its exit status")
    assert exit_statuses(exits) == {name: "0"}


def reserved_job(client: greenstalk.Client[bytes]) -> int:
    """Return a job that a worker has reserved; 0 if it was done before that was seen."""
    job = client.put(b"current", ttr=60)
    while True:
        try:
            if client.stats_job(job)["state"] == "reserved":
                return job
        except greenstalk.NotFoundError:
            return 0
        time.sleep(0.1)


def exit_statuses(timeline: Timeline) -> dict[str, str]:
    seen = (line.split() for line in timeline.said())
    return {name: status[0] for name, *status in seen if status}
