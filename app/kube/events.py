"""Events: what beanscale reports about an object, as `kubectl describe` shows it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError

COMPONENT = "beanscale"
"""The component that beanscale's own Events name."""
_MAX_MESSAGE = 1024
"""Characters, as kube-apiserver accepts (ValidateEventCreate)."""
_MAX_NAME = 253


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


def create_event(  # noqa: PLR0913, PLR0917 - the parts of an Event
    kubernetes: Kubernetes,
    about: ObjectReference,
    kind: Literal["Normal", "Warning"],
    reason: str,
    message: str,
    at: datetime,
    key: str,
) -> None:
    """Create an Event; blocking. One with the same `key` exists already if another replica was first: that is fine.

    Raises KubernetesError.
    """
    suffix = hashlib.sha256(f"{about.uid} {key}".encode()).hexdigest()[:16]
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": about.namespace, "name": f"{about.name[: _MAX_NAME - 17].rstrip('.-')}.{suffix}"},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    try:
        kubernetes.request("POST", object_path("/api/v1", about.namespace, "events"), body=event)
    except KubernetesError as error:
        if error.status != 409:
            raise
