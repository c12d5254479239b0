"""The ConfigMap with the CA, for clients such as Prometheus: the Secret has the CA's key beside it."""

import structlog

from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError
from app.settings import ObjectName

KEY = "ca.crt"

_log = structlog.get_logger()


def publish(kubernetes: Kubernetes, config_map: ObjectName, bundle: bytes) -> None:
    """Write these CAs, as PEM, into the ConfigMap, if they aren't there; if there are none, remove its key.

    Raise KubernetesError.
    """
    path = object_path("/api/v1", config_map.namespace, "configmaps", config_map.name)
    found = kubernetes.find(path)
    if found is None:
        raise KubernetesError(
            f"{kubernetes.server} has no ConfigMap {config_map} for the CA, so clients such as Prometheus can't verify"
            " beanscale",
            "the chart renders it: run helm upgrade",
            status=404,
            reason="NotFound",
        )
    ca = bundle.decode("ascii") or None  # in a merge patch, None removes the key
    if (found.get("data") or {}).get(KEY) != ca:
        kubernetes.request("PATCH", path, body={"data": {KEY: ca}}, content_type="application/merge-patch+json")
        _log.info("CA published" if ca else "CA removed", config_map=str(config_map))
