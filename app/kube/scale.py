"""The `scale` subresource of a workload of any kind: read, and changed only if nothing else changed it meanwhile.

Blocking and thread-safe.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError


class ScaleObject(NamedTuple):
    """A workload's numbers of pods, as one version of the workload has them."""

    path: str
    version: str
    """Its resourceVersion."""
    spec_replicas: int
    status_replicas: int


class ScaleClient:
    """Reads and changes scales. The resource of each kind is looked up once."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._resources: dict[tuple[str, str], str] = {}

    def read(self, namespace: str, api_version: str, kind: str, name: str) -> ScaleObject:
        """Return the scale. Raises KubernetesError."""
        if ".." in api_version:
            raise KubernetesError(f"{api_version!r} isn't an API version", status=404, reason="NotFound")
        # An HPA's author may write any text as apiVersion.
        group = f"/{'apis' if '/' in api_version else 'api'}/{quote(api_version)}"
        resource = self._resources.get((api_version, kind)) or self._look_up(group, api_version, kind)
        path = f"{group}/namespaces/{quote(namespace, safe='')}/{resource}/{quote(name, safe='')}/scale"
        return _parse(path, self._kubernetes.request("GET", path))

    def change(self, scale: ScaleObject, replicas: int) -> ScaleObject:
        """Set the number of pods. Raises KubernetesError, with status 409 if the workload has changed since."""
        body = {"metadata": {"resourceVersion": scale.version}, "spec": {"replicas": replicas}}
        changed = self._kubernetes.request(
            "PATCH",
            scale.path,
            query={"fieldManager": "beanscale"},
            body=body,
            content_type="application/merge-patch+json",
        )
        return _parse(scale.path, changed)

    def _look_up(self, group: str, api_version: str, kind: str) -> str:
        for resource in self._kubernetes.request("GET", group).get("resources") or ():
            name = resource.get("name", "")
            if resource.get("kind") == kind and "/" not in name:
                self._resources[api_version, kind] = name
                return str(name)
        raise KubernetesError(
            f"{self._kubernetes.server} has no {kind} in {api_version}", status=404, reason="NotFound"
        )


def _parse(path: str, found: Mapping[str, Any]) -> ScaleObject:
    """Return the numbers. A Scale omits 0."""
    spec, status = found.get("spec") or {}, found.get("status") or {}
    version = (found.get("metadata") or {}).get("resourceVersion") or ""
    return ScaleObject(path, version, spec.get("replicas") or 0, status.get("replicas") or 0)
