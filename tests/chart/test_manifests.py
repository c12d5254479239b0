"""Every rendered manifest holds against a running API server's schemas, and against the server itself."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import Chart, Manifest

API_VERSIONS = [
    "api/v1",
    "apis/admissionregistration.k8s.io/v1",
    "apis/apps/v1",
    "apis/autoscaling/v2",
    "apis/networking.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/apiregistration.k8s.io/v1",
    "apis/cert-manager.io/v1",
    "apis/monitoring.coreos.com/v1",
]


def strict(schema: Any) -> Any:
    """An OpenAPI v3 schema as a JSON schema whose objects take no fields that they don't list."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    done = {key: strict(value) for key, value in schema.items()}
    if isinstance(done.get("$ref"), str):
        done["$ref"] = done["$ref"].replace("#/components/schemas/", "#/definitions/")
    if isinstance(done.get("properties"), dict) and "additionalProperties" not in done:
        done["additionalProperties"] = False
    return done


def file_name(kind: dict[str, str]) -> str:
    """Where kubeconform looks: deployment-apps-v1.json, service-v1.json."""
    group = f"-{kind['group'].partition('.')[0]}" if kind["group"] else ""
    return f"{kind['kind'].lower()}{group}-{kind['version']}.json"


def write_schemas(document: dict[str, Any], directory: Path) -> None:
    definitions = strict(document["components"]["schemas"])
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", [])[:1]:
            (directory / file_name(kind)).write_text(
                json.dumps({"$ref": f"#/definitions/{name}", "definitions": definitions})
            )


@pytest.fixture(scope="session")
def schemas(cluster: str, others_kinds: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The API server's own schemas: there is no network to get others from, and none could be truer."""
    directory = tmp_path_factory.mktemp("schemas")
    for path in API_VERSIONS:
        write_schemas(published(cluster, f"/openapi/v3/{path}"), directory)
    return directory


def published(cluster: str, path: str) -> Any:
    """A document of the API server; that of new kinds comes a moment after them."""
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run([cluster, "get", "--raw", path], capture_output=True, text=True, check=False)
        if done.returncode == 0 and "schemas" in done.stdout:
            return json.loads(done.stdout)
        assert time.monotonic() < deadline, f"{path} isn't published: {done.stdout[:300]}{done.stderr}"
        time.sleep(0.2)


@pytest.fixture
def conform(require: Callable[[str], str], schemas: Path) -> Callable[[str], tuple[int, Any]]:
    """Run kubeconform: (exit status, its summary)."""
    location = str(schemas / "{{.ResourceKind}}{{.KindSuffix}}.json")

    def run(manifests: str) -> tuple[int, Any]:
        command = [require("kubeconform"), "-strict", "-output", "json", "-summary", "-schema-location", location]
        done = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    return run


def test_every_manifest_of_every_example_conforms(
    conform: Callable[[str], tuple[int, Any]], chart: Chart, example: Path
) -> None:
    manifests = chart.text(None, f"--values={example}")
    status, report = conform(manifests)
    assert (status, report["resources"]) == (0, [])
    assert report["summary"]["valid"] == manifests.count("\nkind: ")


def test_a_misspelled_field_does_not_conform(conform: Callable[[str], tuple[int, Any]], chart: Chart) -> None:
    """The proof that the test above can fail."""
    status, report = conform(chart.text().replace("readinessProbe:", "readynessProbe:"))
    assert status == 1
    assert "readynessProbe" in report["resources"][0]["msg"]


@pytest.mark.usefixtures("others_kinds")
def test_the_api_server_accepts_every_object_without_a_warning(
    chart: Chart, example: Path, cluster: str, restricted_namespace: str
) -> None:
    """What no schema knows: names, ranges, fields that don't fit together. Pods need their account: another test's."""
    values = {"namespaceOverride": restricted_namespace, "server": {"hostNetwork": {"enabled": False}}}
    objects = [each for each in chart.render(values, f"--values={example}") if each["kind"] != "Pod"]
    for each in objects:
        # other namespaces, where the user's workloads are, aren't there
        if each["metadata"].get("namespace") not in {None, "kube-system"}:
            each["metadata"]["namespace"] = restricted_namespace
    assert_taken(cluster, objects)


def assert_taken(cluster: str, objects: list[Manifest]) -> None:
    """The API server takes the objects, in a dry run, and warns of none."""
    command = [cluster, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-"]
    done = subprocess.run(
        command,
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(objects)


@pytest.mark.parametrize(
    ("release", "namespace"), [("1e3", "1234"), ("on", "0x1f"), ("null", "012"), ("r" * 53, "n" * 63)]
)
def test_the_api_server_takes_objects_of_any_name(chart: Chart, cluster: str, release: str, namespace: str) -> None:
    subprocess.run([cluster, "create", "namespace", namespace], check=True, capture_output=True)
    try:
        done = chart.helm("template", release, str(chart.path), f"--namespace={namespace}")
        assert done.returncode == 0, done.stderr
        objects = [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each and each["kind"] != "Pod"]
        assert_taken(cluster, objects)
    finally:
        subprocess.run([cluster, "delete", "namespace", namespace, "--wait=false"], check=True, capture_output=True)
