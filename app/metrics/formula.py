"""A rule's `value`, such as `ready + 0.5 * delayed`: parsed by Python's own parser, evaluated exactly, within bounds.

It consists of numbers, fields, + - * / and parentheses, min, max and ceil, and is checked once, when rules are loaded.
"""

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from app.metrics.fields import FIELDS, UNITS
from app.quantity import MAX_MILLI, show_number
from app.settings import SettingError, did_you_mean

MAX = MAX_MILLI // 1000
"""The largest value that an autoscaler can count: it reads quantities as thousandths in an int64, where larger ones are
negative (apimachinery's Quantity.MilliValue)."""
MAX_CHARACTERS = 1_000
MAX_NESTED = 50
"""Parentheses within parentheses."""
MAX_DIGITS = 18
"""Digits of a number in a formula: a longer one is a mistake."""
_MAX_BITS = 1_024
"""Bits of a step's numerator or denominator: more than any number of jobs needs, and still a microsecond's work."""

_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
}
FUNCTIONS: Mapping[str, Callable[..., Fraction]] = {
    "min": lambda *operands: min(operands),
    "max": lambda *operands: max(operands),
    "ceil": lambda operand: Fraction(math.ceil(operand)),
}
_COMBINED: Mapping[tuple[type[ast.operator], str | None, str | None], str] = {
    (ast.Div, "jobs", "jobs/s"): "seconds",
    (ast.Div, "jobs", "seconds"): "jobs/s",
    (ast.Mult, "jobs/s", "seconds"): "jobs",
    (ast.Mult, "seconds", "jobs/s"): "jobs",
}
"""Units of products and quotients that have one."""
_ALLOWED = "numbers, fields, + - * / ( ), min, max and ceil"
_OTHER = re.compile(r"[^A-Za-z0-9_.+*/(),\s-]", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_HYPHENATED = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN = 40


class FormulaError(Exception):
    """A formula has no value for these numbers; `str()` is a clause: "divides by deleted_per_second, which is 0"."""


@dataclass(frozen=True)
class Formula:
    """A valid formula over a tube's fields."""

    text: str
    """As written."""
    named: tuple[tuple[int, str], ...]
    """The fields, each with its position in the text."""
    tree: ast.expr = field(compare=False, repr=False)
    """Its constants are Fractions."""

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields that it names."""
        return frozenset(name for _, name in self.named)

    @cached_property
    def unit(self) -> str | None:
        """The unit of its value; None if the fields' units don't make it clear."""
        unit, scaled = _unit(self.tree)
        return None if scaled else unit

    def value(self, fields: Mapping[str, Fraction]) -> Fraction:
        """Return its exact value for these fields, from 0 to MAX. Raises FormulaError."""
        value = _evaluate(self.tree, fields, self.text)
        if value < 0:
            raise FormulaError(f"is {show_number(value)}, but a metric can't be negative; use max(0, …)")
        if value > MAX:
            raise FormulaError(f"is {show_number(value)}, above the Kubernetes limit ({MAX})")
        return value

    def shown(self, fields: Mapping[str, Fraction]) -> str:
        """Return the text with numbers in the fields' places, "3 + 0.5 * 4", with `≈` before rounded ones."""
        shown, end = "", 0
        for start, name in self.named:
            shown += self.text[end:start] + show_number(fields[name])
            end = start + len(name)
        return shown + self.text[end:]


def parse_formula(text: str) -> Formula:
    """Parse a formula over FIELDS. Raises SettingError, with the position of the mistake."""
    if len(text) > MAX_CHARACTERS:
        raise SettingError(f"is {len(text):,} characters long, and a formula has at most {MAX_CHARACTERS:,}")
    if not text.strip():
        raise SettingError("is empty; write a formula, like ready + reserved")
    parser = _Parser(text)
    tree = parser.parse()
    if not parser.named:
        raise SettingError(f"names no field, so it would never change; there are {', '.join(sorted(FIELDS))}")
    return Formula(text, tuple(sorted(parser.named)), tree)


class _Parser:
    """Parses a text, and checks that its syntax tree has nothing but what a formula may have."""

    def __init__(self, text: str) -> None:
        self.named: list[tuple[int, str]] = []
        self._text = text

    def parse(self) -> ast.expr:
        """Return the tree, with positions in the text and Fractions as constants. Raises SettingError."""
        if other := _OTHER.search(self._text):
            raise SettingError(f"has {other[0]!r} {self._at(other.start())}; a formula has {_ALLOWED}")
        depth = 0
        for position, character in enumerate(self._text):
            depth += (character == "(") - (character == ")")
            if depth > MAX_NESTED:
                raise SettingError(f"nests more than {MAX_NESTED} parentheses, {self._at(position)}")
        line = re.sub(r"\s", " ", self._text)  # Python would end the formula at a line's end
        start = len(line) - len(line.lstrip())
        try:
            with warnings.catch_warnings(action="ignore"):  # of what the checks below reject
                tree = ast.parse(line[start:], mode="eval").body
        except SyntaxError as error:
            position = start + (error.offset or len(line.strip()) + 1) - 1
            message = error.msg.partition(";")[0]  # what follows is about Python
            raise SettingError(f"isn't a formula: {message} {self._at(position)}") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.expr):
                node.col_offset += start
                node.end_col_offset = (node.end_col_offset or 0) + start
        self._check(tree)
        return tree

    def _check(self, node: ast.expr) -> None:
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):  # 995 of them are no deep recursion
            node = node.operand
        match node:
            case ast.Name(name):
                self._check_field(node.col_offset, name)
            case ast.Constant():
                node.value = self._number(node)  # type: ignore[assignment]  # _evaluate is the only reader
            case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
                self._check(left)
                self._check(right)
                if isinstance(operator, ast.Div):
                    self._check_divisor(right)
            case ast.Call(func=ast.Name(name), keywords=[]):
                if name not in FUNCTIONS:
                    raise self._unknown("function", node.col_offset, name, FUNCTIONS)
                if not node.args or (name == "ceil" and len(node.args) > 1):
                    number = "one operand" if name == "ceil" else "one operand or more"
                    raise SettingError(f"calls {name} {self._at(node.col_offset)}, which takes {number}")
                for operand in node.args:
                    self._check(operand)
            case _:
                found = _shorten(_segment(node, self._text))
                raise SettingError(f"has {found} {self._at(node.col_offset)}; a formula has {_ALLOWED}")

    def _check_field(self, position: int, name: str) -> None:
        if name in FUNCTIONS:
            raise SettingError(f"has {name!r} {self._at(position)}, which is a function: write {name}(…)")
        if name not in FIELDS:
            raise self._unknown("field", position, name, FIELDS)
        self.named.append((position, name))

    def _check_divisor(self, node: ast.expr) -> None:
        """Reject a division by 0 that no field can change."""
        if not _is_number(node):
            return
        try:
            never_works = _evaluate(node, {}, self._text) == 0
        except FormulaError as error:
            raise SettingError(f"{error} ({self._at(node.col_offset)})") from error
        if never_works:
            text = _divisor(node, self._text)
            raise SettingError(
                f"divides by {text if text == '0' else text + ', which is 0'}, {self._at(node.col_offset)}"
            )

    def _number(self, node: ast.Constant) -> Fraction:
        text = _segment(node, self._text)
        if not _NUMBER.fullmatch(text):
            raise SettingError(
                f"{_shorten(text)} {self._at(node.col_offset)} isn't a number; write digits, with a point before"
                " decimals: 12 or 0.5"
            )
        if len(text.replace(".", "")) > MAX_DIGITS:
            raise SettingError(f"the number {self._at(node.col_offset)} has more than {MAX_DIGITS} digits")
        return Fraction(text)

    def _unknown(self, kind: str, position: int, name: str, known: Iterable[str]) -> SettingError:
        whole = _HYPHENATED.match(self._text, position)  # `current-jobs-ready`, as beanstalkd calls it
        around = next(each[0] for each in _HYPHENATED.finditer(self._text) if each.end() > position)
        names = (whole[0] if whole else name, name, around)
        near = next(filter(None, (did_you_mean(each, known) for each in names)), None)
        advice = near or f"the {kind}s are {', '.join(sorted(known))}"
        return SettingError(f"unknown {kind} {_shorten(name)} {self._at(position)}; {advice}")

    def _at(self, position: int) -> str:
        before = self._text[:position]
        column = f"column {position - before.rfind('\n')}"
        return f"at line {before.count('\n') + 1}, {column}" if "\n" in self._text.strip() else f"at {column}"


def _evaluate(node: ast.expr, fields: Mapping[str, Fraction], text: str) -> Fraction:
    """Return the exact value of a tree that _Parser has checked. Raises FormulaError."""
    negative = False
    while isinstance(node, ast.UnaryOp):
        node, negative = node.operand, not negative
    match node:
        case ast.Name():
            result = fields[node.id]
        case ast.Constant(Fraction() as number):
            result = number
        case ast.BinOp():
            left, right = _evaluate(node.left, fields, text), _evaluate(node.right, fields, text)
            if not right and isinstance(node.op, ast.Div):
                raise FormulaError(f"divides by {_divisor(node.right, text)}, which is 0")
            result = _OPERATORS[type(node.op)](left, right)
        case ast.Call(func=ast.Name(name)):
            result = FUNCTIONS[name](*[_evaluate(operand, fields, text) for operand in node.args])
    if max(result.numerator.bit_length(), result.denominator.bit_length()) > _MAX_BITS:
        raise FormulaError("has an intermediate result with too many digits")
    return -result if negative else result


def _unit(node: ast.expr) -> tuple[str | None, bool]:
    """Return the unit of a checked tree, None if it isn't clear or a number, and True if a number scales it.

    A number can be a weight, as in `ready + 0.5 * delayed`, or change the unit: seconds / 60 are minutes.
    """
    while isinstance(node, ast.UnaryOp):
        node = node.operand
    match node:
        case ast.Name():
            return UNITS.get(node.id), False
        case ast.BinOp(op=ast.Mult() | ast.Div()) if _is_number(node.right):
            return _unit(node.left)[0], True
        case ast.BinOp(op=ast.Mult()) if _is_number(node.left):
            return _unit(node.right)[0], True
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            (left, left_scaled), (right, right_scaled) = _unit(node.left), _unit(node.right)
            unit = _COMBINED.get((type(node.op), left, right))
            return unit, left_scaled or right_scaled
        case ast.BinOp():
            operands = [node.left, node.right]
        case ast.Call():
            operands = node.args
        case _:
            return None, False
    units = [_unit(operand) for operand in operands if not _is_number(operand)]
    first = units[0][0] if units else None
    return first if all(unit == first for unit, _ in units) else None, all(scaled for _, scaled in units)


def _is_number(node: ast.expr) -> bool:
    """Return whether the value doesn't depend on any field."""
    return not any(isinstance(each, ast.Name) and each.id in FIELDS for each in ast.walk(node))


def _segment(node: ast.expr, text: str) -> str:
    return " ".join(text[node.col_offset : node.end_col_offset].split())


def _divisor(node: ast.expr, text: str) -> str:
    segment = _segment(node, text)
    return f"({segment})" if isinstance(node, ast.BinOp) else segment


def _shorten(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
