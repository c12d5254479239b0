"""A cluster in words: what kube-apiserver answers about one autoscaler, over real TLS."""

import json
from typing import Any

from tests.unit.explain.cluster import DEPLOYMENT, METRICS, deployment, listed
from tests.unit.explain.explanations import explanation, item
from tests.unit.explain.explanations import tube as told_tube
from tests.unit.hpa.hpas import Json, condition, hpa
from tests.unit.kube.apiserver import Answer, Apiserver

EVENTS = (
    "/api/v1/namespaces/shop/events?fieldSelector=involvedObject.kind%3DHorizontalPodAutoscaler"
    "%2CinvolvedObject.name%3Dorders%2CinvolvedObject.uid%3Duid-of-orders&limit=500"
)
HPAS = "/apis/autoscaling/v2/horizontalpodautoscalers?limit=500"
LIMITED = condition("ScalingLimited", "TooManyReplicas", "True", "the desired replica count is more than the maximum")
CONDITIONS = [condition("AbleToScale", "ReadyForNewScale"), condition("ScalingActive", "ValidMetricFound"), LIMITED]
PROMPT = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}}


class Cluster:
    """What it answers can be changed while pages are open."""

    def __init__(self, apiserver: Apiserver) -> None:
        self.scaling_enabled = True
        self._answers = apiserver.answers
        apiserver.answer = Answer(404, b'{"kind":"Status","reason":"NotFound","message":"no such path"}')

    def says(self, path: str, data: object) -> None:
        self._answers[path] = Answer(body=json.dumps(data).encode())

    def fails(self, path: str) -> None:
        self._answers[path] = Answer(503, b'{"kind":"Status","reason":"ServiceUnavailable","message":"etcd is down"}')

    def forbids(self, path: str) -> None:
        self._answers[path] = Answer(403, b'{"kind":"Status","code":403,"reason":"Forbidden","message":"no"}')

    def has_pods(self, pods: int, jobs: int, *metrics: Json, **fields: Any) -> None:
        """Of Deployment/orders, where one pod is for two of the jobs in the tube orders, unless `metrics` differ.

        `fields`: more of its HPA.
        """
        usual = {"conditions": CONDITIONS, "current": pods, "desired": pods, "behavior": PROMPT}
        self.says(HPAS, listed(hpa(*metrics, **(usual | fields))))
        self.says(DEPLOYMENT, deployment(pods, pods, pods))
        counted = explanation(
            tubes=[told_tube(ready=jobs, reserved=0)],
            items=[item(str(jobs), f"{jobs} + 0")],
            scaling={"enabled": self.scaling_enabled},
        )
        self.says(f"{METRICS}/tube-orders?explain=true", counted)

    def reported(self, *events: Json) -> None:
        """Events of the HPA."""
        self.says(EVENTS, {"items": list(events)})
