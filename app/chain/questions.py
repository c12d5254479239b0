"""Questions to kube-apiserver, whose refusals break a link."""

from collections.abc import Mapping
from typing import Any

from app.chain.link import BrokenLink
from app.cluster.client import Kubernetes
from app.cluster.errors import KubernetesError


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
