"""Releases whose names are long or read like numbers, and a server on its node's network: pods start, updates end."""

import pytest

from tests.cluster.commands import ran
from tests.cluster.release import CHART, PATIENCE, Release, Values

pytestmark = pytest.mark.timeout(900)

ON_NODES: Values = {"hostNetwork": {"enabled": True}, "containerPort": 10260, "replicaCount": 1}
"""As many replicas as the cluster has nodes."""


@pytest.mark.usefixtures("pki")
@pytest.mark.parametrize(
    ("release", "server"),
    [
        (Release("platform-production-eu", "queue-autoscaling"), ON_NODES),
        (Release("1234", "1e3"), {"replicaCount": 1}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_all_pods_start_and_an_update_ends(release: Release, server: Values) -> None:
    """Beside another release, which has the APIService."""
    values = {"apiService": {"create": False}, "server": server, "console": {"enabled": False}}
    ran("kubectl", "create", "namespace", release.namespace)
    try:
        release.install(values)
        change = ("--reuse-values", "--set=server.podAnnotations.changed=yes", "--wait", "--timeout", PATIENCE)
        release.helm("upgrade", CHART, *change)
        (pod,) = release.pods("server")
        assert pod["metadata"]["annotations"]["changed"] == "yes"
        assert [ready(pod) for part in ("beanstalkd", "hello-world") for pod in release.pods(part)] == [True, True]
    finally:
        release.uninstall()
        ran("kubectl", "delete", "namespace", release.namespace, "--timeout=240s", within_s=270)


def ready(pod: Values) -> bool:
    return all(each["ready"] and not each["restartCount"] for each in pod["status"]["containerStatuses"])
