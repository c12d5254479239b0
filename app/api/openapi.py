"""OpenAPI: two static documents, which kube-apiserver merges with its own and `kubectl explain` reads.

All definitions have names of their own. Where another server's definition of the same name differs, as a shared type's
does from version to version, kube-apiserver keeps both, and other clients find `ListMeta` and `ListMeta_v2`. Only
beanscale's group is described, because kube-apiserver would accept any other path too.
Sources: k8s.io/kube-openapi/pkg/handler and handler3; k8s.io/metrics/pkg/apis/external_metrics/v1beta1/types.go.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from starlette.responses import Response

from app.api.negotiation import JSON, negotiate
from app.api.request import Request
from app.api.response import compress, encode, etag_of, unless_known
from app.kube.upstream import GROUP, GROUP_VERSION

V2_PATH, V3_PATH = "/openapi/v2", "/openapi/v3"
V3_DOCUMENTS = (f"{V3_PATH}/apis/{GROUP}", f"{V3_PATH}/apis/{GROUP_VERSION}")

_V2 = files(__package__).joinpath("openapi_v2.json").read_bytes()
_V3 = files(__package__).joinpath("openapi_v3.json").read_bytes()
_METRIC_PATH = f"/apis/{GROUP_VERSION}/namespaces/{{namespace}}/{{resource}}"


def v2(request: Request) -> Response:
    """Return the v2 document. Raises StatusError 406."""
    return compress(_document(_V2, request), request)


def v3_index(metrics: Sequence[str], request: Request) -> Response:
    """Return where the v3 documents are: at URLs that change with their content. Raises StatusError 406."""
    version = etag_of(_v3(tuple(metrics))).strip('"')
    urls = {path.removeprefix(f"{V3_PATH}/"): {"serverRelativeURL": f"{path}?hash={version}"} for path in V3_DOCUMENTS}
    return _document(encode({"paths": urls}), request)


def v3(metrics: Sequence[str], request: Request) -> Response:
    """Return the v3 document. Raises StatusError 406."""
    return _document(_v3(tuple(metrics)), request)


def _document(body: bytes, request: Request) -> Response:
    negotiate(request.header(b"accept"))
    return unless_known(etag_of(body), request, Response(body, headers={"vary": "Accept"}, media_type=JSON))


@lru_cache(maxsize=4)
def _v3(metrics: tuple[str, ...]) -> bytes:
    """Return the v3 document with a path for each metric: kubectl explains a resource by its path."""
    document = json.loads(_V3)
    of_any = document["paths"][_METRIC_PATH]
    parameters = [each for each in of_any["parameters"] if each["name"] != "resource"]
    for number, metric in enumerate(metrics):
        read = {**of_any["get"], "operationId": f"listExternalMetricsV1beta1{number}"}
        document["paths"][_METRIC_PATH.format(namespace="{namespace}", resource=metric)] = {
            "get": read,
            "parameters": parameters,
        }
    return encode(document)
