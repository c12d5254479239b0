"""During an outage of beanstalkd no value is invented, each reader gets the cause, and everything recovers."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.commands import eventually, ran, refused
from tests.cluster.conftest import Measure
from tests.cluster.observing import Timeline
from tests.cluster.release import PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(600)

THREE_SYNCS_S = 15
"""The cluster's autoscaling looks every 5 s, and a wrong 0 would show at the first look: here it scales in at once."""


REFUSED = "can't be read: connection refused; last read "


@dataclass(frozen=True)
class Outage:
    """A beanstalkd scaled to 0 while three workers were wanted."""

    release: Release
    wanted: Timeline
    """How many pods the autoscaler wanted, since before."""

    def explanation(self) -> str:
        """What the autoscaler says about a metric that it doesn't get; fails as long as it gets one, or says no more
        than that the connection broke."""
        conditions = self.release.read(self.release.autoscaler)["status"]["conditions"]
        (active,) = (each for each in conditions if each["type"] == "ScalingActive")
        assert (active["status"], active["reason"]) == ("False", "FailedGetExternalMetric"), active
        assert REFUSED in active["message"]
        return str(active["message"])

    def end(self) -> None:
        self.release.kubectl("scale", self.release.beanstalkds, "--replicas=1")
        self.release.wait(self.release.beanstalkds, "jsonpath={.status.readyReplicas}=1")


@pytest.fixture(scope="module")
def outage(release: Release) -> Iterator[Outage]:
    """Starts while six jobs wait that no worker takes, and ends at the latest with the module."""
    with release.beanstalkd() as client:
        client.pause_tube(TUBE, 600)
        for _ in range(6):
            client.put(b"waits")
    release.wait_for_pods_wanted(3)
    with Timeline(release, release.autoscaler, path="{.status.desiredReplicas}") as wanted:
        outage = Outage(release, wanted)
        release.kubectl("scale", release.beanstalkds, "--replicas=0")
        release.wait("pod/beanscale-beanstalkd-0", "delete")
        yield outage
        outage.end()


def test_helm_test_names_the_failed_step_and_the_fix(outage: Outage) -> None:
    said = refused(*outage.release.helm_command("test", "--timeout", PATIENCE), within_s=330)
    assert (
        f"✗ beanstalkd       beanstalkd beanscale-beanstalkd.{outage.release.namespace}.svc:11300: connection" in said
    )
    hint = "its StatefulSet isn't scaled to 0, and its pod has started"
    assert f"{hint}: kubectl -n {outage.release.namespace} get" in said
    assert "Failed: beanstalkd." in said


def test_the_metric_is_an_error_with_the_cause(outage: Outage) -> None:
    path = outage.release.metric_path(f"tube-{TUBE}")

    def is_told() -> bool:
        said = refused("kubectl", "get", "--raw", path)
        assert "(ServiceUnavailable): beanstalkd 'beanstalkd' (beanscale-beanstalkd" in said
        return REFUSED in said

    eventually(is_told, "an error instead of an old number")


def test_the_autoscaler_keeps_its_pods_and_reports_why(outage: Outage) -> None:
    explanation = eventually(outage.explanation, "the autoscaler notices")
    said_first = time.monotonic()
    assert "external metrics API: beanstalkd 'beanstalkd' (beanscale-beanstalkd" in explanation
    eventually(lambda: time.monotonic() > said_first + THREE_SYNCS_S, "three more syncs")
    assert outage.explanation() != explanation, "the autoscaler hasn't looked again"
    assert outage.wanted.said() == ["3"]
    assert outage.release.read(outage.release.workers)["status"]["replicas"] == 3


def test_the_server_stays_available_so_that_namespaces_still_delete(outage: Outage) -> None:
    assert outage.release.is_available
    ran("kubectl", "create", "namespace", "beanscale-test-passing")
    ran("kubectl", "delete", "namespace", "beanscale-test-passing", "--timeout=100s")


def test_everything_recovers_by_itself(outage: Outage, measure: Measure) -> None:
    outage.end()
    ended = time.monotonic()
    outage.release.wait(outage.release.autoscaler, "condition=ScalingActive=True")
    measure("beanstalkd is back → the autoscaler works again", time.monotonic() - ended)
    outage.wanted.wait_for("1")
    assert outage.wanted.said() == ["3", "1"]
