"""Questions to kube-apiserver, whose refusals break a link."""

from collections.abc import Mapping
from typing import Any

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName


class BrokenLink(Exception):  # noqa: N818 - it is the link that is broken, not the program
    """Why a link doesn't hold; `str()` is a sentence that names what and which."""

    def __init__(self, why: str, fix: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.fix = fix
        """What to do: a sentence, with the command where there is one."""
        self.final = final
        """Whether waiting can't help."""


def ask(
    kubernetes: Kubernetes, path: str, fixes: Mapping[int | None, str], query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """GET one object. Raises BrokenLink with the fix for the HTTP status (None: any other); 401 and 403 are final."""
    try:
        return kubernetes.request("GET", path, query=query)
    except KubernetesError as error:
        fix = fixes.get(error.status) or fixes[None]
        raise BrokenLink(_why(error), fix, final=error.status in {401, 403}) from error


def _why(error: KubernetesError) -> str:
    """The error without its last clause: what to do in general; a link knows what to do here."""
    why, _, _general_advice = str(error).rpartition("; ")
    return why or str(error)


_UNAVAILABLE = {
    "EndpointsNotFound": "no pod of the server is ready: kubectl -n {service.namespace} get pod",
    "MissingEndpoints": "no pod of the server is ready: kubectl -n {service.namespace} get pod",
    "ServiceNotFound": "the Service is gone; helm upgrade brings it back: kubectl -n {service.namespace} get service",
    "ServicePortError": "the Service lacks the APIService's port: kubectl -n {service.namespace} get service -o wide",
    "FailedDiscoveryCheck": "can kube-apiserver reach the server's pods (firewall, NetworkPolicy, hostNetwork)?"
    " kubectl -n {service.namespace} logs deployment/{service.name}",
}
"""Reason of the condition Available (kube-aggregator's available controllers) → what to do."""


def check_available(apiservice: Mapping[str, Any], service: ObjectName) -> None:
    """kube-apiserver reaches and trusts it. Raises BrokenLink with its own reason."""
    conditions = (apiservice.get("status") or {}).get("conditions") or []
    available: Mapping[str, Any] = next(
        (condition for condition in conditions if condition.get("type") == "Available"), {}
    )
    if available.get("status") == "True":
        return
    reason = available.get("reason", "")
    fix = _UNAVAILABLE.get(reason, "kubectl get apiservices; kubectl -n {service.namespace} get pod,service")
    raise BrokenLink(
        f"the APIService isn't Available: {available.get('message') or reason or 'kube-apiserver has not looked yet'}",
        fix.format(service=service),
    )
