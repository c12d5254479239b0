"""What a request is about, read once from method, path and query: the same value is authorised and then handled.

Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
MOST_REMEMBERED = 512
"""Characters of a path and its query: what strangers ask must not fill the memory."""
_TRUE = {"1", "true"}


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


def request_info(method: str, path: str, query: bytes) -> RequestInfo:
    """Take a path apart."""
    short = len(path) + len(query) <= MOST_REMEMBERED
    return _remembered(method, path, query) if short else _taken_apart(method, path, query)


def _taken_apart(method: str, path: str, query: bytes) -> RequestInfo:
    parts = path.strip("/").split("/")
    if len(parts) < 4 or parts[0] != "apis" or "//" in path:
        return RequestInfo(path, method, method.lower())
    _, group, version, *parts = parts
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        parts = parts[2:] if len(parts) > 2 else parts
    resource, name, subresource = (*parts, "", "")[:3]
    verb = _VERBS.get(method, "")
    if not name:
        verb = _verb_of_all(verb, query)
    return RequestInfo(path, method, verb, group, version, namespace, resource, subresource, name)


_remembered = lru_cache(maxsize=4096)(_taken_apart)  # the HPA controller asks for the same few paths for ever


def _verb_of_all(verb: str, query: bytes) -> str:
    if verb == "delete":
        return "deletecollection"
    if verb != "get":
        return verb
    watch = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("watch", ["false"])[0]
    return "watch" if watch in _TRUE else "list"
