"""Label selectors, as kube-apiserver reads them: same grammar, same answers, same words in the errors.

Source: k8s.io/apimachinery/pkg/labels/selector.go.

What may be a label's key and value, and what Kubernetes says of what may not.

Source: k8s.io/apimachinery/pkg/api/validate/content.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME_PART = re.compile(_NAME)
_VALUE = re.compile(f"({_NAME})?")
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")

_MOST_BYTES = 63
_MOST_BYTES_OF_SUBDOMAIN = 253
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
    """Why it can't be a label's key; nothing if it can."""
    if key.count("/") > 1:
        return (
            f"a valid label key {_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    prefix, slash, name = key.rpartition("/")
    of_prefix = _problems_of_prefix(prefix) if slash else ()
    return "; ".join(
        [
            *(f"prefix part {problem}" for problem in of_prefix),
            *(f"name part {each}" for each in _problems_of_name(name)),
        ]
    )


def problems_of_value(value: str) -> str:
    """Why it can't be a label's value; nothing if it can."""
    return "; ".join(_broken(value, _MOST_BYTES, _VALUE, _VALUE_RULE))


def _problems_of_prefix(prefix: str) -> Iterator[str]:
    if not prefix:
        yield "must be non-empty"
    else:
        yield from _broken(prefix, _MOST_BYTES_OF_SUBDOMAIN, _SUBDOMAIN, _SUBDOMAIN_RULE)


def _problems_of_name(name: str) -> Iterator[str]:
    if not name:
        yield "must be non-empty"
    yield from _broken(name, _MOST_BYTES, _NAME_PART, _NAME_RULE)


def _broken(text: str, most_bytes: int, pattern: re.Pattern[str], rule: str) -> Iterator[str]:
    if len(text.encode("utf-8", "surrogateescape")) > most_bytes:
        yield f"must be no more than {most_bytes} bytes"
    if not pattern.fullmatch(text):
        yield rule


_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_EXACT = {"=", "==", "!=", ">", "<"}
_TOKEN = re.compile(r"==|!=|[=!(),><]|[^=!(),>< \t\r\n\0]+")
_END_OF_STRING = re.compile(r"(?<![^ \t\r\n\0])\0")
"""The lexer there takes a zero byte for the end of what it reads: behind a token, of that; elsewhere, of everything."""
_END = ""
_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})", re.ASCII)
_MOST_PROBLEMS = 100
"""That are told of one condition: each takes many times as much as the value that it is about."""


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
    ">": lambda value, bound: _compare(value, bound) > 0,
    "<": lambda value, bound: _compare(value, bound) < 0,
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
        self._tokens: list[str] = [*_TOKEN.findall(_END_OF_STRING.split(text, 1)[0]), _END]
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
            return sorted(self._value_set(), key=_by_bytes)
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


def _compare(value: str | None, bound: frozenset[str]) -> int:
    """-1, 0 or 1; 0 also for what isn't a number, which is neither more nor less."""
    number, (limit,) = _integer(value or ""), map(_integer, bound)
    return 0 if number is None or limit is None else (number > limit) - (number < limit)


def _integer(text: str) -> int | None:
    """Return a 64-bit integer, or None if it is none."""
    parts = _INTEGER.fullmatch(text)
    number = int(parts[1] + parts[2]) if parts else 2**63
    return number if -(2**63) <= number < 2**63 else None


def _check_key(key: str) -> None:
    if problems := problems_of_key(key):
        raise SelectorError(f"<nil>: Invalid value: {json.dumps(key)}: {problems}")


def _check_values(key: str, operator: str, values: list[str]) -> None:
    every = chain(_not_integers(values if operator in {">", "<"} else ()), _not_values(key, values))
    if refused := list(islice(every, _MOST_PROBLEMS)):
        raise SelectorError(refused[0] if len(refused) == 1 else f"[{', '.join(refused)}]")


def _not_integers(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        if _integer(value) is None:
            problem = "for 'Gt', 'Lt' operators, the value must be an integer"
            yield f"values[0]: Invalid value: {json.dumps(value)}: {problem}"


def _not_values(key: str, values: Iterable[str]) -> Iterator[str]:
    for at, value in enumerate(values):
        if problems := problems_of_value(value):
            yield f"values[{at}][{key}]: Invalid value: {json.dumps(value)}: {problems}"


def _by_bytes(value: str) -> bytes:
    """Go's order, in which what isn't UTF-8 has another place than Python gives it."""
    return value.encode("utf-8", "surrogateescape")
