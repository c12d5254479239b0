"""A beanscale installed by helm: `scripts/test cluster` starts a Kubernetes, builds the images, enters its network."""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import yaml

from tests.browser.conftest import browser, pictures
from tests.cluster.commands import eventually, ran, run
from tests.cluster.release import API_SERVICE, CHART, Release, Values

__all__ = ["browser", "pictures"]  # fixtures

NAMESPACE = "beanscale-test"
MEASURED = pytest.StashKey[list[str]]()

type Measure = Callable[[str, float], None]


@pytest.fixture(scope="session")
def pki() -> Path:
    folder = os.environ.get("BEANSCALE_PKI")
    if not (folder and shutil.which("kubectl") and shutil.which("helm")):
        pytest.fail("run by `scripts/test cluster`: it needs the cluster's network, its keys, kubectl and helm")
    return Path(folder)


@pytest.fixture(scope="session")
def place(pki: Path) -> Iterator[Release]:  # noqa: ARG001 - pki says how to run these tests
    """A namespace that admits restricted pods only, without what an earlier run may have left; gone in the end."""
    release = Release(NAMESPACE)
    release.uninstall()
    ran("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=240s", within_s=270)
    ran("kubectl", "create", "namespace", NAMESPACE)
    ran("kubectl", "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    for each in ("serviceaccount/default", "configmap/kube-root-ca.crt"):
        eventually(lambda: release.read(each), "what every namespace gets")  # noqa: B023 - awaited before it changes
    yield release
    release.uninstall()
    ran("kubectl", "delete", "namespace", NAMESPACE, "--timeout=240s", within_s=270)


@pytest.fixture(scope="session")
def values() -> Values:
    """The chart's own, but scale-down is immediate, so that the number of pods shows the last sync's value.

    Paused jobs count, because tests pause the tube so that no worker takes the jobs that they count.
    """
    rendered = yaml.safe_load(
        ran("helm", "template", CHART, "--show-only", "templates/hello-world/horizontalpodautoscaler.yaml")
    )
    all_at_once = {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
    behavior = rendered["spec"]["behavior"] | {"scaleDown": {"stabilizationWindowSeconds": 0, **all_at_once}}
    return {"helloWorld": {"autoscaling": {"behavior": behavior, "paused": "count"}}}


@pytest.fixture(scope="session")
def names_before(place: Release) -> set[str]:
    """Every object that is there before the first release comes."""
    return place.names()


@pytest.fixture(scope="module")
def release(place: Release, values: Values, names_before: set[str]) -> Release:  # noqa: ARG001 - taken before
    """Installed, and at rest: no job waits, one worker is there."""
    if not place.is_installed:
        place.install(values)
    place.wait_for_pods_wanted(1)
    place.wait_for_pods_ready(1)
    return place


@pytest.fixture(scope="session")
def measure(request: pytest.FixtureRequest) -> Measure:
    """Notes seconds for the end of the run; they depend on the machine, so no test demands the best of them."""
    noted = request.config.stash.setdefault(MEASURED, [])
    return lambda what, seconds: noted.append(f"{seconds:6.1f} s  {what}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if noted := config.stash.get(MEASURED, None):
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(noted))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure goes what a person would look at next, as it is at that moment."""
    report = yield
    if report.failed and shutil.which("kubectl"):
        report.sections += [(" ".join(command), _shown(*command)) for command in LOOKS]
    return report


LOOKS = (
    ("kubectl", "get", "pods,hpa,statefulsets,deployments", "--output=wide"),
    ("kubectl", "events", "--no-headers"),
    ("kubectl", "describe", "hpa"),
    ("kubectl", "get", API_SERVICE, "--output=yaml"),
    ("kubectl", "logs", "--selector=app.kubernetes.io/component=server", "--prefix", "--tail=25"),
    ("kubectl", "logs", "--selector=app.kubernetes.io/component=beanstalkd", "--prefix", "--tail=10"),
    ("helm", "list", "--all-namespaces"),
)


def _shown(program: str, *arguments: str) -> str:
    done = run(program, "--namespace", NAMESPACE, *arguments)
    return "\n".join((done.stdout + done.stderr).splitlines()[-60:])
