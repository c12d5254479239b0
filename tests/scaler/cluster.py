"""The cluster around a scaler: its permissions, its API, and objects to scale."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from app.kube.certificates.controller import CertificateTargets
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from tests.kubernetes.behind_service import service_in_front
from tests.kubernetes.conftest import Beanscale, serving

type Json = dict[str, Any]

MERGE = "application/merge-patch+json"
SYNC_S = 15.0
"""The sync period of this cluster's HPA controller."""
HPAS = "/apis/autoscaling/v2"
DEPLOYMENTS = "/apis/apps/v1"
FLEETS = "/apis/scaler.test/v1"
"""A custom resource with a scale subresource: a target without pods, because hundreds would only load the machine.

The HPA controller computes an average by the scale's own status.replicas, so no decision depends on a pod.
"""
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = "beanscale"
SCALER = "beanscale/scale"
"""The scaler's name in managedFields."""
PROMPT = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]},
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    },
}
"""The chart's `behavior: prompt`, without its short window."""
CPU: Json = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}
"""A metric of another server, which isn't installed."""
_REPLICAS = {"type": "integer", "minimum": 0}
_SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"replicas": _REPLICAS}},
        "status": {"type": "object", "properties": {"replicas": _REPLICAS, "selector": {"type": "string"}}},
    },
}
_FLEET: Json = {
    "metadata": {"name": "fleets.scaler.test"},
    "spec": {
        "group": "scaler.test",
        "scope": "Namespaced",
        "names": {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": _SCHEMA},
                "subresources": {
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector",
                    }
                },
            }
        ],
    },
}


def external(name: str, target: str = "2", kind: str = "AverageValue") -> Json:
    """An external metric of an HPA."""
    key = kind[:1].lower() + kind[1:]
    return {"type": "External", "external": {"metric": {"name": name}, "target": {"type": kind, key: target}}}


@dataclass(frozen=True)
class Cluster:
    """A namespace in which the account may do what the chart allows it."""

    kubernetes: Kubernetes
    namespace: str
    kubeconfig: Path
    """Of the account."""

    def path(self, api: str, resource: str, name: str = "") -> str:
        return f"{api}/namespaces/{self.namespace}/{resource}{name and '/'}{name}"

    def create(self, api: str, resource: str, name: str, **content: Any) -> None:
        metadata = {"name": name} | content.pop("metadata", {})
        self.kubernetes.request("POST", self.path(api, resource), body={"metadata": metadata, **content})

    def read(self, api: str, resource: str, name: str = "") -> Json:
        return self.kubernetes.request("GET", self.path(api, resource, name))

    def patch(self, api: str, resource: str, name: str, **content: Any) -> None:
        self.kubernetes.request("PATCH", self.path(api, resource, name), body=content, content_type=MERGE)

    def delete(self, api: str, resource: str, name: str) -> None:
        with suppress(KubernetesError):
            self.kubernetes.request("DELETE", self.path(api, resource, name))

    def fleet(self, name: str, replicas: int = 1) -> None:
        """Create a fleet that has as many pods as it should have."""
        status = {"replicas": replicas, "selector": f"fleet={name}"}
        self.create(
            FLEETS,
            "fleets",
            name,
            apiVersion="scaler.test/v1",
            kind="Fleet",
            spec={"replicas": replicas},
            status=status,
        )

    def deployment(self, name: str, replicas: int = 1, image: str = "localhost/pause:1", **pod: Any) -> None:
        """Create a Deployment."""
        labels = {"app": name}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": image}], **pod}
        template = {"metadata": {"labels": labels}, "spec": spec}
        content = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        self.create(DEPLOYMENTS, "deployments", name, spec=content)

    def hpa(
        self,
        name: str,
        *metrics: Json,
        target: str | None = None,
        kind: str = "Fleet",
        minimum: int = 1,
        maximum: int = 10,
        behavior: Json | None = PROMPT,
        **annotations: str,
    ) -> None:
        """Create an HPA for the workload of the same name; `scale_to_zero="5m"` is an annotation."""
        group = {"Fleet": "scaler.test/v1", "Deployment": "apps/v1"}[kind]
        spec: Json = {
            "scaleTargetRef": {"apiVersion": group, "kind": kind, "name": target or name},
            "minReplicas": minimum,
            "maxReplicas": maximum,
            "metrics": list(metrics),
        }
        if behavior is not None:
            spec["behavior"] = behavior
        noted = {f"beanscale/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.create(HPAS, "horizontalpodautoscalers", name, metadata={"annotations": noted}, spec=spec)

    def annotate(self, name: str, **annotations: str | None) -> None:
        noted = {f"beanscale/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.patch(HPAS, "horizontalpodautoscalers", name, metadata={"annotations": noted})

    def replicas(self, name: str, api: str = FLEETS, resource: str = "fleets") -> int:
        return int(self.read(api, resource, name)["spec"].get("replicas", 0))

    def scale(self, name: str, replicas: int) -> None:
        """Scale a fleet as a person does."""
        self.patch(FLEETS, "fleets", name, spec={"replicas": replicas}, status={"replicas": replicas})

    def allow(self, *names: str, resource: str = "fleets", group: str = "scaler.test") -> None:
        """Grant what the chart grants for an entry: its target's scale, by name, and Events."""
        scale = {"apiGroups": [group], "resources": [f"{resource}/scale"], "resourceNames": names}
        events = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}
        rules = [scale | {"verbs": ["get", "patch"]}, events]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"{resource}-{names[0]}"}
        self.create(RBAC, "roles", role["name"], rules=rules)
        subject = {"kind": "ServiceAccount", "namespace": self.namespace, "name": ACCOUNT}
        self.create(RBAC, "rolebindings", role["name"], roleRef=role, subjects=[subject])

    def events(self, name: str, reason: str = "") -> list[Json]:
        """The Events of beanscale about an HPA, oldest first."""
        query = {"fieldSelector": f"involvedObject.name={name},involvedObject.kind=HorizontalPodAutoscaler"}
        found = self.kubernetes.request("GET", self.path("/api/v1", "events"), query=query)["items"]
        ours = (each for each in found if each["source"].get("component") == "beanscale")
        return sorted(
            (each for each in ours if reason in {"", each["reason"]}),
            key=lambda each: each["metadata"]["creationTimestamp"],
        )

    @contextmanager
    def server(
        self, beanstalkd: str, *options: str, kubeconfig: Path | None = None, front: bool = True
    ) -> Iterator[Beanscale]:
        """Run a server with a scaler; with `front`, it is the one that kube-apiserver reads metrics from."""
        given = (
            "--bind",
            "0.0.0.0",  # noqa: S104 - in the cluster's network
            "--beanstalkd",
            f"eu={beanstalkd}",
            "--scaler",
            *options,
        )
        with ExitStack() as stack:
            started = stack.enter_context(serving(*given, "--kubeconfig", str(kubeconfig or self.kubeconfig)))
            if front:
                secret, service = (ObjectName(self.namespace, name) for name in ("unused", "beanscale"))
                registration = CertificateTargets(self.kubernetes, secret, API_SERVICE, service)
                stack.enter_context(service_in_front(registration, started.port))
            yield started


API_SERVICE = "v1beta1.external.metrics.k8s.io"


@contextmanager
def cluster(kubernetes: Kubernetes, namespace: str, folder: Path) -> Iterator[Cluster]:
    """Register the API, and give an account the permissions of the chart's server."""
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": ACCOUNT}
    controller = {"kind": "ServiceAccount", "namespace": "kube-system", "name": "horizontal-pod-autoscaler"}
    name, group = f"{namespace}-beanscale", {"apiGroup": "rbac.authorization.k8s.io"}
    watched = {
        "apiGroups": ["autoscaling"],
        "resources": ["horizontalpodautoscalers"],
        "verbs": ["get", "list", "watch"],
    }
    metrics = {"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}
    api = {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,  # its own certificate is the subject of other tests
        "service": {"namespace": namespace, "name": "beanscale", "port": 443},
    }

    def binding(path: str, kind: str, role: str, who: Json, suffix: str) -> tuple[str, Json]:
        content = {"roleRef": {**group, "kind": kind, "name": role}, "subjects": [who]}
        return f"{RBAC}/{path}", {"metadata": {"name": f"{name}-{suffix}"}, **content}

    auth = "extension-apiserver-authentication-reader"
    made: list[tuple[str, Json]] = [
        (f"{RBAC}/clusterroles", {"metadata": {"name": f"{name}-scaler"}, "rules": [watched]}),
        (f"{RBAC}/clusterroles", {"metadata": {"name": f"{name}-metrics"}, "rules": [metrics]}),
        binding("clusterrolebindings", "ClusterRole", f"{name}-scaler", subject, "scaler"),
        binding("clusterrolebindings", "ClusterRole", f"{name}-metrics", controller, "metrics"),
        binding("clusterrolebindings", "ClusterRole", "system:auth-delegator", subject, "delegator"),
        binding("namespaces/kube-system/rolebindings", "Role", auth, subject, "auth"),
        ("/apis/apiregistration.k8s.io/v1/apiservices", {"metadata": {"name": API_SERVICE}, "spec": api}),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _FLEET),
    ]
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kubernetes.request("POST", accounts, body={"metadata": {"name": ACCOUNT}})
    _remove_leftovers(kubernetes)
    with ExitStack() as stack:
        for path, content in made:
            kubernetes.request("POST", path, body=content)
            stack.callback(kubernetes.request, "DELETE", f"{path}/{content['metadata']['name']}")
        token = kubernetes.request("POST", f"{accounts}/{ACCOUNT}/token", body={"spec": {"expirationSeconds": 7200}})
        config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
        config["users"][0]["user"] = {"token": token["status"]["token"]}
        file = folder / "account.kubeconfig"
        file.write_text(json.dumps(config), encoding="utf-8")
        yield Cluster(kubernetes, namespace, file)


def _remove_leftovers(kubernetes: Kubernetes) -> None:
    """Remove what an interrupted run has left where only one can be."""
    api_service = f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"
    crd = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{_FLEET['metadata']['name']}"
    with suppress(KubernetesError):
        if kubernetes.request("GET", api_service)["spec"]["service"]["namespace"].startswith("scaler-"):
            kubernetes.request("DELETE", api_service)
    with suppress(KubernetesError):
        kubernetes.request("DELETE", crd)
        eventually(lambda: not exists(kubernetes, crd), "the end of fleets of an interrupted run", 60)


def exists(kubernetes: Kubernetes, path: str) -> bool:
    """Return whether there is an object or a list."""
    try:
        return bool(kubernetes.request("GET", path))
    except KubernetesError:
        return False


@dataclass
class Versions:
    """Every version of the objects at a path, with the second when it was seen."""

    kubernetes: Kubernetes
    path: str
    """Of the list."""
    seen: dict[str, list[tuple[float, Json]]] = field(default_factory=dict)
    """By name, oldest first; without deletions."""
    on_change: Callable[[Json], None] = lambda _: None
    """Called with each version."""
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, args=(self._list(),))
        self._thread.start()
        return self

    def __exit__(self, *_reason: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _list(self) -> str:
        """Return the version of the list."""
        listed = self.kubernetes.request("GET", self.path)
        for each in listed["items"]:
            self._note(each)
        return str(listed["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> None:
        while not self._over.is_set():
            try:
                for event in self.kubernetes.watch(self.path, query={"resourceVersion": version}, timeout_s=3):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "DELETED":
                        self._note(event["object"])
            except KubernetesError:
                time.sleep(0.2)
                version = self._list()

    def _note(self, content: Json) -> None:
        self.seen.setdefault(content["metadata"]["name"], []).append((time.monotonic(), content))
        self.on_change(content)

    def replicas(self, name: str) -> list[tuple[float, int, str]]:
        """When spec.replicas changed, to how many, and which client's field it is then; the first is the start."""
        changes: list[tuple[float, int, str]] = []
        for at, content in list(self.seen.get(name, ())):
            number = int(content["spec"].get("replicas", 0))
            if not changes or changes[-1][1] != number:
                changes.append((at, number, writer(content)))
        return changes


def writer(content: Json) -> str:
    """Return which client set spec.replicas, and by which subresource, as managedFields says: `beanscale/scale`.

    It doesn't say that of 0.
    """
    fields = content["metadata"].get("managedFields", ())
    setters = [each for each in fields if "f:replicas" in each.get("fieldsV1", {}).get("f:spec", {})]
    return ", ".join(f"{each['manager']}/{each.get('subresource', '')}" for each in setters)


def minor_version(kubernetes: Kubernetes) -> int:
    """Return e.g. 37, of Kubernetes 1.37."""
    return int(kubernetes.request("GET", "/version")["minor"].rstrip("+"))


def eventually[T](look: Callable[[], T], what: str, within_s: float = 30) -> T:
    """Return the first result that counts as true."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}; at last: {seen!r}"
        time.sleep(0.05)
    return seen


def stays(look: Callable[[], int], expected: int, for_s: float) -> None:
    """Assert that the number stays as it is."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert (seen := look()) == expected, (
            f"{seen} instead of {expected}, {end - time.monotonic():.1f} s before the end"
        )
        time.sleep(0.2)
