"""What the scaler reads and writes, by a real kube-apiserver: HPAs, scales and Events."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app import clock
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.kube.events import create_event
from app.kube.scale import ScaleClient
from app.metrics.rules import Rules
from app.scaler.hpas import HpaWatcher, read_hpa
from app.scaler.scaler import Scaler
from app.settings import Server
from tests.kubernetes.cluster_objects import MERGE, eventually, kubernetes, namespace
from tests.unit.hpa.hpas import external

__all__ = ["kubernetes", "namespace"]


@pytest.fixture(scope="module", params=["Deployment", "StatefulSet", "ReplicaSet"])
def workload(request: pytest.FixtureRequest, kubernetes: Kubernetes, namespace: str) -> Iterator[tuple[str, str]]:
    """A workload without pods: its kind and path."""
    labels = {"app": "idle"}
    containers = [{"name": "main", "image": "none:1"}]
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers, "nodeName": "none"}},
    }
    path = f"/apis/apps/v1/namespaces/{namespace}/{request.param.lower()}s"
    kubernetes.request("POST", path, body={"metadata": {"name": "idle"}, "spec": spec})
    yield request.param, f"{path}/idle"
    kubernetes.request("DELETE", f"{path}/idle")


def test_a_scale_is_changed_only_as_it_was_read(
    kubernetes: Kubernetes, namespace: str, workload: tuple[str, str]
) -> None:
    kind, path = workload
    scales = ScaleClient(kubernetes)
    read = scales.read(namespace, "apps/v1", kind, "idle")
    assert read.spec_replicas == 0
    kubernetes.request("PATCH", path, body={"spec": {"minReadySeconds": 1}}, content_type=MERGE)
    with pytest.raises(KubernetesError) as caught:
        scales.change(read, 2)
    assert caught.value.status == 409

    def changed() -> bool:
        try:
            return scales.change(scales.read(namespace, "apps/v1", kind, "idle"), 2).spec_replicas == 2
        except KubernetesError:  # the controller of the workload writes its status at the same time
            return False

    eventually(changed)
    assert kubernetes.request("GET", path)["spec"]["replicas"] == 2


@pytest.mark.parametrize("version", ["apps/v1beta1", "apps/none"])
def test_the_group_decides_whichever_version_the_hpa_names(
    kubernetes: Kubernetes, namespace: str, workload: tuple[str, str], version: str
) -> None:
    """The HPA controller ignores the version, too, so old manifests still work."""
    kind, path = workload
    assert ScaleClient(kubernetes).read(namespace, version, kind, "idle").path == f"{path}/scale"


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("apps/v1", "Gadget"),
        ("example.com/v1", "Deployment"),
        ("v1", "Pod"),
        ("", "Deployment"),
        ("../api/v1", "Deployment"),
        ("apps/v1?watch=true/v1", "Deployment"),
    ],
)
def test_a_kind_that_has_no_scale(kubernetes: Kubernetes, namespace: str, version: str, kind: str) -> None:
    with pytest.raises(KubernetesError) as caught:
        ScaleClient(kubernetes).read(namespace, version, kind, "idle")
    assert caught.value.status == 404


def test_annotated_hpas_are_followed(kubernetes: Kubernetes, namespace: str) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [external(averageValue="2")]}

    def create(name: str, annotations: dict[str, str]) -> None:
        kubernetes.request("POST", path, body={"metadata": {"name": name, "annotations": annotations}, "spec": spec})

    def annotate(name: str, value: str | None) -> None:
        body = {"metadata": {"annotations": {"beanscale/immediate": value}}}
        kubernetes.request("PATCH", f"{path}/{name}", body=body, content_type=MERGE)

    create("before", {"beanscale/immediate": "true"})
    create("without", {})
    watcher = HpaWatcher()
    watcher.start(kubernetes)

    def known() -> dict[str, bool]:
        return {
            hpa.reference.name: hpa.autoscaler.options.immediate
            for hpa in watcher.current.values()
            if hpa.reference.namespace == namespace
        }

    eventually(lambda: known() == {"before": True})
    assert watcher.error is None
    annotate("without", "true")
    eventually(lambda: known() == {"before": True, "without": True})
    annotate("without", "maybe")
    eventually(lambda: known() == {"before": True, "without": False})
    annotate("before", None)
    kubernetes.request("DELETE", f"{path}/without")
    eventually(lambda: known() == {})


def test_replicas_that_report_the_same_create_one_event(kubernetes: Kubernetes, namespace: str) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
    annotations = {"beanscale/immediate": "true"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [external(averageValue="2")]}
    hpa = read_hpa(
        kubernetes.request(
            "POST", path, body={"metadata": {"name": "h" * 253, "annotations": annotations}, "spec": spec}
        )
    )
    assert hpa is not None
    for message, key in (("first", "a"), ("the other replica's", "a"), ("x" * 2000, "b")):
        create_event(kubernetes, hpa.reference, "Warning", "NotScaled", message, datetime.now(UTC), key)
    query = {"fieldSelector": f"involvedObject.uid={hpa.reference.uid},source=beanscale"}
    events = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/events", query=query)["items"]
    assert sorted(len(event["message"]) for event in events) == [len("first"), 1024]
    assert {event["reportingComponent"] for event in events} == {"beanscale"}


def test_what_keeps_workloads_from_being_scaled_is_a_metric_while_it_lasts(
    kubernetes: Kubernetes, namespace: str
) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [external(averageValue="2")]}
    for name in ("a", "b"):
        annotations = {"beanscale/immediate": "maybe"}
        kubernetes.request("POST", path, body={"metadata": {"name": name, "annotations": annotations}, "spec": spec})

    def annotate(name: str, value: str | None) -> None:
        body = {"metadata": {"annotations": {"beanscale/immediate": value}}}
        kubernetes.request("PATCH", f"{path}/{name}", body=body, content_type=MERGE)

    def known() -> set[str]:
        references = [hpa.reference for hpa in scaler.hpas.current.values()]
        return {each.name for each in references if each.namespace == namespace}

    def rejected() -> float:
        """Evaluate once. HPAs of other namespaces, which an interrupted test may have left, count too."""
        asyncio.run(scaler.evaluate_all())
        (found,) = (each for each in scaler.collect() if each.name == "beanscale_scaler_rejected")
        return {sample.labels["reason"]: sample.value for sample in found.samples}["invalid_annotation"]

    poller = Poller([Server("none", "127.0.0.1", 9)], clock.now, Demand())
    scaler = Scaler(kubernetes, poller, Rules(), max_age_s=15, clock=clock.now)
    scaler.hpas.start(kubernetes)
    eventually(lambda: known() >= {"a", "b"})
    both = rejected()
    annotate("a", "false")
    eventually(lambda: "a" not in known())
    assert rejected() == both - 1
    kubernetes.request("DELETE", f"{path}/b")
    eventually(lambda: "b" not in known())
    assert rejected() == both - 2
