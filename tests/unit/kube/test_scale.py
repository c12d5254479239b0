"""The resource of a kind is looked up when it is needed, not for each read."""

import json

import pytest

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.kube.scale import ScaleClient
from tests.unit.kube.apiserver import Answer, Apiserver

GROUP = "/apis/shop.example"
SCALE = Answer(body=json.dumps({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3}}).encode())
GONE = Answer(404, json.dumps({"kind": "Status", "code": 404, "message": "not found"}).encode())


def serve_version(apiserver: Apiserver, version: str) -> None:
    group = {"preferredVersion": {"groupVersion": f"shop.example/{version}"}}
    resources = [{"kind": "Till", "name": "tills/scale"}, {"kind": "Till", "name": "tills"}]
    apiserver.answers[GROUP] = Answer(body=json.dumps(group).encode())
    apiserver.answers[f"{GROUP}/{version}"] = Answer(body=json.dumps({"resources": resources}).encode())
    apiserver.answers[f"{GROUP}/{version}/namespaces/shop/tills/one/scale"] = SCALE


def test_a_kind_is_looked_up_again_once_its_version_is_served_no_longer(
    kubernetes: Kubernetes, apiserver: Apiserver
) -> None:
    """A cluster's upgrade may remove a version while beanscale runs."""
    scales = ScaleClient(kubernetes)
    serve_version(apiserver, "v1alpha1")
    for _ in range(2):
        assert scales.read("shop", "shop.example/v1alpha1", "Till", "one").spec_replicas == 3
    assert len(apiserver.asked) == 2 + 2  # the kind once, the scale twice

    apiserver.answers.clear()
    apiserver.answer = GONE
    serve_version(apiserver, "v1")
    with pytest.raises(KubernetesError, match="with 404"):
        scales.read("shop", "shop.example/v1alpha1", "Till", "one")
    scale = scales.read("shop", "shop.example/v1alpha1", "Till", "one")
    assert scale.path == f"{GROUP}/v1/namespaces/shop/tills/one/scale"


def test_a_kind_is_looked_up_once_whatever_version_its_hpas_name(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    """Else each text that an HPA's author writes there would be remembered."""
    scales = ScaleClient(kubernetes)
    serve_version(apiserver, "v1")
    for number in range(5):
        assert scales.read("shop", f"shop.example/v{number}", "Till", "one").spec_replicas == 3
    assert len(apiserver.asked) == 2 + 5
