"""What a list may be asked for besides its path: `ListOptions`, read and refused as Kubernetes does it.

Metrics are few and made on the spot, so of what is asked only the label selector changes the answer; the rest must be
well-formed. Sources: k8s.io/apimachinery/pkg/apis/meta/v1 (conversion), …/meta/internalversion/validation and …/fields.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from app.api.status import StatusError
from app.go_syntax import GoSyntaxError, parse_duration_s, parse_int, parse_query, quote
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
