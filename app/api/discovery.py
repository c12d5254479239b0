"""What there is: the group, its version, and its metrics as resources. Never empty, never thousands of names.

kube-apiserver asks for all of it in one document (`as=APIGroupDiscoveryList`, KEP-3352), each minute and with the ETag
that it knows; the older form is for older ones and for people. Its version v2beta1 is what Kubernetes up to 1.29 asks
for, and means the same.

/version: `version.Info` of k8s.io/apimachinery, whose every field Kubernetes' clients take for granted.
"""

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from starlette.responses import Response

from app.api.negotiation import JSON, Kind, Offer, Wishes, negotiated
from app.api.response import answer, answer_in, encoded

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Those that go by another name in Kubernetes."""


def version_info(release: str) -> Mapping[str, str]:
    """Of this program, not of Kubernetes: `release` is ours."""
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


GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
KIND = "ExternalMetricValueList"
_KIND_OF_ITEMS = KIND.removesuffix("List")
_VERBS = ["get"]
"""`list` and `delete` beside it would bring the garbage collector and namespace deletion."""

_VERSION = {"groupVersion": GROUP_VERSION, "version": VERSION}
_GROUP = {"name": GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}
_AT_ONCE = Offer(frozenset(Kind("APIGroupDiscoveryList", "apidiscovery.k8s.io", each) for each in ("v2", "v2beta1")))


def groups(metrics: Sequence[str], port: int, wishes: Wishes) -> Response:
    """`/apis`: the groups, or all that there is at once. Raises StatusError 406."""
    form = negotiated(wishes.header(b"accept"), _AT_ONCE)
    if form is None or form.kind is None:
        anywhere = [{"clientCIDR": "0.0.0.0/0", "serverAddress": f":{port}"}]
        return answer({"kind": "APIGroupList", "groups": [_GROUP | {"serverAddressByClientCIDRs": anywhere}]}, wishes)
    content, etag = _everything(tuple(metrics), form.kind.version)
    headers = {"etag": etag, "vary": "Accept", "cache-control": "public"}
    if wishes.headers.get(b"if-none-match", b"") == etag.encode():
        return Response(status_code=304, headers=headers)
    response = answer_in(form, content, wishes)
    response.headers.update(headers)
    kind = f"g={form.kind.group};v={form.kind.version};as={form.kind.kind}"
    response.headers["content-type"] = f"{form.media_type};{kind}"
    return response


def group(wishes: Wishes) -> Response:
    """`/apis/external.metrics.k8s.io`. Raises StatusError 406."""
    return answer({"kind": "APIGroup", "apiVersion": "v1"} | _GROUP, wishes)


def resources(metrics: Sequence[str], wishes: Wishes) -> Response:
    """`/apis/external.metrics.k8s.io/v1beta1`: a resource for each metric that is named. Raises StatusError 406."""
    listed = [
        {"name": metric, "singularName": "", "namespaced": True, "kind": KIND, "verbs": _VERBS} for metric in metrics
    ]
    content = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": listed}
    return answer(content, wishes)


def _kinds(metrics: Sequence[str]) -> Sequence[str]:
    """kubectl finds a resource again by its kind, so each has one of its own; one has that of all answers' items."""
    return [_KIND_OF_ITEMS, *metrics[1:]]


@lru_cache(maxsize=4)
def _everything(metrics: tuple[str, ...], version: str) -> tuple[Mapping[str, Any], str]:
    """The document and its ETag."""
    listed = [
        {
            "resource": metric,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": kind},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": _VERBS,
        }
        for metric, kind in zip(metrics, _kinds(metrics), strict=True)
    ]
    content = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": GROUP},
                "versions": [{"version": VERSION, "resources": listed, "freshness": "Current"}],
            }
        ],
    }
    return content, f'"{hashlib.sha512(encoded(content, JSON)).hexdigest().upper()}"'
