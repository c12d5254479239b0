"""`forwardTo`: another external metrics server beside ours."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.conftest import Chart, Manifest, Objects

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ADAPTER = {"service": "adapter", "namespace": "monitoring", "caBundle": PEM}
API_SERVICE = "v1beta1.external.metrics.k8s.io"


def test_the_server_gets_the_upstream_service_and_its_ca(chart: Chart) -> None:
    objects = chart.render({"forwardTo": ADAPTER | {"port": 8443}})
    spec = objects.pods()["server"]["spec"]
    arguments = spec["containers"][0]["args"]
    assert {
        "--forward-to=monitoring/adapter:8443",
        "--forward-ca=/etc/beanscale/forward/ca.crt",
        "--forward-account=beanscale/beanscale-forward",
    } <= set(arguments)
    assert objects.one("ConfigMap", "beanscale-forward")["data"] == {"ca.crt": PEM}
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "forward", "mountPath": "/etc/beanscale/forward", "readOnly": True}
    ]
    assert spec["volumes"] == [{"name": "forward", "configMap": {"name": "beanscale-forward"}}]


def test_a_changed_ca_is_read_without_a_restart(chart: Chart) -> None:
    before, after = (chart.render({"forwardTo": ADAPTER | {"caBundle": PEM * number}}) for number in (1, 2))
    assert before.pods() == after.pods()
    assert before.all != after.all


def test_without_a_service_nothing_is_forwarded(default: Objects) -> None:
    assert not any("forward" in each["metadata"]["name"] for each in default)
    assert not any("--forward" in each for each in default.pods()["server"]["spec"]["containers"][0]["args"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"namespace": "monitoring"}, "forwardTo.service is required"),
        ({"service": "adapter", "caBundle": PEM}, "forwardTo.namespace is required"),
        (
            {"service": "adapter", "namespace": "monitoring"},
            "forwardTo.caBundle is required to verify Service monitoring/adapter",
        ),
        (ADAPTER | {"caBundle": f"{PEM}-----BEGIN PRIVATE KEY-----"}, "forwardTo.caBundle contains a private key"),
        (
            ADAPTER | {"service": "beanscale-server", "namespace": "beanscale"},
            "forwardTo names beanscale's own Service beanscale/beanscale-server, which would forward to itself",
        ),
    ],
)
def test_an_incomplete_configuration_is_rejected_in_one_sentence(chart: Chart, given: Manifest, sentence: str) -> None:
    assert sentence in chart.refusal({"forwardTo": given}, "--namespace=beanscale")


def test_the_notes_show_how_to_switch_over_and_back(chart: Chart) -> None:
    notes = chart.notes({"forwardTo": ADAPTER, "apiService": {"create": False}})
    assert "All other metrics are forwarded to Service monitoring/adapter. To switch over" in notes
    assert notes.count(f"kubectl patch apiservice {API_SERVICE}") == 2
    taken = chart.notes({"forwardTo": ADAPTER})
    assert "after you uninstall it, run `helm upgrade` for the other adapter to restore it" in taken
    assert "kubectl patch" not in taken


@pytest.fixture
def upstream(cluster: str) -> Iterator[str]:
    """An APIService of another release that points to monitoring/adapter, as kube-apiserver keeps it: its `spec`."""
    spec = {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": "monitoring", "name": "adapter", "port": 6443},
    }
    owner = {"meta.helm.sh/release-name": "adapter", "meta.helm.sh/release-namespace": "monitoring"}
    manifest = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": API_SERVICE,
            "annotations": owner,
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
        },
        "spec": spec,
    }
    if kubectl(cluster, "get", "apiservice", API_SERVICE, "--ignore-not-found"):
        pytest.fail(
            f"the cluster has an APIService {API_SERVICE} already: uninstall its release, or scripts/demo --down"
        )
    kubectl(cluster, "create", "--filename=-", given=json.dumps(manifest))
    yield read_spec(cluster)
    kubectl(cluster, "delete", "apiservice", API_SERVICE)
    deadline = time.monotonic() + 60
    while "external.metrics.k8s.io" in kubectl(cluster, "api-versions"):  # else the next kubectl complains of it
        assert time.monotonic() < deadline, "kube-apiserver goes on to name a group without a server"
        time.sleep(0.2)


def kubectl(program: str, *arguments: str, given: str | None = None) -> str:
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_spec(cluster: str) -> str:
    return kubectl(cluster, "get", "apiservice", API_SERVICE, "--output=jsonpath={.spec}")


def planned(chart: Chart, values: Manifest, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server-side dry run of an install."""
    command = ["install", "beanscale", str(chart.path), "--namespace=beanscale", "--dry-run=server", *arguments]
    return chart.helm(*command, values=values)


@pytest.mark.usefixtures("upstream")
def test_a_release_beside_another_adapter_is_rejected_with_the_options(chart: Chart) -> None:
    refused = planned(chart, {})
    assert refused.returncode != 0
    assert "belongs to Helm release adapter in namespace monitoring" in refused.stderr
    keep = "--set apiService.create=false --set forwardTo.namespace=monitoring --set forwardTo.service=adapter"
    assert f"{keep} --set forwardTo.port=6443 --set-file forwardTo.caBundle=CA" in refused.stderr


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        pytest.param({"apiService": {"create": False}}, [], id="switching over later"),
        pytest.param({}, ["--take-ownership"], id="switching over at once"),
    ],
)
def test_forwarding_to_the_registered_adapter_passes_the_preflight(
    chart: Chart, values: Manifest, arguments: list[str]
) -> None:
    done = planned(chart, {"forwardTo": ADAPTER | {"port": 6443}} | values, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("upstream")
def test_forwarding_to_another_service_fails_the_preflight(chart: Chart) -> None:
    assert "points to Service monitoring/adapter" in planned(chart, {"forwardTo": ADAPTER | {"service": "b"}}).stderr


def test_the_commands_of_the_notes_switch_over_and_back(
    chart: Chart, cluster: str, upstream: str, restricted_namespace: str, tmp_path: Any
) -> None:
    """As an administrator would: by copying them into a shell."""
    secret = ["create", "secret", "generic", "beanscale-serving-cert", f"--from-literal=ca.crt={PEM}"]
    kubectl(cluster, *secret, "--namespace", restricted_namespace)
    values = {
        "forwardTo": ADAPTER,
        "apiService": {"create": False},
        "namespaceOverride": restricted_namespace,
    }
    lines = [line.strip() for line in chart.notes(values).splitlines()]
    keep, over, back = (line for line in lines if line.startswith(("kubectl get apiservice", "kubectl patch")))

    def run(*commands: str) -> None:
        subprocess.run(["bash", "-euc", "\n".join(commands)], cwd=tmp_path, check=True, capture_output=True)

    run(keep, over)
    ours = json.loads(read_spec(cluster))
    assert ours["service"] == {"namespace": restricted_namespace, "name": "beanscale-server", "port": 443}
    assert "caBundle" in ours
    assert "insecureSkipTLSVerify" not in ours
    run(back)
    assert read_spec(cluster) == upstream
