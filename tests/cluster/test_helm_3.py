"""Helm 3, which shares nothing but the format of charts with Helm 4: install, test, upgrade, and change to Helm 4.

The objects are in another namespace than Helm's records. So `helm test --logs` doesn't find the pod's log with either.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.cluster.commands import eventually, ran
from tests.cluster.release import CHART, PATIENCE, Release, Values
from tests.cluster.test_smoke import CHECKS, TESTED, passed
from tests.cluster.test_upgrade import Trust

pytestmark = pytest.mark.timeout(900)

RECORDS = "beanscale-test-records"


@pytest.fixture(scope="module")
def with_helm_3(place: Release, values: Values, names_before: set[str]) -> Iterator[Release]:
    release = replace(place, stored_in=RECORDS, program="helm3")
    place.uninstall()
    eventually(lambda: place.names() <= names_before, "the release of other tests is gone", within_s=180)
    ran("kubectl", "create", "namespace", RECORDS)
    release.install({**values, "namespaceOverride": release.namespace})
    release.wait_for_pods_wanted(1)
    yield release
    replace(release, program="helm").uninstall()
    ran("kubectl", "delete", "namespace", RECORDS, "--timeout=100s")


def test_helm_test_prints_the_checks_and_leaves_nothing(with_helm_3: Release) -> None:
    for _ in range(2):
        status, printed = with_helm_3.tested()
        assert (status, passed(printed), TESTED in printed) == (0, CHECKS, True), printed
        assert with_helm_3.pods("smoke") == []


def test_a_failed_helm_test_prints_the_failed_check_and_the_fix(with_helm_3: Release) -> None:
    with_helm_3.kubectl("scale", with_helm_3.beanstalkds, "--replicas=0")
    with_helm_3.wait("pod/beanscale-beanstalkd-0", "delete")
    try:
        status, printed = with_helm_3.tested()
    finally:
        with_helm_3.kubectl("scale", with_helm_3.beanstalkds, "--replicas=1")
        with_helm_3.wait(with_helm_3.beanstalkds, "jsonpath={.status.readyReplicas}=1")
    assert (status, "✗ beanstalkd " in printed, "isn't scaled to 0" in printed) == (1, True, True), printed
    assert with_helm_3.pods("smoke") == []


@pytest.mark.parametrize("program", ["helm3", "helm"])
def test_an_upgrade_keeps_what_the_server_wrote(with_helm_3: Release, program: str) -> None:
    """`helm` is Helm 4, which takes over the release."""
    before, release = Trust.of(with_helm_3), replace(with_helm_3, program=program)
    release.helm(
        "upgrade", CHART, "--reuse-values", "--set", f"commonLabels.by={program}", "--wait", "--timeout", PATIENCE
    )
    assert release.read(release.servers)["metadata"]["labels"]["by"] == program
    assert Trust.of(release) == before
    status, printed = release.tested()
    assert (status, TESTED in printed) == (0, True), printed


def test_uninstall_leaves_nothing(with_helm_3: Release, names_before: set[str]) -> None:
    replace(with_helm_3, program="helm").uninstall()
    eventually(lambda: with_helm_3.names() <= names_before, "workers finished and all gone", within_s=180)
