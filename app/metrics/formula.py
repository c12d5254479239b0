"""A rule's `value`, as in `ready + 0.5 * delayed`: text → steps, checked once, every mistake told with its place.

sum      = product {("+" | "-") product}
product  = signed {("*" | "/") signed}
signed   = {"-"} operand
operand  = number | field | "(" sum ")" | ("min" | "max") "(" sum {"," sum} ")" | "ceil" "(" sum ")"

Formulas once they are parsed: exact arithmetic with bounds, and how it is shown to people.

A formula is kept as steps over a stack (reverse Polish), so that none, however long, is deep to evaluate.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from app.metrics.rules import FormulaError
from app.quantity import show_number
from app.settings import SettingError, did_you_mean

MOST = (2**63 - 1) // 1000
"""What an autoscaler can count: it reads a quantity as thousandths in an int64, where more becomes less than nothing
(apimachinery's Quantity.MilliValue)."""
_MOST_BITS = 1_024
"""Of a step's numerator or denominator: far beyond anything that is about jobs, and still a microsecond's work."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Takes the last operands from the stack, and puts the result there."""

    to: Callable[..., Fraction]
    operands: int
    divisor: str = ""
    """What it divides by, as written; empty where it doesn't."""


type Step = Fraction | str | Apply
"""A number or a field's value to put on the stack, or what to do with those there."""

PLUS = Apply(lambda left, right: left + right, 2)
MINUS = Apply(lambda left, right: left - right, 2)
TIMES = Apply(lambda left, right: left * right, 2)
NEGATED = Apply(lambda operand: -operand, 1)
FUNCTIONS: Mapping[str, Callable[..., Fraction]] = {
    "min": lambda *operands: min(operands),
    "max": lambda *operands: max(operands),
    "ceil": lambda operand: Fraction(math.ceil(operand)),
}


@dataclass(frozen=True)
class ParsedFormula:
    """A formula that has been found right."""

    text: str
    """As written."""
    steps: tuple[Step, ...]
    named: tuple[tuple[int, str], ...]
    """Where in the text a field stands, and which."""

    @cached_property
    def fields(self) -> frozenset[str]:
        """Those that it names."""
        return frozenset(name for _, name in self.named)

    def value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Its value for these, exactly: from 0 to MOST. Raises FormulaError."""
        value = Fraction(run(self.steps, fields))
        if value < 0:
            raise FormulaError(f"is {show_number(value)}, and a metric is never negative; write max(0, …)")
        if value > MOST:
            raise FormulaError(f"is {show_number(value)}, more than an autoscaler can count ({MOST})")
        return value

    def shown(self, fields: Mapping[str, Fraction]) -> str:
        """The text with numbers in the fields' places: "3 + 0.5 * 4"; what isn't shown to the last digit has a `≈`."""
        shown, end = "", 0
        for start, name in self.named:
            shown += self.text[end:start] + show_number(fields[name])
            end = start + len(name)
        return shown + self.text[end:]


def run(steps: tuple[Step, ...], fields: Mapping[str, Fraction]) -> Fraction:
    """What is left on the stack in the end, of any size and sign. Raises FormulaError."""
    stack: list[Fraction] = []
    for step in steps:
        if isinstance(step, Fraction):
            stack.append(step)
        elif isinstance(step, str):
            stack.append(fields[step])
        else:
            operands = stack[-step.operands :]
            stack[-step.operands :] = [_applied(step, operands)]
    return stack[0]


def _applied(step: Apply, operands: list[Fraction]) -> Fraction:
    if step.divisor and operands[1] == 0:
        raise FormulaError(f"divides by {step.divisor}, which is 0")
    result = step.to(*operands)
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > _MOST_BITS:
        raise FormulaError("has a step whose result has too many digits to go on with")
    return result


MOST_CHARACTERS = 1_000
MOST_NESTED = 50
"""Parentheses in parentheses."""
MOST_DIGITS = 18
"""Of a number: what is longer is a slip."""

_TOKEN = re.compile(r"(?P<number>[0-9.][0-9A-Za-z_.]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<symbol>\S)")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_HYPHENATED = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OPERAND = "a number, a field, a function, '(' or '-'"
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    """Empty at the end."""
    kind: str
    """A group of the pattern above, or "end"."""
    start: int


def parse_formula(text: str, names: frozenset[str]) -> ParsedFormula:
    """Read a formula over fields of these names. Raises SettingError, which tells the position from 1 on."""
    if len(text) > MOST_CHARACTERS:
        raise SettingError(f"is {len(text):,} characters long, and a formula has at most {MOST_CHARACTERS:,}")
    parser = _Parser(text, names)
    parser.parse()
    if not parser.named:
        raise SettingError(f"names no field, so it would never change; there are {', '.join(sorted(names))}")
    return ParsedFormula(text, tuple(parser.steps), tuple(parser.named))


class _Parser:
    def __init__(self, text: str, names: frozenset[str]) -> None:
        self.steps: list[Step] = []
        self.named: list[tuple[int, str]] = []
        self._text = text
        self._names = names
        self._tokens = _tokens(text)
        self._next = next(self._tokens)
        self._end = 0
        """Of the token taken last."""

    def parse(self) -> None:
        if not self._next.text:
            raise SettingError("is empty; write a formula, like ready + reserved")
        self._sum(0)
        self._expect("", "an operator or the end")

    def _sum(self, depth: int) -> None:
        self._product(depth)
        while self._next.text in {"+", "-"}:
            step = PLUS if self._take().text == "+" else MINUS
            self._product(depth)
            self.steps.append(step)

    def _product(self, depth: int) -> None:
        self._signed(depth)
        while self._next.text in {"*", "/"}:
            divides = self._take().text == "/"
            divisor, first = self._next, len(self.steps)
            self._signed(depth)
            self.steps.append(self._division(divisor, tuple(self.steps[first:])) if divides else TIMES)

    def _division(self, divisor: _Token, steps: tuple[Step, ...]) -> Apply:
        text = " ".join(self._text[divisor.start : self._end].split())
        try:
            never_works = not any(isinstance(step, str) for step in steps) and run(steps, {}) == 0
        except FormulaError as error:
            raise SettingError(f"{error} ({self._at(divisor)})") from error
        if never_works:
            which = "0" if text == "0" else f"{text}, which is 0"
            raise SettingError(f"divides by {which}, {self._at(divisor)}")
        return Apply(Fraction, 2, text)

    def _signed(self, depth: int) -> None:
        negated = False
        while self._next.text == "-":
            self._take()
            negated = not negated
        self._operand(depth)
        if negated:
            self.steps.append(NEGATED)

    def _operand(self, depth: int) -> None:
        token = self._take()
        if token.text == "(":
            self._nested(token, depth)
            self._expect(")", "an operator or ')'")
        elif token.kind == "number":
            self.steps.append(self._number(token))
        elif token.kind == "name" and (token.text in FUNCTIONS or self._next.text == "("):
            self._function(token, depth)
        elif token.kind == "name":
            self._field(token)
        else:
            raise self._unexpected(token, _OPERAND)

    def _nested(self, opening: _Token, depth: int) -> None:
        if depth == MOST_NESTED:
            raise SettingError(f"nests more than {MOST_NESTED} parentheses, {self._at(opening)}")
        self._sum(depth + 1)

    def _function(self, name: _Token, depth: int) -> None:
        if name.text not in FUNCTIONS:
            raise self._unknown("function", name, FUNCTIONS)
        opening = self._expect("(", f"'(' after {name.text}")
        self._nested(opening, depth)
        operands = 1
        while name.text != "ceil" and self._next.text == ",":
            self._nested(self._take(), depth)
            operands += 1
        self._expect(")", "an operator or ')'" if name.text == "ceil" else "an operator, ',' or ')'")
        self.steps.append(Apply(FUNCTIONS[name.text], operands))

    def _field(self, name: _Token) -> None:
        if name.text not in self._names:
            raise self._unknown("field", name, self._names)
        self.steps.append(name.text)
        self.named.append((name.start, name.text))

    def _number(self, token: _Token) -> Fraction:
        if not _NUMBER.fullmatch(token.text):
            raise SettingError(
                f"{_found(token.text)} {self._at(token)} isn't a number; write digits, with a point before decimals:"
                " 12 or 0.5"
            )
        if sum(map(str.isdigit, token.text)) > MOST_DIGITS:
            raise SettingError(f"the number {self._at(token)} has more than {MOST_DIGITS} digits")
        return Fraction(token.text)

    def _expect(self, text: str, expected: str) -> _Token:
        token = self._take()
        if token.text != text:
            raise self._unexpected(token, expected)
        return token

    def _take(self) -> _Token:
        token = self._next
        self._end = token.start + len(token.text)
        self._next = next(self._tokens, token)
        return token

    def _unexpected(self, token: _Token, expected: str) -> SettingError:
        if not token.text:
            return SettingError(f"ends where {expected.removesuffix(' or the end')} was expected, {self._at(token)}")
        return SettingError(f"found {_found(token.text)} {self._at(token)}, where {expected} was expected")

    def _unknown(self, kind: str, token: _Token, known: Iterable[str]) -> SettingError:
        whole = _HYPHENATED.match(self._text, token.start)
        near = did_you_mean(whole[0] if whole else token.text, known) or did_you_mean(token.text, known)
        advice = near or f"the {kind}s are {', '.join(sorted(known))}"
        return SettingError(f"unknown {kind} {_found(token.text)} {self._at(token)}; {advice}")

    def _at(self, token: _Token) -> str:
        before = self._text[: token.start]
        column = f"column {token.start - before.rfind('\n')}"
        return f"at line {before.count('\n') + 1}, {column}" if "\n" in self._text.strip() else f"at {column}"


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        yield _Token(match[0], match.lastgroup or "", match.start())
    yield _Token("", "end", len(text.rstrip()))


def _found(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
