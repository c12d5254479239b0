"""Requests to kube-apiserver for commands that check an installation: each failure has a hint."""

from collections.abc import Mapping
from typing import Any

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName


class CheckFailedError(Exception):
    """A check failed; `str()` is a sentence that names the object and the cause."""

    def __init__(self, message: str, hint: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        """What to do: a sentence, with the command if there is one."""
        self.final = final
        """Retrying can't help."""


def ask(
    kubernetes: Kubernetes, path: str, hints: Mapping[int | None, str], query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """GET one object. Raise CheckFailedError with the hint for the HTTP status (None: any other).

    401 and 403 are final.
    """
    try:
        return kubernetes.request("GET", path, query=query)
    except KubernetesError as error:
        hint = hints.get(error.status) or hints[None]
        raise CheckFailedError(error.problem, hint, final=error.status in {401, 403}) from error


_UNAVAILABLE = {
    "EndpointsNotFound": "no pod of the server is ready: kubectl -n {service.namespace} get pod",
    "MissingEndpoints": "no pod of the server is ready: kubectl -n {service.namespace} get pod",
    "ServiceNotFound": "the Service is gone; helm upgrade brings it back: kubectl -n {service.namespace} get service",
    "ServicePortError": "the Service lacks the APIService's port: kubectl -n {service.namespace} get service -o wide",
    "FailedDiscoveryCheck": "check that firewalls and NetworkPolicies let kube-apiserver reach the server's pods:"
    " kubectl -n {service.namespace} logs deployment/{service.name}",
}
"""Reason of the condition Available (kube-aggregator's available controllers) → hint."""


def check_available(apiservice: Mapping[str, Any], service: ObjectName) -> None:
    """Raise CheckFailedError with kube-apiserver's own reason unless the APIService is Available."""
    conditions = (apiservice.get("status") or {}).get("conditions") or []
    available: Mapping[str, Any] = next(
        (condition for condition in conditions if condition.get("type") == "Available"), {}
    )
    if available.get("status") == "True":
        return
    reason = available.get("reason", "")
    hint = _UNAVAILABLE.get(reason, "kubectl get apiservices; kubectl -n {service.namespace} get pod,service")
    cause = available.get("message") or reason or "kube-apiserver has not checked it yet"
    raise CheckFailedError(f"the APIService isn't Available: {cause}", hint.format(service=service))
