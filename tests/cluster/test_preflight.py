"""One server for external metrics in a cluster: a second release is told whose it is."""

import pytest

from tests.cluster.commands import refused, run
from tests.cluster.release import CHART, Release

pytestmark = pytest.mark.timeout(600)


def test_a_second_release_is_refused_by_the_owners_name_and_with_the_choices(release: Release) -> None:
    second = Release(release.namespace, "second")
    said = refused(*second.helm_command("install", CHART))
    assert f"belongs to the Helm release {release.name} in namespace {release.namespace}" in said
    assert f"points to the Service {release.namespace}/beanscale-server" in said
    assert "keep the other, and don't install beanscale here" in said
    assert f"helm uninstall {release.name} -n {release.namespace}" in said
    assert run(*second.helm_command("status")).returncode != 0, "something of it was installed"
