"""The chart as Helm renders it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

Manifest = dict[str, Any]
CHART = Path(__file__).parents[2] / "chart"


@dataclass(frozen=True)
class Objects:
    """Rendered manifests."""

    all: tuple[Manifest, ...]

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self.all)

    def one(self, kind: str, name: str) -> Manifest:
        """The object of that kind and name; fails unless there is exactly one."""
        (found,) = (each for each in self.of(kind) if each["metadata"]["name"] == name)
        return found

    def of(self, kind: str) -> list[Manifest]:
        return [each for each in self.all if each["kind"] == kind]

    def pods(self) -> dict[str, Manifest]:
        """Pods and pod templates, {metadata, spec} by their component."""
        templates = [each["spec"]["template"] for each in self.all if "template" in each.get("spec", {})]
        return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in templates + self.of("Pod")}


class Chart:
    """Runs Helm on a chart with values given as a nested mapping or a file."""

    path = CHART

    def helm(self, *arguments: str, values: Any = None) -> subprocess.CompletedProcess[str]:
        given = ["--values", "-"] if values is not None else []
        return subprocess.run(
            ["helm", *arguments, *given],
            input=json.dumps(values) if values is not None else None,  # JSON quotes each text
            capture_output=True,
            text=True,
            check=False,
        )

    def text(self, values: Any = None, *arguments: str) -> str:
        """All manifests as Helm prints them; fails if Helm refuses."""
        done = self.helm("template", "beanscale", str(self.path), "--namespace=beanscale", *arguments, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def render(self, values: Any = None, *arguments: str) -> Objects:
        manifests = yaml.load_all(self.text(values, *arguments), yaml.CSafeLoader)
        return Objects(tuple(each for each in manifests if each))

    def refusal(self, values: Any, *arguments: str) -> str:
        """What Helm says about values that it must refuse."""
        done = self.helm("template", "beanscale", str(self.path), *arguments, values=values)
        assert done.returncode != 0, "Helm took them"
        return done.stderr

    def notes(self, values: Any = None) -> str:
        done = self.helm(
            "install", "beanscale", str(self.path), "--namespace=beanscale", "--dry-run=client", values=values
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:\n")[2]


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """Find a program, or fail saying how to run these tests: a skipped test would look like a passed one."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.fail(f"{program} isn't on the PATH: run these tests by `scripts/test chart`")
        return path

    return find


@pytest.fixture(scope="session")
def chart(require: Callable[[str], str]) -> Chart:
    require("helm")
    return Chart()


@pytest.fixture(scope="session")
def default(chart: Chart) -> Objects:
    """What `helm install` without any value gives."""
    return chart.render()


@pytest.fixture(scope="session", params=sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.name)
def example(request: pytest.FixtureRequest) -> Path:
    """One of the example values files."""
    return Path(request.param)


@pytest.fixture(scope="session")
def cluster(require: Callable[[str], str]) -> str:
    """`kubectl`, with a cluster to ask."""
    if "KUBECONFIG" not in os.environ:
        pytest.fail("this test asks a real cluster and KUBECONFIG names none: run it by `scripts/test chart`")
    return require("kubectl")


@pytest.fixture(scope="session")
def others_kinds(cluster: str) -> Iterator[None]:
    """CRDs of cert-manager and Prometheus Operator, without their controllers."""
    folder = os.environ.get("KINDS")
    if not folder:
        pytest.fail("this test needs cert-manager's and Prometheus Operator's kinds: run it by `scripts/test chart`")
    kinds = ["--filename", folder]
    subprocess.run([cluster, "apply", "--server-side", "--force-conflicts", *kinds], check=True, capture_output=True)
    subprocess.run([cluster, "wait", "--for=condition=Established", *kinds], check=True, capture_output=True)
    yield
    subprocess.run([cluster, "delete", *kinds], check=True, capture_output=True)


@pytest.fixture
def restricted_namespace(cluster: str) -> Iterator[str]:
    """Refuses pods that aren't restricted and warns of workloads that would make such; with an account `pods`."""
    name = f"restricted-{uuid4().hex[:8]}"
    standard = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
    for command in (
        ["create", "namespace", name],
        ["label", "namespace", name, *standard],
        ["create", "serviceaccount", "pods", "--namespace", name],
    ):
        subprocess.run([cluster, *command], check=True, capture_output=True)
    yield name
    subprocess.run([cluster, "delete", "namespace", name, "--wait=false"], check=True, capture_output=True)
