"""Two beanstalkds behind one name, as a headless Service gives it: each is read, and one that hangs or crashes is told
of, whether DNS goes on naming it or not."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import greenstalk
import pytest
from app.beanstalkd.lingering import LINGER_S

from tests.cluster.commands import eventually, raw, refused, run
from tests.cluster.release import PATIENCE, VERSION, Release
from tests.cluster.workloads import autoscaler, restricted_pod, sleeper

pytestmark = pytest.mark.timeout(900)

TUBE, RULE = "both", "both-or-four"
PAIR = "statefulset/pair"
SCALED = ("by-both", "by-rule")
HELD_DOWN = "/jobs/held-down"
"""While a pod has this file, its beanstalkd doesn't start."""
BEFORE_IT_IS_GIVEN_UP_S = LINGER_S / 2


def pair() -> list[object]:
    """A StatefulSet of the release's own image, and the headless Service that names those of its pods that are ready.

    Their jobs outlast a crash. One that is only hung stays ready for a minute, so that DNS goes on naming it.
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
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod | {"volumes": [{"name": "jobs", "emptyDir": {}}]}},
    }
    service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 11300}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "pair"}, "spec": service},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pair"}, "spec": spec},
    ]


@pytest.fixture(scope="module")
def both(release: Release) -> Iterator[Release]:
    """The release reads the pair too, six jobs in the one and four in the other, by which two autoscalers go."""
    rule = {"name": RULE, "tubes": [TUBE], "maxAge": "5s", "onFailure": {"value": 8}}
    release.upgrade(
        {
            "beanstalkd": {"external": [{"name": "pair", "host": f"pair.{release.namespace}.svc"}]},
            "metrics": [rule],
            "server": {"maxAge": "5s"},
            "autoscalers": [autoscaler(SCALED[0], tube=TUBE), autoscaler(SCALED[1], metric=RULE)],
            "extraObjects": [*pair(), *map(sleeper, SCALED)],
        }
    )
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


def test_what_is_in_both_is_summed_and_one_that_hangs_fails_what_spans_it(both: Release) -> None:
    for name in SCALED:
        wait_for_wanted(both, name, 5)
    with hanging(both, "pair-1"):
        path = both.metric_path(f"tube-{TUBE}")
        said = eventually(lambda: refused("kubectl", "get", "--raw", path), "the sum isn't known, and is no 6")
        assert "beanstalkd 'pair' at " in said
        assert "can't be read" in said
        wait_for_wanted(both, SCALED[1], 4)  # this rule says 8 for that time
        time.sleep(10)
        assert both.read(f"hpa/{SCALED[0]}")["status"]["desiredReplicas"] == 5
    eventually(lambda: both.value(f"tube-{TUBE}") == "10", "both are read again")
    wait_for_wanted(both, SCALED[1], 5)


def answered(release: Release) -> str:
    """The sum, or why there is none."""
    done = run("kubectl", "get", "--raw", release.metric_path(f"tube-{TUBE}"))
    return done.stderr if done.returncode else str(json.loads(done.stdout)["items"][0]["value"])


def test_one_that_crashes_fails_what_spans_it_though_dns_leaves_it_out_at_once(both: Release) -> None:
    """A sum without its jobs would scale in the pods that they wait for."""
    seen = set()
    with crashed(both, "pair-1"):

        def lost() -> str:
            seen.add(said := answered(both))
            return said if "DNS hasn't listed its address since" in said else ""

        said = eventually(lost, "it is missed")
        assert "or the host 'pair-1' is read at a new address" in said
        assert "it had 4 jobs when it was last read" in said
        wait_for_wanted(both, SCALED[1], 4)  # as when one hangs
        end = time.monotonic() + 10
        while time.monotonic() < end:
            seen.add(answered(both))
            time.sleep(0.25)
        assert both.read(f"hpa/{SCALED[0]}")["status"]["desiredReplicas"] == 5
    assert {answer for answer in seen if answer.isdigit()} <= {"10"}
    eventually(lambda: both.value(f"tube-{TUBE}") == "10", "both are read again")
    wait_for_wanted(both, SCALED[1], 5)


def test_one_that_is_made_anew_at_another_address_is_waited_for_no_longer(both: Release) -> None:
    """Its pod's name is the same. Its jobs went with the old one's volume."""
    before = both.read("pod/pair-1")["metadata"]["uid"]
    both.kubectl("delete", "pod", "pair-1")
    eventually(lambda: both.read("pod/pair-1")["metadata"]["uid"] != before, "it is made anew")
    both.wait(PAIR, "jsonpath={.status.readyReplicas}=2")
    eventually(lambda: both.value(f"tube-{TUBE}") == "6", "what both hold now", BEFORE_IT_IS_GIVEN_UP_S)


def is_one_address(release: Release) -> bool:
    items = raw(f"{release.metric_path('beanstalkd_tube_jobs')}?labelSelector=tube%3D{TUBE}")["items"]
    return all("address" not in item["metricLabels"] for item in items)


def test_one_that_is_drained_and_taken_away_counts_no_more(both: Release) -> None:
    """At once: it surely held no job."""
    put(both, "pair-1", 4)
    eventually(lambda: both.value(f"tube-{TUBE}") == "10", "the sum of both")
    send(both, "pair-1", signal.SIGUSR1)
    with connected(both, "pair-1") as client:
        for _ in range(4):
            client.delete(client.reserve(timeout=1))
    eventually(lambda: both.value(f"tube-{TUBE}") == "6", "what the one still holds")
    time.sleep(2)  # each replica has read both once more
    both.kubectl("scale", PAIR, "--replicas=1")
    both.wait("pod/pair-1", "delete")
    eventually(lambda: is_one_address(both), "the other is let go", BEFORE_IT_IS_GIVEN_UP_S)
    eventually(lambda: both.value(f"tube-{TUBE}") == "6", "what the one still holds")
    for name in SCALED:
        wait_for_wanted(both, name, 3)
