"""Label selectors, as kube-apiserver reads them: same grammar, same answers, same words in the errors.

Source: k8s.io/apimachinery/pkg/labels/selector.go.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_EXACT = {"=", "==", "!=", ">", "<"}
_TOKEN = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),><])|([^=!(),>< \t\r\n]+))")
_END = ""

_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_INT64 = re.compile(r"[+-]?[0-9]{1,19}")

_MAX_NAME = 63
_MAX_SUBDOMAIN = 253
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


class SelectorError(ValueError):
    """The text isn't a label selector; `str()` is what kube-apiserver would say."""


_MATCHES: dict[str, Callable[[str | None, frozenset[str]], bool]] = {
    "exists": lambda value, _: value is not None,
    "!": lambda value, _: value is None,
    "=": lambda value, wanted: value in wanted,
    "==": lambda value, wanted: value in wanted,
    "in": lambda value, wanted: value in wanted,
    "!=": lambda value, unwanted: value not in unwanted,
    "notin": lambda value, unwanted: value not in unwanted,
    ">": lambda value, bound: _is_int64(value) and int(value or "") > int(next(iter(bound))),
    "<": lambda value, bound: _is_int64(value) and int(value or "") < int(next(iter(bound))),
}
"""Operator → whether a label's value (None: the label is absent) satisfies it."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of the conditions that a selector joins by commas."""

    key: str
    operator: str
    """A key of the table above."""
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a set of labels satisfies it; an absent label satisfies `!=`, `notin` and `!`."""
        return _MATCHES[self.operator](labels.get(self.key), self.values)


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that all must hold; none: everything matches."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether all conditions hold."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def pinned(self, key: str) -> frozenset[str] | None:
        """The only values that the label may have, or None where the selector doesn't list them."""
        listed = [part.values for part in self.requirements if part.key == key and part.operator in {"=", "==", "in"}]
        return frozenset.intersection(*listed) if listed else None


EVERYTHING = Selector()


def parse_selector(text: str) -> Selector:
    """Read a `labelSelector`. Raises SelectorError."""
    return Selector(tuple(_Parser(text).requirements()))


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [symbol or word for symbol, word in _TOKEN.findall(text)] + [_END]
        self._position = 0

    def requirements(self) -> Iterable[Requirement]:
        while True:
            token = self._peek()
            if token == _END:
                return
            if token != "!" and _is_symbol(token):
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                yield self._requirement()
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            if (separator := self._take()) == _END:
                return
            self._expect_next(separator)

    def _expect_next(self, separator: str) -> None:
        if separator != ",":
            raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
        follower = self._peek()
        if follower != "!" and (_is_symbol(follower) or follower == _END):
            raise SelectorError(f"found '{follower}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!" and bool(self._take())
        key = self._take()
        if _is_symbol(key) or key == _END:
            raise SelectorError(f"found '{key}', expected: identifier")
        _check_key(key)
        if negated or self._peek() in {",", _END}:
            return Requirement(key, "!" if negated else "exists", frozenset())
        operator = self._take()
        values = self._values_for(operator)
        _check_values(key, operator, values)
        return Requirement(key, operator, frozenset(values))

    def _values_for(self, operator: str) -> list[str]:
        if operator in {"in", "notin"}:
            return sorted(self._value_set())
        if operator not in _EXACT:
            raise SelectorError(f"found '{operator}', expected: {_BINARY_OPERATORS}")
        if self._peek() in {",", _END}:
            return [""]
        value = self._take()
        if _is_symbol(value):
            raise SelectorError(f"found '{value}', expected: identifier")
        return [value]

    def _value_set(self) -> set[str]:
        opening = self._take()
        if opening != "(":
            raise SelectorError(f"found '{opening}' expected: '('")
        first = self._peek()
        if first == ")":
            self._take()
            return {""}
        if (_is_symbol(first) and first != ",") or first == _END:
            raise SelectorError(f"found '{first}', expected: ',', ')' or identifier")
        return self._listed_values()

    def _listed_values(self) -> set[str]:
        values: set[str] = set()
        word_before = False
        while (token := self._take()) != ")":
            if token == ",":
                if not word_before:
                    values.add("")
                word_before = False
                if self._peek() == ")":
                    values.add("")
                continue
            if _is_symbol(token) or token == _END or word_before:
                expected = "',' or ')'" if word_before else "',', or identifier"
                raise SelectorError(f"found '{token}', expected: {expected}")
            values.add(token)
            word_before = True
        return values

    def _peek(self) -> str:
        return self._tokens[self._position]

    def _take(self) -> str:
        token = self._tokens[self._position]
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token


def _is_symbol(token: str) -> bool:
    return token in {"=", "==", "!=", "!", "(", ")", ",", ">", "<"}


def _is_int64(text: str | None) -> bool:
    return bool(text and _INT64.fullmatch(text)) and -(2**63) <= int(text or "") < 2**63


def _check_key(key: str) -> None:
    problems: list[str] = []
    prefix, slash, name = key.rpartition("/")
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash and len(prefix) > _MAX_SUBDOMAIN:
        problems.append(f"prefix part must be no more than {_MAX_SUBDOMAIN} bytes")
    elif slash and not _SUBDOMAIN.fullmatch(prefix):
        problems.append(_SUBDOMAIN_RULE)
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > _MAX_NAME:
        problems.append(f"name part must be no more than {_MAX_NAME} bytes")
    if not _NAME_PART.fullmatch(name):
        problems.append(_NAME_RULE)
    if problems:
        raise SelectorError(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')


def _check_values(key: str, operator: str, values: list[str]) -> None:
    if operator in {">", "<"} and not _is_int64(values[0]):
        raise SelectorError(
            f"values[0]: Invalid value: \"{values[0]}\": for 'Gt', 'Lt' operators, the value must be an integer"
        )
    for value in values:
        if len(value) > _MAX_NAME:
            raise SelectorError(f'values[0][{key}]: Invalid value: "{value}": must be no more than {_MAX_NAME} bytes')
        if not _VALUE.fullmatch(value):
            raise SelectorError(f'values[0][{key}]: Invalid value: "{value}": {_VALUE_RULE}')
