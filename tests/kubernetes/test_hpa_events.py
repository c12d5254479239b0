"""An HPA's Events as kube-apiserver has them: beanscale's and client-go's, in either API, and only for who may read."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import greenstalk
import pytest
import yaml

from app.explain.events import list_events
from app.hpa.autoscaler import Autoscaler, parse_hpa
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from app.kube.events import ObjectReference, create_event
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.attackers import Authority
from tests.kubernetes.cluster_objects import Patient, eventually, kubernetes, namespace
from tests.kubernetes.conftest import serving
from tests.kubernetes.people import RBAC, cluster_ca

__all__ = ["cluster_ca", "kubernetes", "namespace"]

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def autoscaler(kubernetes: Kubernetes, namespace: str) -> Iterator[Autoscaler]:
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    target = {"type": "AverageValue", "averageValue": "2"}
    annotations = {"beanscale/scale-to-zero": "5m"}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"},
        "maxReplicas": 3,
        "metrics": [{"type": "External", "external": {"metric": {"name": "tube-orders"}, "target": target}}],
    }
    body = {"metadata": {"name": "orders", "annotations": annotations}, "spec": spec}
    created = kubernetes.request("POST", path, body=body)
    yield parse_hpa(created)
    kubernetes.request("DELETE", f"{path}/orders")


def report(kubernetes: Kubernetes, of: Autoscaler, reason: str, message: str = "x", *, uid: str = "") -> None:
    """As beanscale does."""
    about = ObjectReference("autoscaling/v2", "HorizontalPodAutoscaler", of.namespace, of.name, uid or of.uid)
    create_event(kubernetes, about, "Normal", reason, message, NOW - timedelta(seconds=10), uuid.uuid4().hex)


def post(kubernetes: Kubernetes, of: Autoscaler, **event: Any) -> None:
    """Create an Event of the API group events.k8s.io, as client-go's newer recorder does."""
    body = {
        "metadata": {"name": f"orders.{uuid.uuid4().hex}", "namespace": of.namespace},
        "regarding": {"kind": "HorizontalPodAutoscaler", "namespace": of.namespace, "name": of.name, "uid": of.uid},
        "reportingController": "horizontal-pod-autoscaler",
        "reportingInstance": "kcm",
        "action": "Scale",
        "type": "Normal",
    }
    kubernetes.request("POST", f"/apis/events.k8s.io/v1/namespaces/{of.namespace}/events", body=body | event)


def read(kubernetes: Kubernetes, of: Autoscaler) -> list[str]:
    known = list_events(kubernetes, of)
    assert not known.error
    # The HPA controller reports that this HPA has no workload.
    return [each.reason for each in known.events if each.reason != "FailedGetScale"]


def test_the_events_of_this_autoscaler_are_read_newest_first(kubernetes: Kubernetes, autoscaler: Autoscaler) -> None:
    report(kubernetes, autoscaler, "Scaled", "Scaled Deployment/orders from 1 to 3: tube-orders is 6")
    report(kubernetes, autoscaler, "OfAnEarlierOne", uid=str(uuid.uuid4()))
    post(kubernetes, autoscaler, reason="Newer", note="n", eventTime=f"{NOW.isoformat()[:19]}.000000Z")
    known = [each for each in list_events(kubernetes, autoscaler).events if each.reason != "FailedGetScale"]
    assert [each.reason for each in known] == ["Newer", "Scaled"]
    newer, scaled = known
    assert (newer.message, newer.component, newer.at_s) == ("n", "horizontal-pod-autoscaler", NOW.timestamp())
    assert scaled.is_scaling
    assert (scaled.message, scaled.component) == ("Scaled Deployment/orders from 1 to 3: tube-orders is 6", "beanscale")
    assert scaled.at_s == NOW.timestamp() - 10


def test_events_of_several_pages_are_read(kubernetes: Kubernetes, autoscaler: Autoscaler) -> None:
    for number in range(510):
        post(kubernetes, autoscaler, reason=f"R{number}", eventTime=f"{NOW.isoformat()[:19]}.{number:06}Z")
    assert read(kubernetes, autoscaler)[:2] == ["R509", "R508"]


def test_times_that_no_clock_shows_hide_no_event(kubernetes: Kubernetes, autoscaler: Autoscaler) -> None:
    """Anyone who may create Events chooses their times."""
    post(kubernetes, autoscaler, reason="Future", eventTime="9999-12-31T23:59:59.000000Z")
    post(kubernetes, autoscaler, reason="Past", eventTime="0000-01-01T00:00:00.000000Z")
    report(kubernetes, autoscaler, "Scaled")
    assert set(read(kubernetes, autoscaler)) == {"Future", "Past", "Scaled"}
    assert all(abs(each.at_s - NOW.timestamp()) < 600 for each in list_events(kubernetes, autoscaler).events)


@pytest.mark.parametrize("may_list", [False, True])
def test_who_may_list_events_reads_them(
    kubernetes: Kubernetes, autoscaler: Autoscaler, cluster_ca: Authority, tmp_path: Path, may_list: bool
) -> None:
    user = f"u{uuid.uuid4().hex[:8]}"
    if may_list:
        place = f"{RBAC}/namespaces/{autoscaler.namespace}"
        rule = {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}
        kubernetes.request("POST", f"{place}/roles", body={"metadata": {"name": user}, "rules": [rule]})
        binds = {"kind": "Role", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": user}, "roleRef": binds, "subjects": [subject]}
        kubernetes.request("POST", f"{place}/rolebindings", body=binding)
    report(kubernetes, autoscaler, "Scaled")
    certificate, key = cluster_ca.issue(user)
    configuration = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    for each in configuration["users"]:
        each["user"] = {"client-certificate": str(certificate), "client-key": str(key)}
    (tmp_path / "config").write_text(yaml.safe_dump(configuration))
    known = list_events(Patient(find_credentials(tmp_path / "config", None)), autoscaler)
    sentence = (
        f"its Events can't be read: this account must be allowed to list events in namespace {autoscaler.namespace}"
    )
    assert known.error == ("" if may_list else sentence)
    assert ("Scaled" in {each.reason for each in known.events}) is may_list


def test_a_change_that_failed_is_in_the_explanation(
    kubernetes: Kubernetes, autoscaler: Autoscaler, source: Beanstalkd, pki: Path
) -> None:
    """Its Deployment doesn't exist."""
    place = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{autoscaler.namespace}/tube-orders"
    admin = pki / "admin.crt", pki / "admin.key"
    options = "--beanstalkd", f"eu={source.host}:{source.port}"
    with greenstalk.Client((source.host, source.port), use="orders") as jobs:
        job = jobs.put("x")
    with serving(*options, "--scaler") as server, server.client(admin) as client:

        def explained() -> dict[str, Any]:
            scaling: dict[str, Any] = client.get(place, params={"explain": "true"}).json()["scaling"]
            return scaling

        eventually(lambda: bool(explained()["failures"]))
        (failure,) = explained()["failures"]
        assert (failure["autoscaler"], failure["reason"]) == ("orders", "not_found")
        assert failure["sentence"].endswith("correct scaleTargetRef, or delete the HPA")
        assert explained()["enabled"]
    assert "NotScaled" in read(kubernetes, autoscaler)
    with serving(*options) as server, server.client(admin) as client:
        assert client.get(place, params={"explain": "true"}).json()["scaling"] == {"enabled": False, "failures": []}
    with greenstalk.Client((source.host, source.port)) as jobs:
        jobs.delete(job)  # other tests list the tubes
