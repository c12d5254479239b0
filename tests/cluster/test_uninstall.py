"""`helm uninstall` leaves the cluster as if nothing had been there."""

import pytest

from tests.cluster.commands import eventually, ran, raw
from tests.cluster.release import Release, Values

pytestmark = pytest.mark.timeout(300)

NAMES = '{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}'


@pytest.fixture(scope="module")
def names_before(place: Release, values: Values) -> set[str]:
    """Every object's name before a release came, was tested and went."""
    place.uninstall()
    eventually(lambda: not place.read("pods")["items"], "the pods of an earlier release gone", within_s=90)
    before = names(place)
    place.install(values)
    place.helm("test", "--timeout", "90s")
    assert names(place) > before
    place.uninstall()
    return before


def test_uninstall_leaves_nothing(place: Release, names_before: set[str]) -> None:
    eventually(lambda: names(place) <= names_before, "nothing left", within_s=90)


@pytest.mark.usefixtures("names_before")
def test_the_group_is_forgotten() -> None:
    """Discovery is whole: kubectl complains, and fails, about a group that nobody serves any more."""
    groups = eventually(lambda: [group["name"] for group in raw("/apis")["groups"]], "groups")
    assert "external.metrics.k8s.io" not in groups
    ran("kubectl", "api-resources")


@pytest.mark.usefixtures("names_before")
def test_namespaces_still_delete() -> None:
    ran("kubectl", "create", "namespace", "beanscale-test-passing")
    ran("kubectl", "delete", "namespace", "beanscale-test-passing", "--timeout=30s")


def names(place: Release) -> set[str]:
    """KIND NAMESPACE/NAME of all that doesn't belong to another namespace, and no Events, which stay for an hour."""
    kinds = [
        kind for kind in ran("kubectl", "api-resources", "--verbs=list", "--output=name").split() if "event" not in kind
    ]
    listed = ran("kubectl", "get", ",".join(kinds), "--all-namespaces", f"--output=jsonpath={NAMES}")
    ours = {"", "kube-system", place.namespace}
    return {name for name in listed.splitlines() if name.split()[1].partition("/")[0] in ours}
