"""Standing in front of another external metrics server: its autoscaler goes on undisturbed, there and back again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.kube.certificates.authority import make_authority, make_serving
from tests.cluster.commands import eventually, ran, raw, refused
from tests.cluster.observing import Timeline, constant_requests
from tests.cluster.release import API_SERVICE, CHART, GROUP_VERSION, PATIENCE, TUBE, Release
from tests.cluster.workloads import AT_ONCE, sleeper
from tests.kubernetes.behind_service import endpoint_slice, endpoints

pytestmark = pytest.mark.timeout(900)

NODE, PORT = "172.30.0.2", 6445
"""Where the other server runs: beside the pods, on the node."""
METRIC, VALUE, PODS = "queue-length", "6", 3
SCALED = "scaled-by-the-other"


@dataclass(frozen=True)
class Upstream:
    """The other server, installed as such servers are: a Service, an APIService, an autoscaler that needs it."""

    namespace: str
    ca: Path
    spec: Any
    """Of its APIService."""
    process: subprocess.Popen[bytes]


def apply(*objects: Any) -> None:
    ran("kubectl", "apply", "--filename=-", given=yaml.safe_dump_all(objects))


@contextmanager
def running(certificate: Path, key: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("upstream-adapter")
    assert program, "`scripts/test cluster` builds it"
    kubeconfig = os.environ["KUBECONFIG"]
    command = [
        *(program, f"--bind-address={NODE}", f"--secure-port={PORT}", f"--metric={METRIC}", f"--value={VALUE}"),
        *(f"--{part}-kubeconfig={kubeconfig}" for part in ("lister", "authentication", "authorization")),
        *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"),
    ]
    with subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(60)


def objects(namespace: str, ca_pem: bytes) -> list[Any]:
    service = {"namespace": namespace, "name": "adapter", "port": 443}
    reader = {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}
    api_service = {
        "service": service,
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "caBundle": b64encode(ca_pem).decode(),
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    metric = {"metric": {"name": METRIC}, "target": {"type": "AverageValue", "averageValue": "2"}}
    autoscaler = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SCALED},
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [{"type": "External", "external": metric}],
        "behavior": AT_ONCE,
    }
    return [
        _object("v1", "Service", "adapter", namespace, spec={"ports": [{"name": "https", "port": 443}]}),
        _object("v1", "Endpoints", "adapter", namespace, **endpoints(NODE, PORT)),
        _object("discovery.k8s.io/v1", "EndpointSlice", "adapter", namespace, **endpoint_slice("adapter", NODE, PORT)),
        _object("apiregistration.k8s.io/v1", "APIService", API_SERVICE.partition("/")[2], spec=api_service),
        _object(
            *("rbac.authorization.k8s.io/v1", "ClusterRole", "the-other-reader"),
            rules=[{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}],
        ),
        _object(
            *("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "the-other-reader"),
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "the-other-reader"},
            subjects=[reader],
        ),
        {**sleeper(SCALED), "metadata": {"name": SCALED, "namespace": namespace}},
        _object("autoscaling/v2", "HorizontalPodAutoscaler", SCALED, namespace, spec=autoscaler),
    ]


def _object(version: str, kind: str, name: str, namespace: str | None = None, **rest: Any) -> Any:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **rest.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


@pytest.fixture(scope="module")
def upstream(place: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """It serves, and its autoscaler has the pods that it wants; in the end nothing of it is left."""
    place.uninstall()
    folder = tmp_path_factory.mktemp("upstream")
    authority = make_authority(["svc"], datetime.now(UTC), timedelta(days=90))
    serving = make_serving(authority, [f"adapter.{place.namespace}.svc"], datetime.now(UTC), timedelta(days=30))
    for name, pem in (("ca.crt", authority.pem), ("tls.crt", serving.pem), ("tls.key", serving.key_pem)):
        (folder / name).write_bytes(pem)
    made = objects(place.namespace, authority.pem)
    with running(folder / "tls.crt", folder / "tls.key") as process:
        try:
            apply(*made)
            place.wait(API_SERVICE, "condition=Available")
            place.wait(f"hpa/{SCALED}", f"jsonpath={{.status.desiredReplicas}}={PODS}")
            yield Upstream(place.namespace, folder / "ca.crt", place.read(API_SERVICE)["spec"], process)
        finally:
            place.uninstall()
            ran("kubectl", "delete", "--ignore-not-found", "--filename=-", given=yaml.safe_dump_all(made), within_s=300)


def chosen(upstream: Upstream) -> list[str]:
    """As in the manual."""
    to = f"forwardTo.namespace={upstream.namespace},forwardTo.service=adapter"
    return [
        "--set",
        f"apiService.create=false,helloWorld.autoscaling.paused=count,{to}",
        "--set-file",
        f"forwardTo.caBundle={upstream.ca}",
    ]


def notes(release: Release) -> list[str]:
    """The commands of the NOTES to switch over and back, in their order."""
    said = ran("helm", "get", "notes", release.name, "--namespace", release.namespace)
    return re.findall(r"^  (kubectl (?:get|patch) apiservice .*)$", said, re.MULTILINE)


def test_without_a_choice_the_install_is_rejected_with_the_options(upstream: Upstream) -> None:
    said = refused(*Release(upstream.namespace).helm_command("install", CHART))
    assert f"points to Service {upstream.namespace}/adapter" in said
    assert "keep both: beanscale forwards all other metrics to the other adapter" in said
    assert f"--set forwardTo.namespace={upstream.namespace} --set forwardTo.service=adapter" in said


def test_its_autoscaler_works_during_install_and_uninstall(
    upstream: Upstream, place: Release, pki: Path, tmp_path: Path
) -> None:
    with (
        Timeline(place, f"hpa/{SCALED}", path="{.status.desiredReplicas}") as wanted,
        constant_requests(pki, place.metric_path(METRIC)) as answers,
    ):
        place.helm("install", CHART, *chosen(upstream), "--wait", "--timeout", PATIENCE)
        keep, switch_over, switch_back = notes(place)
        ran("sh", "-c", f"cd {tmp_path} && {keep} && {switch_over}")
        eventually(lambda: place.value(f"tube-{TUBE}") == "0", "our own metrics, through kube-apiserver")
        counted = answers.good
        eventually(lambda: answers.good > counted + 60, "its metric, through us")
        _check_both_are_there(place)
        with place.waiting_jobs(4):
            eventually(lambda: place.value(f"tube-{TUBE}") == "4", "our own go on")
            place.wait_for_pods_wanted(2)
        eventually(lambda: active(place)[0] == "True", "its autoscaler reads it through us")
        ran("sh", "-c", f"cd {tmp_path} && {switch_back}")
        eventually(lambda: raw(place.metric_path(f"tube-{TUBE}"))["items"] == [], "the other answers")
        assert place.read(API_SERVICE)["spec"] == upstream.spec
        counted = answers.good
        eventually(lambda: answers.good > counted + 60, "its metric, from itself")
        place.uninstall()
    assert answers.failures == []
    assert wanted.said() == [str(PODS)]


def _check_both_are_there(release: Release) -> None:
    """In discovery, and under their own names."""
    eventually(lambda: {METRIC, "beanstalkd_tube_jobs", f"tube-{TUBE}"} <= names(), "the metrics of both are listed")
    (item,) = raw(release.metric_path(METRIC))["items"]
    assert (item["metricLabels"], item["value"]) == ({"queue": "mail"}, VALUE)
    selected = raw(f"{release.metric_path(METRIC)}?labelSelector=queue%3Dother")
    assert selected["items"] == []


def names() -> set[str]:
    return {resource["name"] for resource in raw(GROUP_VERSION)["resources"]}


def active(release: Release) -> tuple[str, str]:
    conditions = release.read(f"hpa/{SCALED}")["status"]["conditions"]
    (found,) = (each for each in conditions if each["type"] == "ScalingActive")
    return found["status"], found["message"]


def test_its_failure_names_it_and_affects_no_metric_of_beanscale(
    upstream: Upstream, place: Release, tmp_path: Path
) -> None:
    place.helm("install", CHART, *chosen(upstream), "--wait", "--timeout", PATIENCE)
    keep, switch_over, switch_back = notes(place)
    ran("sh", "-c", f"cd {tmp_path} && {keep} && {switch_over}")
    eventually(lambda: place.value(METRIC) == VALUE, "its metric, through us")
    eventually(
        lambda: all(METRIC in listed for listed in place.asked_of_each(GROUP_VERSION)), "both replicas know its metric"
    )
    upstream.process.send_signal(signal.SIGSTOP)  # it hangs: the worst way to be gone
    try:
        began = time.monotonic()
        said = refused("kubectl", "get", "--raw", place.metric_path(METRIC))
        assert time.monotonic() - began < 30, "kube-apiserver would wait for a minute"
        assert "ServiceUnavailable" in said
        assert f"{upstream.namespace}/adapter" in said
        assert place.value(f"tube-{TUBE}") == "0"
        assert place.is_available
        assert METRIC in names()
    finally:
        upstream.process.send_signal(signal.SIGCONT)
    eventually(lambda: place.value(METRIC) == VALUE, "it is back")
    ran("sh", "-c", f"cd {tmp_path} && {switch_back}")
