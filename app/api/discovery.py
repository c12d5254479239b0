"""What there is: the group, its version, and its metrics as resources. Never empty, never thousands of names."""

from typing import Any

from starlette.responses import Response

from app.api.status import json_response

GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"

_VERSION = {"groupVersion": GROUP_VERSION, "version": VERSION}
_GROUP = {"name": GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}


def group_list() -> Response:
    """`/apis`."""
    anywhere = [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
    return json_response({"kind": "APIGroupList", "groups": [_GROUP | {"serverAddressByClientCIDRs": anywhere}]})


def group() -> Response:
    """`/apis/external.metrics.k8s.io`."""
    return json_response({"kind": "APIGroup", "apiVersion": "v1"} | _GROUP)


def resource_list(metrics: list[str]) -> Response:
    """`/apis/external.metrics.k8s.io/v1beta1`: a resource for each metric that is named."""
    resources = [_resource(metric) for metric in metrics]
    return json_response(
        {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": resources}
    )


def openapi(release: str) -> Response:
    """`/openapi/v2`, without a schema: kube-apiserver asks each minute, and takes its absence for an error to log."""
    return json_response({"swagger": "2.0", "info": {"title": "beanscale", "version": release}, "paths": {}})


def _resource(metric: str) -> dict[str, Any]:
    # `get` alone: with `list` and `delete` the garbage collector and namespace deletion would come asking
    return {"name": metric, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
