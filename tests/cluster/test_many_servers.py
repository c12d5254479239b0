"""Two beanstalkds behind one name, as a headless Service gives it: each is read, and one that hangs is told of."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import greenstalk
import pytest

from tests.cluster.commands import eventually, refused
from tests.cluster.release import PATIENCE, Release
from tests.cluster.workloads import autoscaler, restricted_pod, sleeper

pytestmark = pytest.mark.timeout(900)

TUBE, RULE = "both", "both-or-four"
PAIR = "statefulset/pair"
SCALED = ("by-both", "by-rule")


def pair() -> list[object]:
    """A StatefulSet of the release's own image, and the headless Service that names its pods."""
    labels = {"app": "pair"}
    pod = restricted_pod("beanstalkd", "beanscale-beanstalkd:0.1.0")
    spec = {
        "serviceName": "pair",
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = {"clusterIP": "None", "selector": labels, "ports": [{"port": 11300}], "publishNotReadyAddresses": True}
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


def put(release: Release, pod: str, jobs: int) -> None:
    address = (release.read(f"pod/{pod}")["status"]["podIP"], 11300)
    with greenstalk.Client(address, encoding=None, use=TUBE) as client:
        for _ in range(jobs):
            client.put(b"waits")


def wait_for_wanted(release: Release, name: str, replicas: int) -> None:
    release.wait(f"hpa/{name}", f"jsonpath={{.status.desiredReplicas}}={replicas}", within_s=120)


@contextmanager
def hanging(release: Release, pod: str) -> Iterator[None]:
    """Its beanstalkd takes connections and answers nothing; DNS goes on naming it."""
    uid = release.read(f"pod/{pod}")["metadata"]["uid"]
    (process,) = (int(each.name) for each in Path("/proc").glob("[0-9]*") if is_beanstalkd_of(uid, each))
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


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


def test_one_that_is_taken_away_counts_no_more(both: Release) -> None:
    """Its jobs went with it."""
    both.kubectl("scale", PAIR, "--replicas=1")
    eventually(lambda: both.value(f"tube-{TUBE}") == "6", "what the one still holds", within_s=120)
    for name in SCALED:
        wait_for_wanted(both, name, 3)
