"""`helm test` where all is well; test_outage.py has it where nothing is."""

import pytest

from tests.cluster.commands import eventually, ran
from tests.cluster.release import Release

pytestmark = pytest.mark.timeout(600)

CHECKS = "beanstalkd, APIService, discovery, empty tube, jobs counted, autoscaler, jobs deleted, empty again"
TESTED = "All checks passed."


def passed(printed: str) -> str:
    return ", ".join(line.removeprefix("✓ ")[:16].strip() for line in printed.splitlines() if line.startswith("✓"))


def test_helm_test_verifies_every_step_and_leaves_nothing(release: Release) -> None:
    status, printed = release.tested()
    assert (status, passed(printed), TESTED in printed) == (0, CHECKS, True), printed
    kinds = "pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings"
    of_the_test = ("--all-namespaces", "--selector=app.kubernetes.io/component=smoke")
    eventually(lambda: ran("kubectl", "get", kinds, *of_the_test) == "", "nothing left of it")
