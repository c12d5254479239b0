"""Entries of `autoscalers` by a real HPA controller: paused tubes, steady traffic, busy workers."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import greenstalk
import pytest

from tests.cluster.commands import eventually, raw
from tests.cluster.observing import Timeline
from tests.cluster.release import PATIENCE, Release
from tests.cluster.workloads import autoscaler, sleeper, wait_for_wanted

pytestmark = pytest.mark.timeout(900)

PUT_PER_S, PER_SECOND = 8, 2
WATCHED_S = 40
"""Longer than the window of rates."""
BUSY, PER_POD = 6, 10
ENTRIES = (
    autoscaler("steady", tube="steady", perSecond=PER_SECOND),
    autoscaler("starved", tube="steady"),
    autoscaler("busy", tube="busy", jobsPerPod=PER_POD, busy="keep"),
    autoscaler("kept", metric="kept", jobsPerPod=PER_POD),
    autoscaler("stopped", tube="busy", jobsPerPod=PER_POD),
    autoscaler("ignoring", tube="paused"),
    autoscaler("counting", tube="paused", paused="count"),
)
RULES = ({"name": "kept", "tubes": ["bus*"], "busy": {"keep": PER_POD}},)
NAMES = [str(each["name"]) for each in ENTRIES]


@pytest.fixture(scope="module")
def entries(release: Release) -> Iterator[Release]:
    """The release with these entries, all at minReplicas; rolled back afterwards."""
    sleepers = [sleeper(name) for name in NAMES]
    release.upgrade({"metrics": list(RULES), "autoscalers": list(ENTRIES), "extraObjects": sleepers})
    wait_for_wanted(release, NAMES, 1)
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)


@contextmanager
def client(release: Release, tube: str) -> Iterator[greenstalk.Client[bytes]]:
    with greenstalk.Client((release.address("beanstalkd"), 11300), encoding=None, use=tube, watch=tube) as connection:
        yield connection


@contextmanager
def traffic(release: Release, tube: str) -> Iterator[None]:
    """Jobs at a steady rate, each taken and deleted at once."""
    over = threading.Event()

    def work() -> None:
        put, started_s = 0, time.monotonic()
        with client(release, tube) as jobs:
            while not over.wait(1 / PUT_PER_S):
                while put < int((time.monotonic() - started_s) * PUT_PER_S):  # keeps the rate on a busy machine
                    jobs.put(b"quick")
                    jobs.delete(jobs.reserve(timeout=10))
                    put += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def desired(release: Release, name: str) -> Timeline:
    return Timeline(release, f"hpa/{name}", path="{.status.desiredReplicas}")


def test_steady_traffic_keeps_its_pods_although_no_job_waits(entries: Release) -> None:
    with desired(entries, "starved") as starved:
        with traffic(entries, "steady"):
            wait_for_wanted(entries, ["steady"], PUT_PER_S // PER_SECOND)
            with desired(entries, "steady") as kept:
                time.sleep(WATCHED_S)
        wait_for_wanted(entries, ["steady"], 1)
    assert set(starved.said()) == {"1"}
    assert min(map(int, kept.said())) > 1, kept.seen


def test_no_autoscaler_asks_for_fewer_pods_than_there_are_reserved_jobs(entries: Release) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(client(entries, "busy")) for _ in range(BUSY)]
        for _ in range(BUSY * PER_POD):
            workers[0].put(b"long", ttr=600)
        wait_for_wanted(entries, ["busy", "kept", "stopped"], BUSY)
        jobs = [worker.reserve(timeout=10) for worker in workers]
        spare = stack.enter_context(client(entries, "busy"))
        while (ready := eventually(lambda: spare.stats_tube("busy"), "stats"))["current-jobs-ready"]:
            spare.delete(spare.reserve(timeout=10))
        assert ready["current-jobs-reserved"] == BUSY
        wait_for_wanted(entries, ["stopped"], 1)
        timelines = [stack.enter_context(desired(entries, name)) for name in ("busy", "kept")]
        for still_reserved in range(BUSY - 1, 0, -1):
            done = jobs.pop()
            workers.pop().delete(done)
            wait_for_wanted(entries, ["busy", "kept"], still_reserved)
        assert [each.said() for each in timelines] == [["6", "5", "4", "3", "2", "1"]] * 2
        workers[0].delete(jobs[0])


def test_jobs_of_a_paused_tube_count_when_it_goes_on(entries: Release) -> None:
    with client(entries, "paused") as jobs:
        jobs.pause_tube("paused", 600)
        for _ in range(6):
            jobs.put(b"waits")
        wait_for_wanted(entries, ["counting"], 3)
        assert entries.read("hpa/ignoring")["status"]["desiredReplicas"] == 1
        text = entries.kubectl(
            "exec", entries.servers, "--", "beanscale", "explain", "tube-paused", "--namespace", entries.namespace
        )
        assert "tube-paused{paused=false} in namespace" in text
        assert "not counted: 6 ready jobs (paused: ignore)" in " ".join(text.split())
        jobs.pause_tube("paused", 0)
        wait_for_wanted(entries, ["ignoring"], 3)
        for _ in range(6):
            jobs.delete(jobs.reserve(timeout=10))
    wait_for_wanted(entries, ["ignoring", "counting"], 1)


def test_the_metric_without_the_label_stays_as_an_older_autoscaler_queries_it(entries: Release) -> None:
    with client(entries, "old") as jobs:
        jobs.pause_tube("old", 60)
        jobs.put(b"waits")
        path = entries.metric_path("tube-old")
        eventually(lambda: raw(path)["items"][0]["value"] == "1", "counted")
        (item,) = raw(f"{path}?labelSelector=paused%3Dfalse")["items"]
        assert (item["value"], item["metricLabels"]) == ("0", {"tube": "old", "paused": "false"})
        jobs.pause_tube("old", 0)
        jobs.delete(jobs.reserve(timeout=10))
