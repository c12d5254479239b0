"""Label selectors: the grammar, results and error messages of kube-apiserver.

Source: k8s.io/apimachinery/pkg/labels/selector.go, and pkg/api/validate/content for keys and values.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME_PART = re.compile(_NAME)
_VALUE = re.compile(f"({_NAME})?")
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")

_MAX_BYTES = 63
_MAX_SUBDOMAIN_BYTES = 253
_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    f" (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    f" '{_VALUE.pattern}')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    f" end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)


def problems_of_key(key: str) -> str:
    """Return why a text isn't a valid label key, or an empty string if it is one."""
    if key.count("/") > 1:
        return (
            f"a valid label key {_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        found = _problems(prefix, _MAX_SUBDOMAIN_BYTES, _SUBDOMAIN, _SUBDOMAIN_RULE)
        problems += [f"prefix part {problem}" for problem in found]
    if not name:
        problems.append("name part must be non-empty")
    problems += [f"name part {problem}" for problem in _problems(name, _MAX_BYTES, _NAME_PART, _NAME_RULE)]
    return "; ".join(problems)


def problems_of_value(value: str) -> str:
    """Return why a text isn't a valid label value, or an empty string if it is one."""
    return "; ".join(_problems(value, _MAX_BYTES, _VALUE, _VALUE_RULE))


def _problems(text: str, max_bytes: int, pattern: re.Pattern[str], rule: str) -> Iterator[str]:
    if len(text.encode("utf-8", "surrogateescape")) > max_bytes:
        yield f"must be no more than {max_bytes} bytes"
    if not pattern.fullmatch(text):
        yield rule


_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_EXACT = {"=", "==", "!=", ">", "<"}
_TOKEN = re.compile(r"==|!=|[=!(),><]|[^=!(),>< \t\r\n\0]+")
_END_OF_STRING = re.compile(r"(?<![^ \t\r\n\0])\0")
"""Go's lexer ends at a zero byte: the token before it, or else the whole text."""
_END = ""
_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})", re.ASCII)
MAX_CONDITIONS = 100
"""Of a selector: people write fewer, and each takes microseconds for every tube."""
_MAX_PROBLEMS = 100
"""Reported of one condition: each is many times longer than the value that it is about."""


class SelectorError(ValueError):
    """The text isn't a label selector; `str()` is kube-apiserver's message."""


_MATCHES: dict[str, Callable[[str | None, frozenset[str]], bool]] = {
    "exists": lambda value, _: value is not None,
    "!": lambda value, _: value is None,
    "=": lambda value, wanted: value in wanted,
    "==": lambda value, wanted: value in wanted,
    "in": lambda value, wanted: value in wanted,
    "!=": lambda value, unwanted: value not in unwanted,
    "notin": lambda value, unwanted: value not in unwanted,
    ">": lambda value, bound: _compare(value, bound) > 0,
    "<": lambda value, bound: _compare(value, bound) < 0,
}
"""Operator → whether a label's value (None: the label is absent) satisfies it."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition of a selector."""

    key: str
    operator: str
    """A key of _MATCHES."""
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels satisfy it; an absent label satisfies `!=`, `notin` and `!`."""
        return _MATCHES[self.operator](labels.get(self.key), self.values)


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that must all hold; without any, everything matches."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether all conditions hold."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def pinned(self, key: str) -> frozenset[str] | None:
        """Return the only values that the label can have, or None if the selector doesn't list them."""
        listed = [part.values for part in self.requirements if part.key == key and part.operator in {"=", "==", "in"}]
        return frozenset.intersection(*listed) if listed else None


EVERYTHING = Selector()


def parse_selector(text: str) -> Selector:
    """Parse a `labelSelector`. Raises SelectorError."""
    return Selector(tuple(_Parser(text).requirements()))


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(_END_OF_STRING.split(text, 1)[0]), _END]
        self._position = 0

    def requirements(self) -> Iterable[Requirement]:
        for _ in range(MAX_CONDITIONS):
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
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            follower = self._peek()
            if follower != "!" and (_is_symbol(follower) or follower == _END):
                raise SelectorError(f"found '{follower}', expected: identifier after ','")
        raise SelectorError(f"more than {MAX_CONDITIONS} conditions in one selector")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!" and bool(self._take())
        key = self._take()
        if _is_symbol(key) or key == _END:
            raise SelectorError(f"found '{key}', expected: identifier")
        if problems := problems_of_key(key):
            raise SelectorError(f"<nil>: Invalid value: {json.dumps(key)}: {problems}")
        if negated or self._peek() in {",", _END}:
            return Requirement(key, "!" if negated else "exists", frozenset())
        operator = self._take()
        values = self._values_for(operator)
        _check_values(key, operator, values)
        return Requirement(key, operator, frozenset(values))

    def _values_for(self, operator: str) -> list[str]:
        if operator in {"in", "notin"}:
            # Go's order: by bytes, in which what isn't UTF-8 has another place than in Python's
            return sorted(self._value_set(), key=lambda value: value.encode("utf-8", "surrogateescape"))
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


def _compare(value: str | None, bound: frozenset[str]) -> int:
    """Return -1, 0 or 1; 0 also for what isn't a number, which is neither more nor less."""
    number, (limit,) = _integer(value or ""), map(_integer, bound)
    return 0 if number is None or limit is None else (number > limit) - (number < limit)


def _integer(text: str) -> int | None:
    """Return a 64-bit integer, or None if it is none."""
    parts = _INTEGER.fullmatch(text)
    number = int(parts[1] + parts[2]) if parts else 2**63
    return number if -(2**63) <= number < 2**63 else None


def _check_values(key: str, operator: str, values: list[str]) -> None:
    """Raise SelectorError, with the first problems of all values."""
    invalid = []
    if operator in {">", "<"} and _integer(values[0]) is None:
        rule = "for 'Gt', 'Lt' operators, the value must be an integer"
        invalid.append(f"values[0]: Invalid value: {json.dumps(values[0])}: {rule}")
    for at, value in enumerate(values):
        if len(invalid) < _MAX_PROBLEMS and (problems := problems_of_value(value)):
            invalid.append(f"values[{at}][{key}]: Invalid value: {json.dumps(value)}: {problems}")
    if invalid:
        raise SelectorError(invalid[0] if len(invalid) == 1 else f"[{', '.join(invalid)}]")
