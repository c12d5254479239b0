"""The pods of a StatefulSet as one server each: their sum, and the effect of one that hangs, crashes or is removed."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import greenstalk
import pytest

from tests.cluster.commands import eventually, raw, refused, run
from tests.cluster.release import PATIENCE, VERSION, Release
from tests.cluster.workloads import autoscaler, restricted_pod, sleeper

pytestmark = pytest.mark.timeout(900)

TUBE, RULE = "both", "both-or-four"
PAIR = "statefulset/pair"
SCALED = ("by-both", "by-rule")
HELD_DOWN = "/jobs/held-down"
"""While a pod has this file, its beanstalkd doesn't start."""


def pair(pods: int) -> list[object]:
    """Return a StatefulSet of `pods` pods with the release's beanstalkd image, and its headless Service.

    Jobs survive a crash. A hung pod stays ready for a minute, so that DNS still lists it.
    """
    labels = {"app": "pair"}
    start = f"while [ -e {HELD_DOWN} ]; do sleep 0.2; done; exec beanstalkd -b /jobs -f0"
    probe = {
        "exec": {"command": ["/usr/local/bin/beanstalkd-ready"]},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 60,
    }
    pod = restricted_pod(
        "beanstalkd",
        f"beanscale-beanstalkd:{VERSION}",
        command=["sh", "-c", start],
        readinessProbe=probe,
        volumeMounts=[{"name": "jobs", "mountPath": "/jobs"}],
    )
    spec = {
        "serviceName": "pair",
        "replicas": pods,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod | {"volumes": [{"name": "jobs", "emptyDir": {}}]}},
    }
    service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 11300}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "pair"}, "spec": service},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pair"}, "spec": spec},
    ]


def values(release: Release, polled: int, *more: object, pods: int = 2) -> dict[str, object]:
    """Return values that install a StatefulSet of `pods` pods and poll `polled` of them, and `more` servers."""
    stateful_set = {"name": "pair", "service": "pair", "namespace": release.namespace, "replicas": polled}
    rule = {"name": RULE, "tubes": [TUBE], "maxAge": "5s", "onFailure": {"value": 8}}
    return {
        "beanstalkd": {"external": [{"statefulSet": stateful_set}, *more]},
        "metrics": [rule],
        "server": {"maxAge": "5s"},
        "autoscalers": [autoscaler(SCALED[0], tube=TUBE, paused="count"), autoscaler(SCALED[1], metric=RULE)],
        "extraObjects": [*pair(pods), *map(sleeper, SCALED)],
    }


@pytest.fixture(scope="module")
def both(release: Release) -> Iterator[Release]:
    """The release polls both pods, with six jobs in one and four in the other, and two HPAs use the sum."""
    release.upgrade(values(release, 2))
    release.wait(PAIR, "jsonpath={.status.readyReplicas}=2")
    eventually(lambda: release.value(f"tube-{TUBE}") == "0", "both are read")
    put(release, "pair-0", 6)
    put(release, "pair-1", 4)
    eventually(lambda: release.value(f"tube-{TUBE}") == "10", "the sum of both")
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)


def connected(release: Release, pod: str) -> greenstalk.Client[bytes]:
    address = (release.read(f"pod/{pod}")["status"]["podIP"], 11300)
    return greenstalk.Client(address, encoding=None, use=TUBE, watch=TUBE)


def put(release: Release, pod: str, jobs: int) -> None:
    with connected(release, pod) as client:
        for _ in range(jobs):
            client.put(b"waits")


def wait_for_wanted(release: Release, name: str, replicas: int) -> None:
    release.wait(f"hpa/{name}", f"jsonpath={{.status.desiredReplicas}}={replicas}", within_s=120)


def send(release: Release, pod: str, number: signal.Signals) -> None:
    """To its beanstalkd."""
    uid = release.read(f"pod/{pod}")["metadata"]["uid"]
    (process,) = (int(each.name) for each in Path("/proc").glob("[0-9]*") if is_beanstalkd_of(uid, each))
    os.kill(process, number)


@contextmanager
def hanging(release: Release, pod: str) -> Iterator[None]:
    """Its beanstalkd takes connections and answers nothing; DNS goes on naming it."""
    send(release, pod, signal.SIGSTOP)
    try:
        yield
    finally:
        send(release, pod, signal.SIGCONT)


@contextmanager
def crashed(release: Release, pod: str) -> Iterator[None]:
    """Its beanstalkd has ended and doesn't come back yet; DNS names it no more."""
    release.kubectl("exec", pod, "--", "touch", HELD_DOWN)
    send(release, pod, signal.SIGKILL)
    try:
        yield
    finally:
        eventually(lambda: not release.kubectl("exec", pod, "--", "rm", "-f", HELD_DOWN), "it may start")


def is_beanstalkd_of(uid: str, process: Path) -> bool:
    try:
        return uid in (process / "cgroup").read_text() and (process / "comm").read_text().strip() == "beanstalkd"
    except OSError:  # it has ended meanwhile
        return False


def test_each_pod_is_a_server_with_a_stable_name(both: Release) -> None:
    def ready() -> dict[str, str]:
        items = raw(f"{both.metric_path('beanstalkd_tube_jobs')}?labelSelector=tube%3D{TUBE},state%3Dready")["items"]
        return {item["metricLabels"]["server"]: item["value"] for item in items if item["value"] != "0"}

    # The other replica of the server may have read them up to a second later.
    eventually(lambda: ready() == {"pair-0": "6", "pair-1": "4"}, "six and four jobs, by server")


def test_a_hung_pod_fails_the_metrics_that_include_it(both: Release) -> None:
    for name in SCALED:
        wait_for_wanted(both, name, 5)
    with hanging(both, "pair-1"):
        path = both.metric_path(f"tube-{TUBE}")
        error = eventually(lambda: refused("kubectl", "get", "--raw", path), "the sum is unknown, not 6")
        assert "beanstalkd 'pair-1' " in error
        assert "can't be read" in error
        wait_for_wanted(both, SCALED[1], 4)  # onFailure of this rule: 8
        time.sleep(10)
        assert both.read(f"hpa/{SCALED[0]}")["status"]["desiredReplicas"] == 5
    eventually(lambda: both.value(f"tube-{TUBE}") == "10", "both are read again")
    wait_for_wanted(both, SCALED[1], 5)


def answered(release: Release) -> str:
    """Return the sum, or the error."""
    done = run("kubectl", "get", "--raw", release.metric_path(f"tube-{TUBE}"))
    return done.stderr if done.returncode else str(json.loads(done.stdout)["items"][0]["value"])


def test_a_crashed_pod_fails_the_metrics_that_include_it_although_dns_omits_it(both: Release) -> None:
    """A sum without its jobs would remove the pods that they need."""
    seen = set()
    with crashed(both, "pair-1"):

        def error() -> str:
            seen.add(answer := answered(both))
            return answer if "can't be read" in answer else ""

        assert "beanstalkd 'pair-1' " in eventually(error, "its outage")
        wait_for_wanted(both, SCALED[1], 4)  # as when it hangs
        end = time.monotonic() + 10
        while time.monotonic() < end:
            seen.add(answered(both))
            time.sleep(0.25)
        assert both.read(f"hpa/{SCALED[0]}")["status"]["desiredReplicas"] == 5
    assert {answer for answer in seen if answer.isdigit()} <= {"10"}
    eventually(lambda: both.value(f"tube-{TUBE}") == "10", "both are read again")
    wait_for_wanted(both, SCALED[1], 5)


def test_a_recreated_pod_is_read_at_its_new_address(both: Release) -> None:
    """Its name is the same. Its jobs were deleted with its volume."""
    before = both.read("pod/pair-1")["metadata"]["uid"]
    both.kubectl("delete", "pod", "pair-1")
    eventually(lambda: both.read("pod/pair-1")["metadata"]["uid"] != before, "it is recreated")
    both.wait(PAIR, "jsonpath={.status.readyReplicas}=2")
    eventually(lambda: both.value(f"tube-{TUBE}") == "6", "the jobs of both now")


def test_a_removed_pod_is_an_outage_until_the_values_omit_it(both: Release) -> None:
    both.upgrade(values(both, 2, pods=1))
    both.wait("pod/pair-1", "delete")
    outage = eventually(lambda: answer if "can't be read" in (answer := answered(both)) else "", "its outage")
    assert "beanstalkd 'pair-1' " in outage
    both.upgrade(values(both, 1, pods=1))
    eventually(lambda: both.value(f"tube-{TUBE}") == "6", "the jobs of the other")
    for name in SCALED:
        wait_for_wanted(both, name, 3)


def test_a_headless_service_as_one_server_is_an_error_with_the_solution(both: Release) -> None:
    both.upgrade(values(both, 1, {"name": "headless", "host": f"pair.{both.namespace}.svc"}))
    error = eventually(lambda: answer if "statefulSet" in (answer := answered(both)) else "", "the error")
    assert "beanstalkd 'headless' " in error
    assert "beanstalkd.external[].statefulSet" in error
