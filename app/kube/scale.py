"""The `scale` subresource of a workload of any kind: read, and changed only if nothing else changed it meanwhile.

Blocking and thread-safe.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError

_GROUP = re.compile(r"[a-z0-9.-]*")


class ScaleObject(NamedTuple):
    """A workload's numbers of pods, as one version of the workload has them."""

    path: str
    version: str
    """Its resourceVersion."""
    spec_replicas: int
    status_replicas: int


class ScaleClient:
    """Reads and changes scales. The resource of each kind is looked up once, and again after a 404."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._resources: dict[tuple[str, str], tuple[str, str]] = {}
        """API group and kind to the path of an API version that has the kind, and to its resource there."""

    def read(self, namespace: str, api_version: str, kind: str, name: str) -> ScaleObject:
        """Return the scale. Raises KubernetesError."""
        key = api_version.rpartition("/")[0], kind  # without the version, which an HPA's author may choose freely
        if key not in self._resources:
            self._resources[key] = self._look_up(api_version, kind)
        version, resource = self._resources[key]
        path = object_path(version, namespace, resource, name, "scale")
        try:
            return _parse(path, self._kubernetes.request("GET", path))
        except KubernetesError as error:
            if error.status == 404:  # a version may be served no longer, so the next read looks the kind up again
                self._resources.pop(key, None)
            raise

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

    def _look_up(self, api_version: str, kind: str) -> tuple[str, str]:
        """Return where the kind is: like the HPA controller, by its group, whichever version the HPA names."""
        group = api_version.rpartition("/")[0]
        missing = f"{self._kubernetes.server} has no {kind} in {api_version!r}"
        if not _GROUP.fullmatch(group):  # an HPA's author may write any text
            raise KubernetesError(missing, status=404, reason="NotFound")
        versions = ["/api/v1"]
        if group:
            found = self._kubernetes.request("GET", f"/apis/{group}")
            served = [found.get("preferredVersion") or {}, *(found.get("versions") or ())]
            versions = [f"/apis/{each['groupVersion']}" for each in served if each.get("groupVersion")]
        for version in dict.fromkeys(versions):
            for resource in self._kubernetes.request("GET", version).get("resources") or ():
                name = resource.get("name", "")
                if resource.get("kind") == kind and "/" not in name:
                    return version, str(name)
        raise KubernetesError(missing, status=404, reason="NotFound")


def _parse(path: str, found: Mapping[str, Any]) -> ScaleObject:
    """Return the numbers. A Scale omits 0."""
    spec, status = found.get("spec") or {}, found.get("status") or {}
    version = (found.get("metadata") or {}).get("resourceVersion") or ""
    return ScaleObject(path, version, spec.get("replicas") or 0, status.get("replicas") or 0)
