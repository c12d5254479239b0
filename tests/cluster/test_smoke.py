"""`helm test` where all is well; test_outage.py has it where nothing is."""

from tests.cluster.commands import ran
from tests.cluster.release import Release

LINKS = "beanstalkd, APIService, discovery, empty tube, jobs counted, autoscaler, jobs taken away, empty again"


def test_helm_test_proves_every_link_and_leaves_nothing(release: Release) -> None:
    said = release.helm("test", "--logs", "--timeout", "90s")
    proven = [line.removeprefix("✓ ")[:16].strip() for line in said.splitlines() if line.startswith("✓")]
    assert (", ".join(proven), "Every link holds." in said) == (LINKS, True), said
    kinds = "pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings"
    left = ran("kubectl", "get", kinds, "--all-namespaces", "--selector=app.kubernetes.io/component=smoke")
    assert left == ""
