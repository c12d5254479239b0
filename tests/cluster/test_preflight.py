"""A cluster has one external metrics API: installing a second release fails and names the owner."""

import pytest

from tests.cluster.commands import refused, run
from tests.cluster.release import CHART, Release

pytestmark = pytest.mark.timeout(600)


def test_a_second_release_fails_with_the_owner_and_the_options(release: Release) -> None:
    second = Release(release.namespace, "second")
    said = refused(*second.helm_command("install", CHART))
    assert f"belongs to Helm release {release.name} in namespace {release.namespace}" in said
    assert f"points to Service {release.namespace}/beanscale-server" in said
    assert "keep the other adapter, and don't install beanscale" in said
    assert f"helm uninstall {release.name} -n {release.namespace}" in said
    assert run(*second.helm_command("status")).returncode != 0, "something of it was installed"
