"""`helm upgrade` changes the given values, and nothing that the server wrote."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.observing import Answers, constant_requests
from tests.cluster.release import CHART, PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Trust:
    """What must outlive a change: the replicas' Secret, the console's, the APIService's CA and what the pods show."""

    secret: Mapping[str, str]
    password: Mapping[str, str]
    ca_bundle: str
    certificates: frozenset[str]

    @classmethod
    def of(cls, release: Release) -> "Trust":
        password = release.read("secret/beanscale-console").get("data", {})
        return cls(release.secret(), password, release.ca_bundle(), frozenset(release.served_certificates()))


@dataclass(frozen=True)
class Upgrade:
    """Two changed values; one of them replaces both server pods."""

    trusted_before: Trust
    trusted_after: Trust
    replaced: bool
    answers: Answers


@pytest.fixture(scope="module")
def upgrade(release: Release, pki: Path) -> Iterator[Upgrade]:
    """Requests run all the time. In the end the values are what they were."""
    before, pods = Trust.of(release), server_pods(release)
    assert before.ca_bundle
    assert before.secret
    assert before.password
    with constant_requests(pki, release.metric_path(f"tube-{TUBE}")) as answers:
        changes = "helloWorld.autoscaling.jobsPerPod=5,server.podAnnotations.changed=yes"
        release.helm("upgrade", CHART, "--reuse-values", "--set", changes, "--wait", "--timeout", PATIENCE)
        release.wait_for_rollout()
    yield Upgrade(before, Trust.of(release), server_pods(release).isdisjoint(pods), answers)
    if release.is_installed:
        release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)


def test_the_certificate_and_the_bundle_stay(upgrade: Upgrade) -> None:
    assert upgrade.replaced, "the same pods would hardly show another certificate"
    assert upgrade.trusted_after == upgrade.trusted_before


def test_no_request_is_lost_while_the_server_is_replaced(upgrade: Upgrade) -> None:
    assert upgrade.answers.failures == []
    assert upgrade.answers.good > 50


@pytest.mark.usefixtures("upgrade")
def test_a_changed_ratio_takes_effect(release: Release) -> None:
    with release.waiting_jobs(20):
        release.wait_for_pods_wanted(4)
    release.wait_for_pods_wanted(1)


def test_a_rollback_keeps_them_too(upgrade: Upgrade, release: Release) -> None:
    release.helm("rollback", "--wait", "--timeout", PATIENCE)
    assert release.read(release.autoscaler)["spec"]["metrics"][0]["external"]["target"]["averageValue"] == "2"
    assert Trust.of(release) == upgrade.trusted_before


def server_pods(release: Release) -> set[str]:
    return {pod["metadata"]["name"] for pod in release.pods("server")}
