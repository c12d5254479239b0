"""`helm uninstall` leaves the cluster as if nothing had been there."""

import pytest

from tests.cluster.commands import eventually, ran, raw
from tests.cluster.release import PATIENCE, Release

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def removed(release: Release, names_before: set[str]) -> Release:
    """A release that was tested too: Helm leaves a test's objects to the test."""
    release.helm("test", "--timeout", PATIENCE)
    assert release.names() - names_before
    release.uninstall()
    return release


def test_uninstall_leaves_nothing(removed: Release, names_before: set[str]) -> None:
    def nothing_is_left() -> bool:
        assert removed.names() - names_before == set()
        return True

    eventually(nothing_is_left, "workers finished and all gone", within_s=180)


@pytest.mark.usefixtures("removed")
def test_the_api_group_is_removed() -> None:
    """Discovery is complete: kubectl would fail on a group without a server."""
    eventually(
        lambda: "external.metrics.k8s.io" not in {group["name"] for group in raw("/apis")["groups"]}, "it isn't listed"
    )
    eventually(lambda: ran("kubectl", "api-resources"), "no complaint")


@pytest.mark.usefixtures("removed")
def test_namespaces_still_delete() -> None:
    ran("kubectl", "create", "namespace", "beanscale-test-passing")
    ran("kubectl", "delete", "namespace", "beanscale-test-passing", "--timeout=100s")
