"""What a request is about, read once from method, path and query: the same value is authorised and then handled.

Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from app.api.list_options import FieldTerm, is_light, list_options, selectors, wants_watch
from app.api.status import StatusError
from app.go_syntax import GoSyntaxError, unescaped
from app.metrics.selector import Requirement

_VERBS: Mapping[str, str] = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_VERBS_IN_PATHS = frozenset({"proxy", "watch"})
"""Verbs that stood before the resource in Kubernetes' early days."""
_SUBRESOURCES_OF_NAMESPACES = frozenset({"finalize", "status"})
MOST_REMEMBERED = 512
"""Characters of a path: what strangers ask must not fill the memory."""
_MOST_NAMING = 4096
"""Bytes of a query that may narrow a list. With a longer one the whole list is what must be allowed."""


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A request as Kubernetes' authorisers see it."""

    path: str
    """As it came, decoded once."""
    method: str
    """GET, POST and so on."""
    verb: str
    """`list`, `get` and so on for a resource; the method in lower case for any other path."""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    """The metric; empty where the path isn't a resource's."""
    subresource: str = ""
    name: str = ""
    fields: tuple[FieldTerm, ...] = ()
    labels: tuple[Requirement, ...] = ()
    """What narrows a list, as far as it can be read."""


def request_info(method: str, path: str, query: bytes) -> RequestInfo:
    """Take a path apart that is still encoded, a character a byte. Raises StatusError 400 where it can't be decoded."""
    light = len(path) <= MOST_REMEMBERED and is_light(query)
    return _remembered(method, path, query) if light else _taken_apart(method, path, query)


def _taken_apart(method: str, encoded_path: str, query: bytes) -> RequestInfo:
    try:
        path = unescaped(encoded_path.encode("latin-1"))
    except GoSyntaxError as error:
        raise StatusError("BadRequest", str(error)) from error
    info = _of_resource(path, method)
    if info is None or not info.resource:
        return RequestInfo(path, method, method.lower())
    if info.verb == "delete" and not info.name:
        return _narrowed(replace(info, verb="deletecollection"), query)
    return _narrowed(_of_list(info, query), query) if info.verb == "get" and not info.name else info


_remembered = lru_cache(maxsize=4096)(_taken_apart)  # the HPA controller asks for the same few paths for ever


def _of_resource(path: str, method: str) -> RequestInfo | None:
    """None where the path isn't a resource's."""
    prefix, *parts = path.strip("/").split("/")
    if prefix not in {"api", "apis"} or len(parts) < (2 if prefix == "api" else 3):
        return None
    group, version, *parts = ("", *parts) if prefix == "api" else parts
    verb = _VERBS.get(method, "")
    if parts[0] in _VERBS_IN_PATHS and len(parts) > 1:
        verb, *parts = parts
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _SUBRESOURCES_OF_NAMESPACES:
            parts = parts[2:]
    resource, name, subresource = (*parts, "", "")[:3]
    return RequestInfo(
        path, method, verb, group, version, namespace, resource, subresource if verb != "proxy" else "", name
    )


def _of_list(info: RequestInfo, query: bytes) -> RequestInfo:
    verb = "watch" if wants_watch(query) else "list"
    if b"fieldSelector" not in query or len(query) > _MOST_NAMING:
        return replace(info, verb=verb)
    try:
        return replace(info, verb=verb, name=list_options(query).name)
    except StatusError:  # said when it is handled
        return replace(info, verb=verb)


def _narrowed(info: RequestInfo, query: bytes) -> RequestInfo:
    """With the selectors, also of a query that can't be read otherwise."""
    if b"Selector" not in query or len(query) > _MOST_NAMING:
        return info
    fields, labels = selectors(query)
    return replace(info, fields=fields, labels=labels)
