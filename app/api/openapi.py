"""The OpenAPI documents: the metrics' one path and their types, in words that `kubectl explain` shows.

Written as OpenAPI v2, from which v3 is made. The types are in openapi_definitions.json; those that Kubernetes has too
in its own words, because kube-apiserver merges the documents of all its servers, and keeps twice what differs.
Source: k8s.io/metrics/pkg/apis/external_metrics/v1beta1/types.go.

/openapi/v2 and /openapi/v3: what kube-apiserver merges into its own documents, and `kubectl explain` reads there.

Clients keep what they have by its hash, in a header (ETag) or, for ever, in the URL (`?hash=`). Named are our group and
its version alone: kube-apiserver takes every name from us that we claim, its own too.
Sources: k8s.io/kube-openapi/pkg/handler and handler3.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from app.api.discovery import GROUP, GROUP_VERSION, KIND, VERSION
from app.api.document import Document, served
from app.api.negotiation import JSON, MEDIA_TYPES, Clause, Wishes, clauses, number
from app.api.response import encoded, gzipped
from app.go_syntax import parse_query

Json = Mapping[str, Any]

_GROUP_PATH = f"/apis/{GROUP}/"
_VERSION_PATH = f"/apis/{GROUP_VERSION}/"
_OURS = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_GVK = "x-kubernetes-group-version-kind"
_GVK_OF_LIST = {"group": GROUP, "version": VERSION, "kind": KIND}


def v2(release: str) -> Json:
    """All of it in one document."""
    return {
        "swagger": "2.0",
        "info": {"title": "beanscale", "version": release},
        "paths": {
            _GROUP_PATH: _path("getExternalMetricsAPIGroup", "get information of a group", f"{_META}.APIGroup"),
            _VERSION_PATH: _path(
                "getExternalMetricsV1beta1APIResources", "get available resources", f"{_META}.APIResourceList"
            ),
            f"{_VERSION_PATH}namespaces/{{namespace}}/{{resource}}": _path_of_metric(
                "listExternalMetricsV1beta1ExternalMetricValue", "the values of an external metric", [_RESOURCE]
            ),
        },
        "definitions": _definitions(),
    }


def v3(release: str, group_version: str, metrics: Sequence[str]) -> Json:
    """One of the GROUPS_OF_V3, the version's with a path for each metric."""
    whole = v2(release)
    is_version = group_version.count("/") == _GROUP_PATH.count("/") - 1
    paths = {path: whole["paths"][path] for path in whole["paths"] if (path != _GROUP_PATH) == is_version}
    return _as_v3(whole, {**paths, **(_paths_of(metrics) if is_version else {})})


GROUPS_OF_V3 = (_GROUP_PATH.strip("/"), _VERSION_PATH.strip("/"))


@cache
def _definitions() -> Json:
    document: Json = json.loads(files(__package__).joinpath("openapi_definitions.json").read_text())
    return document


def _paths_of(metrics: Sequence[str]) -> Json:
    """kubectl explains a resource by a path of its own."""
    return {
        f"{_VERSION_PATH}namespaces/{{namespace}}/{metric}": _path_of_metric(
            f"listExternalMetricsV1beta1{position}", f"the values of {metric}", []
        )
        for position, metric in enumerate(metrics)
    }


def _path(operation: str, description: str, definition: str) -> dict[str, Any]:
    media_types = list(MEDIA_TYPES)
    answers = {"200": {"description": "OK", "schema": _ref(definition)}}
    read = {
        "description": description,
        "operationId": operation,
        "schemes": ["https"],
        "consumes": media_types,
        "produces": media_types,
        "tags": ["externalMetrics_v1beta1"],
        "responses": answers | {"401": {"description": "Unauthorized"}},
    }
    return {"get": read}


def _path_of_metric(operation: str, description: str, parameters: list[Json]) -> Json:
    path = _path(operation, description, f"{_OURS}.{KIND}")
    path["get"] |= {"x-kubernetes-action": "list", _GVK: _GVK_OF_LIST}
    return path | {"parameters": [_NAMESPACE, *parameters, _SELECTOR, _EXPLAIN, _PRETTY]}


def _as_v3(whole: Json, paths: Json) -> Json:
    schemas = {name: _moved(schema) for name, schema in whole["definitions"].items()}
    return {
        "openapi": "3.0.0",
        "info": whole["info"],
        "paths": {path: _path_as_v3(item) for path, item in paths.items()},
        "components": {"schemas": schemas},
    }


def _path_as_v3(item: Json) -> Json:
    read = {key: value for key, value in item["get"].items() if key not in {"schemes", "consumes", "produces"}}
    answer = item["get"]["responses"]["200"]
    content = {media_type: {"schema": _moved(answer["schema"])} for media_type in item["get"]["produces"]}
    read["responses"] = read["responses"] | {"200": {"description": answer["description"], "content": content}}
    parameters = [
        {key: value for key, value in parameter.items() if key != "type"} | {"schema": {"type": parameter["type"]}}
        for parameter in item.get("parameters", ())
    ]
    return {"get": read} | ({"parameters": parameters} if parameters else {})


def _moved(schema: Any) -> Any:
    """The same as v3 has it: with schemas elsewhere, and beside a reference nothing else."""
    if isinstance(schema, list):
        return [_moved(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" not in schema:
        return {key: _moved(value) for key, value in schema.items()}
    reference = {"$ref": schema["$ref"].replace("#/definitions/", "#/components/schemas/")}
    more = {key: value for key, value in schema.items() if key != "$ref"}
    return more | {"allOf": [reference]} if more else reference


def _ref(definition: str) -> Json:
    return {"$ref": f"#/definitions/{definition}"}


def _parameter(name: str, description: str, place: str) -> Json:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "type": "string", "description": description} | required


_NAMESPACE = _parameter("namespace", "object name and auth scope, such as for teams and projects", "path")
_RESOURCE = _parameter("resource", "name of the metric", "path")
_SELECTOR = _parameter("labelSelector", "A selector to restrict the list of values by their labels.", "query")
_EXPLAIN = _parameter("explain", "If 'true', the answer is a MetricExplanation: why the metric has its value.", "query")
_PRETTY = _parameter("pretty", "If 'true', then the output is pretty printed.", "query")


V2_PATH, V3_PATH = "/openapi/v2", "/openapi/v3"
_WORTH_COMPRESSING = 1400
"""Bytes of the v2 document; v3 is never compressed."""
_ONE_YEAR = timedelta(days=365)

_Content = tuple[bytes, str]
"""JSON, and its hash."""


class OpenApi:
    """Both versions' documents of a release; v3's of the version describes each metric that discovery names."""

    def __init__(self, release: str, metrics: Callable[[], Sequence[str]]) -> None:
        self._release = release
        self._metrics = metrics
        self._latest: dict[str, Document] = {}

    def everything(self, wishes: Wishes) -> Response:
        """`/openapi/v2`."""
        if _accepts_json(clauses(_accept(wishes))):
            response = self._serve(V2_PATH, _v2(self._release), wishes)
        else:
            response = Response(status_code=406)
        if len(response.body) >= _WORTH_COMPRESSING and _accepts_gzip(wishes.header(b"accept-encoding")):
            gzipped(response)
        for header in ("Accept-Encoding", "Accept"):
            response.headers.append("vary", header)
        return response

    def groups(self, wishes: Wishes) -> Response:
        """`/openapi/v3`: which documents there are, by URLs that change with them."""
        metrics = tuple(self._metrics())
        urls = {name: {"serverRelativeURL": _url(name, _v3(self._release, name, metrics)[1])} for name in GROUPS_OF_V3}
        return self._serve(V3_PATH, _content({"paths": urls}), wishes)

    def group(self, path: str, wishes: Wishes) -> Response:
        """One of v3's documents; for a name that isn't listed: nothing, as in Kubernetes."""
        name = path.removeprefix(f"{V3_PATH}/")
        wanted = clauses(_accept(wishes))
        if wanted and not _accepts_json(wanted):
            return Response(status_code=406, headers={"vary": "Accept"})
        if not wanted or name not in GROUPS_OF_V3:
            return Response()  # without `Vary`: Kubernetes' servers keep no header of an answer that has no body
        content = _, etag = _v3(self._release, name, tuple(self._metrics()))
        asked = parse_query(wishes.query).get("hash", [""])[0]
        response = self._serve(path, content, wishes)
        response.headers["vary"] = "Accept"
        # For another hash it's the present one all the same: no redirect passes kube-apiserver's proxy.
        if asked == etag:
            response.headers["cache-control"] = "public, immutable"
            response.headers["expires"] = format_datetime(datetime.now(UTC) + _ONE_YEAR, usegmt=True)
        return response

    def _serve(self, path: str, content: _Content, wishes: Wishes) -> Response:
        body, etag = content
        latest = self._latest.get(path)
        if latest is None or latest.etag != f'"{etag}"':
            latest = self._latest[path] = Document(body, f'"{etag}"', datetime.now(UTC).replace(microsecond=0))
        return served(latest, wishes)


def _accept(wishes: Wishes) -> str:
    return wishes.header(b"accept") or "*/*"


def _accepts_json(wanted: Iterable[Clause]) -> bool:
    return any(clause.type in {"application", "*"} and clause.subtype in {"json", "*"} for clause in wanted)


def _accepts_gzip(accepted: str) -> bool:
    """Source: github.com/NYTimes/gziphandler, which reads more here than Kubernetes does elsewhere."""
    for token in accepted.split(","):
        coding, *parameters = (part.strip() for part in token.split(";"))
        quality = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
        if coding.lower() == "gzip":
            return number(quality) > 0
    return False


def _url(name: str, etag: str) -> str:
    return f"{V3_PATH}/{name}?{urlencode({'hash': etag})}"


@cache
def _v2(release: str) -> _Content:
    return _content(v2(release))


@lru_cache(maxsize=8)
def _v3(release: str, name: str, metrics: tuple[str, ...]) -> _Content:
    return _content(v3(release, name, metrics))


def _content(content: Mapping[str, Any]) -> _Content:
    body = encoded(content, JSON).rstrip(b"\n")
    return body, hashlib.sha512(body).hexdigest().upper()
