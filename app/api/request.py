"""What a list may be asked for besides its path: `ListOptions`, read and refused as Kubernetes does it.

Metrics are few and made on the spot, so of what is asked only the label selector changes the answer; the rest must be
well-formed. Sources: k8s.io/apimachinery/pkg/apis/meta/v1 (conversion), …/meta/internalversion/validation and …/fields.

What a request is about, read once from method, path and query: the same value is authorised and then handled.

Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from app.api.status import StatusError
from app.go_syntax import GoSyntaxError, parse_duration_s, parse_int, parse_query, quote, unescaped
from app.metrics.selector import EVERYTHING, Requirement, Selector, SelectorError, parse_selector

MOST_DURATION = 256
"""Characters of a duration that are read: nobody has proved yet who asks."""
MOST_REMEMBERED = 256
"""Bytes of a query."""
_MOST_COMMAS = 16
"""In a query that is remembered: each condition, and each value, takes a hundred times its size."""
NAME_FIELD = "metadata.name"
_FIELDS = (NAME_FIELD, "metadata.namespace")
_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"
_TERM = re.compile(r"((?:[^,\\]|\\.)*\\?)(?:,|\Z)", re.DOTALL)
_SPECIAL = re.compile(r"\\.?|[,=]", re.DOTALL)
_ESCAPED = frozenset({"\\", ",", "="})

Values = Mapping[str, list[str]]
FieldTerm = tuple[str, str, str]
"""Field, `=` or `!=`, value."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """A query that could be read."""

    selector: Selector = EVERYTHING
    fields: tuple[FieldTerm, ...] = ()
    watch: bool = False
    problems: tuple[tuple[str, str, str], ...] = ()
    """Field, reason and message of what contradicts itself."""

    @property
    def name(self) -> str:
        """The only name that the field selector leaves, where it could be one."""
        names = [value for field, operator, value in self.fields if (field, operator) == (NAME_FIELD, "=")]
        return names[0] if names and names[0] not in {".", ".."} and not set("/%") & set(names[0]) else ""

    def check(self) -> None:
        """Raises StatusError for what can be read and can't be done."""
        if self.problems:
            raise _invalid(self.problems)
        for field, _, _ in self.fields:
            if field not in _FIELDS:
                known = ", ".join(map(quote, _FIELDS))
                raise StatusError("BadRequest", f"{quote(field)} is not a known field selector: only {known}")


def list_options(query: bytes) -> ListOptions:
    """Read a query string. Raises StatusError."""
    if not query:
        return _NONE
    return _remembered(query) if is_light(query) else _read(query)


def is_light(query: bytes) -> bool:
    """Whether what it says takes so little memory that thousands can be remembered."""
    return len(query) <= MOST_REMEMBERED and query.count(b",") + query.lower().count(b"%2c") <= _MOST_COMMAS


def wants_watch(query: bytes) -> bool:
    """Whether a watch is asked for, also by a query that can't be read otherwise."""
    return b"watch" in query and _flag(parse_query(query), "watch")


def check_timeout(query: bytes) -> None:
    """Raises StatusError for a `timeout` that isn't a duration; one that is, however short, is long enough for us."""
    if b"timeout" not in query:
        return
    wish = _text(parse_query(query), "timeout")
    try:
        parse_duration_s(wish[:MOST_DURATION] or "0")
    except GoSyntaxError as error:
        raise StatusError("BadRequest", f"invalid timeout specified in the request URL - {error}") from error


def selectors(query: bytes) -> tuple[tuple[FieldTerm, ...], tuple[Requirement, ...]]:
    """Both selectors, each as far as it can be read: authorisers see them before anybody refuses the rest."""
    values = parse_query(query)
    fields: tuple[FieldTerm, ...] = ()
    labels: tuple[Requirement, ...] = ()
    with suppress(GoSyntaxError):
        fields = _field_terms(_text(values, "fieldSelector"))
    with suppress(SelectorError):
        labels = parse_selector(_text(values, "labelSelector")).requirements
    return fields, labels


def _read(query: bytes) -> ListOptions:
    values = parse_query(query)
    try:
        for number in ("timeoutSeconds", "limit"):
            parse_int(_text(values, number, "0"))
        selector = parse_selector(_text(values, "labelSelector"))
        fields = _field_terms(_text(values, "fieldSelector"))
    except (GoSyntaxError, SelectorError) as error:
        raise StatusError("BadRequest", str(error)) from error
    watch = _flag(values, "watch")
    return ListOptions(selector, fields, watch, tuple(_watch_problems(values) if watch else _list_problems(values)))


_NONE = ListOptions()
_remembered = lru_cache(maxsize=1024)(_read)  # an HPA asks with the same few words for ever


def _text(values: Values, key: str, default: str = "") -> str:
    return values[key][0] if key in values else default


def _flag(values: Values, key: str) -> bool:
    return key in values and values[key][0].lower() not in {"0", "false"}


def _field_terms(text: str) -> tuple[FieldTerm, ...]:
    terms = (_field_term(part, text) for part in sorted(_TERM.findall(text)) if part)
    return tuple(term for term in terms if term[0] or term[2])  # a condition on nothing is none


def _field_term(part: str, text: str) -> FieldTerm:
    """The first operator counts. Raises GoSyntaxError."""
    field, equals, value = part.partition("=")
    if not equals:
        raise GoSyntaxError(f"invalid selector: '{text}'; can't understand '{part}'")
    if field.endswith("!"):
        return field[:-1], "!=", _SPECIAL.sub(_plain, value)
    return field, "=", _SPECIAL.sub(_plain, value.removeprefix("="))


def _plain(special: re.Match[str]) -> str:
    """What an escape in a field's value stands for. Raises GoSyntaxError."""
    escape = special[0]
    if not escape.startswith("\\"):
        raise GoSyntaxError(f"invalid field selector: unescaped character in value: {ord(escape)}")
    if escape[1:] not in _ESCAPED:
        raise GoSyntaxError(f"invalid field selector: invalid escape sequence: {escape}")
    return escape[1:]


def _list_problems(values: Values) -> list[tuple[str, str, str]]:
    problems = []
    match, version = _text(values, "resourceVersionMatch"), _text(values, "resourceVersion")
    if match:
        if not version:
            problems.append(_forbidden("resourceVersionMatch", "is forbidden unless resourceVersion is provided"))
        if _text(values, "continue"):
            problems.append(_forbidden("resourceVersionMatch", "is forbidden when continue is provided"))
        if match not in {_EXACT, _NOT_OLDER}:
            problems.append(_not_supported("resourceVersionMatch", match, (_EXACT, _NOT_OLDER, "")))
        if match == _EXACT and version == "0":
            problems.append(_forbidden("resourceVersionMatch", '"exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in values:
        problems.append(_forbidden("sendInitialEvents", "is forbidden for list"))
    return problems


def _watch_problems(values: Values) -> list[tuple[str, str, str]]:
    """Refused anyway, but first for what contradicts itself, as everywhere in Kubernetes."""
    problems = []
    match, initial = _text(values, "resourceVersionMatch"), "sendInitialEvents" in values
    if not match and not initial and _text(values, "resourceVersion") in {"", "0"}:
        match, initial = _NOT_OLDER, True  # the default (k8s.io/apimachinery/pkg/apis/meta/internalversion/defaults.go)
    if initial and match != _NOT_OLDER:
        reason = f"sendInitialEvents requires setting resourceVersionMatch to {_NOT_OLDER}"
        problems.append(("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {reason}"))
    if match:
        if not initial:
            reason = "is forbidden for watch unless sendInitialEvents is provided"
            problems.append(_forbidden("resourceVersionMatch", reason))
        if match != _NOT_OLDER:
            problems.append(_not_supported("resourceVersionMatch", match, (_NOT_OLDER,)))
        if _text(values, "continue"):
            problems.append(_forbidden("resourceVersionMatch", "is forbidden when continue is provided"))
    return problems


def _forbidden(field: str, reason: str) -> tuple[str, str, str]:
    return field, "FieldValueForbidden", f"Forbidden: {field} {reason}"


def _not_supported(field: str, value: str, supported: tuple[str, ...]) -> tuple[str, str, str]:
    words = ", ".join(map(quote, supported))
    return field, "FieldValueNotSupported", f"Unsupported value: {quote(value)}: supported values: {words}"


def _invalid(problems: tuple[tuple[str, str, str], ...]) -> StatusError:
    sentences = list(dict.fromkeys(f"{field}: {message}" for field, _, message in problems))
    said = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    causes = [{"reason": reason, "message": message, "field": field} for field, reason, message in problems]
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}
    return StatusError("Invalid", f'ListOptions.meta.k8s.io "" is invalid: {said}', details)


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
MOST_REMEMBERED_INFOS = 512
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
    light = len(path) <= MOST_REMEMBERED_INFOS and is_light(query)
    return _remembered_info(method, path, query) if light else _taken_apart(method, path, query)


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


_remembered_info = lru_cache(maxsize=4096)(_taken_apart)  # the HPA controller asks for the same few paths for ever


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
