"""Label selectors, as kube-apiserver reads them: same grammar, same answers, same words in the errors.

Source: k8s.io/apimachinery/pkg/labels/selector.go.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from app.go_syntax import GoSyntaxError, parse_int, quote
from app.metrics.label_syntax import problems_of_key, problems_of_value

_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_EXACT = {"=", "==", "!=", ">", "<"}
_TOKEN = re.compile(r"==|!=|[=!(),><]|[^=!(),>< \t\r\n\0]+")
_END_OF_STRING = re.compile(r"(?<![^ \t\r\n\0])\0")
"""The lexer there takes a zero byte for the end of what it reads: behind a token, of that; elsewhere, of everything."""
_END = ""
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
    try:
        number, (limit,) = parse_int(value or ""), map(parse_int, bound)
    except GoSyntaxError:
        return 0
    return (number > limit) - (number < limit)


def _check_key(key: str) -> None:
    if problems := problems_of_key(key):
        raise SelectorError(f"<nil>: Invalid value: {quote(key)}: {problems}")


def _check_values(key: str, operator: str, values: list[str]) -> None:
    every = chain(_not_integers(values if operator in {">", "<"} else ()), _not_values(key, values))
    if refused := list(islice(every, _MOST_PROBLEMS)):
        raise SelectorError(refused[0] if len(refused) == 1 else f"[{', '.join(refused)}]")


def _not_integers(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        try:
            parse_int(value)
        except GoSyntaxError:
            yield f"values[0]: Invalid value: {quote(value)}: for 'Gt', 'Lt' operators, the value must be an integer"


def _not_values(key: str, values: Iterable[str]) -> Iterator[str]:
    for at, value in enumerate(values):
        if problems := problems_of_value(value):
            yield f"values[{at}][{key}]: Invalid value: {quote(value)}: {problems}"


def _by_bytes(value: str) -> bytes:
    """Go's order, in which what isn't UTF-8 has another place than Python gives it."""
    return value.encode("utf-8", "surrogateescape")
