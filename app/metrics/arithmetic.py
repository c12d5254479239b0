"""Formulas once they are parsed: exact arithmetic with bounds, and how it is shown to people.

A formula is kept as steps over a stack (reverse Polish), so that none, however long, is deep to evaluate.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from app.metrics.quantity import show_number
from app.metrics.rule import FormulaError

MOST = 2**63 - 1
"""What a Kubernetes quantity holds."""
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
        """Its value for these, exactly: from 0 to 2^63 - 1. Raises FormulaError."""
        value = Fraction(run(self.steps, fields))
        if value < 0:
            raise FormulaError(f"is {show_number(value)}, and a metric is never negative; write max(0, …)")
        if value > MOST:
            raise FormulaError(f"is {show_number(value)}, more than a Kubernetes quantity holds ({MOST})")
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
