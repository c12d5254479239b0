"""Every pod passes the restricted Pod Security Standard."""

import json
import subprocess
from pathlib import Path

from tests.chart.conftest import Chart, Manifest, Objects

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def pods(chart: Chart, example: Path) -> dict[str, Manifest]:
    """The example's pods; without the host network, which no restricted namespace takes, nor a claimed volume."""
    without = {"server": {"hostNetwork": {"enabled": False}}, "beanstalkd": {"persistence": {"enabled": False}}}
    return chart.render(without, f"--values={example}").pods()


def test_every_pod_of_every_example_is_restricted(chart: Chart, example: Path) -> None:
    for pod in pods(chart, example).values():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(set(volume) - {"name"} <= RESTRICTED_VOLUMES for volume in spec.get("volumes", []))
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_no_pod_reads_service_variables_as_settings(default: Objects) -> None:
    """A Service named beanscale-serve would set BEANSCALE_SERVE_PORT."""
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in default.pods().values())


def test_a_namespace_that_enforces_it_accepts_every_pod(
    chart: Chart, example: Path, cluster: str, restricted_namespace: str
) -> None:
    for name, pod in pods(chart, example).items():
        # Account and priority class are looked up by the API server; that they exist is another test's business.
        spec = {key: value for key, value in pod["spec"].items() if key != "priorityClassName"}
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": spec | {"serviceAccountName": "pods"},
        }
        done = subprocess.run(
            [cluster, "create", "--namespace", restricted_namespace, "--dry-run=server", "--filename=-"],
            input=json.dumps(manifest),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
