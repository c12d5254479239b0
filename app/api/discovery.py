"""Discovery: the group, its version, and its metrics as resources. Never empty, never thousands of names.

kube-apiserver requests all of it as one document (`as=APIGroupDiscoveryList`, KEP-3352), every minute and with the ETag
that it knows; the legacy documents are for other clients and for people.
"""

import platform
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache

from starlette.responses import Response

from app.api.negotiation import Kind, negotiate
from app.api.request import Request
from app.api.response import Object, encode, etag_of, respond, unless_known
from app.kube.upstream import GROUP, GROUP_VERSION, VERSION

KIND = "ExternalMetricValueList"
_KIND_OF_ITEMS = KIND.removesuffix("List")
_VERBS = ["get"]
"""With `list` and `delete`, the garbage collector and namespace deletion would request every metric."""

_VERSION = {"groupVersion": GROUP_VERSION, "version": VERSION}
_GROUP = {"name": GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}
_AGGREGATED = Kind("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Python's names → Kubernetes'."""


def groups(metrics: Sequence[str], port: int, request: Request) -> Response:
    """Return `/apis`: the groups, or everything at once. Raises StatusError 406."""
    form = negotiate(request.header(b"accept"), frozenset({_AGGREGATED}))
    if form.kind is None:
        anywhere = [{"clientCIDR": "0.0.0.0/0", "serverAddress": f":{port}"}]
        listed: Object = {"kind": "APIGroupList", "groups": [_GROUP | {"serverAddressByClientCIDRs": anywhere}]}
        return respond(listed, request, form)
    content, etag = _aggregated(tuple(metrics))
    response = respond(content, request, form)
    response.headers.update({"vary": "Accept", "cache-control": "public"})
    kind = f"g={form.kind.group};v={form.kind.version};as={form.kind.kind}"
    response.headers["content-type"] = f"{form.media_type};{kind}"
    return unless_known(etag, request, response)


def group(request: Request) -> Response:
    """Return `/apis/external.metrics.k8s.io`. Raises StatusError 406."""
    return respond({"kind": "APIGroup", "apiVersion": "v1"} | _GROUP, request, negotiate(request.header(b"accept")))


def resources(metrics: Sequence[str], request: Request) -> Response:
    """Return `/apis/external.metrics.k8s.io/v1beta1`: a resource for each metric. Raises StatusError 406."""
    listed = [
        {"name": metric, "singularName": "", "namespaced": True, "kind": KIND, "verbs": _VERBS} for metric in metrics
    ]
    content = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": listed}
    return respond(content, request, negotiate(request.header(b"accept")))


@lru_cache(maxsize=4)
def _aggregated(metrics: tuple[str, ...]) -> tuple[Object, str]:
    """Return the aggregated document and its ETag."""
    # kubectl finds a resource by its kind, so each has its own; the first has that of the items of all responses
    kinds = [_KIND_OF_ITEMS, *metrics[1:]]
    listed = [
        {
            "resource": metric,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": kind},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": _VERBS,
        }
        for metric, kind in zip(metrics, kinds, strict=True)
    ]
    versions = [{"version": VERSION, "resources": listed, "freshness": "Current"}]
    content = {
        "kind": _AGGREGATED.kind,
        "apiVersion": f"{_AGGREGATED.group}/{_AGGREGATED.version}",
        "metadata": {},
        "items": [{"metadata": {"name": GROUP}, "versions": versions}],
    }
    return content, etag_of(encode(content))


def version_info(release: str) -> Mapping[str, str]:
    """Return `/version`: every field of `version.Info`, which clients expect; `release` is beanscale's."""
    major, minor = release.split(".")[:2]
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{release}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"{sys.implementation.name} {platform.python_version()}",
        "platform": f"{sys.platform}/{_ARCHITECTURES.get(machine, machine)}",
    }
