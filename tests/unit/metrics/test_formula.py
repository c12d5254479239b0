"""A formula means what school arithmetic says, exactly, or is refused with the place of the mistake."""

import math
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.metrics.fields import FIELDS
from app.metrics.formula import MAX, FormulaError, parse_formula
from app.settings import SettingError

LIVE = {name: Fraction(0) for name in FIELDS} | {
    "ready": Fraction(3),
    "reserved": Fraction(2),
    "delayed": Fraction(4),
    "put_per_second": Fraction(1, 3),
}


def value(text: str) -> Fraction:
    return parse_formula(text).value(LIVE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ready", 3),
        ("ready + reserved", 5),
        ("ready + reserved * delayed", 11),
        ("(ready + reserved) * delayed", 20),
        ("ready - reserved - 1", 0),
        ("delayed / 2 / 2 * ready", 3),
        ("ready + 0.5 * delayed", 5),
        ("0.1 * ready", Fraction(3, 10)),
        ("-reserved + ready", 1),
        ("ready - -reserved", 5),
        ("ready---reserved", 1),
        ("2*-reserved+7", 3),
        ("ready / -reserved + 2", Fraction(1, 2)),
        ("min(ready, reserved, delayed)", 2),
        ("max(ready,(reserved),delayed*2)", 8),
        ("max(ready)", 3),
        ("ceil(ready / reserved)", 2),
        ("ceil(-ready / reserved) + 1", 0),
        ("max(0, reserved - ready)", 0),
        ("ready * put_per_second", 1),
        ("\n  ready\n  + reserved\n", 5),
        ("max(ready, reserved,)", 3),
    ],
)
def test_a_formula_is_computed_exactly(text: str, expected: Fraction) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("ready", "jobs"),
        ("ready + reserved + 0.5 * delayed", "jobs"),
        ("max(0, urgent - 3)", "jobs"),
        ("-ready + total", "jobs"),
        ("watching - waiting", "workers"),
        ("max(pause_left, next_job_age_seconds)", "seconds"),
        ("put_per_second - deleted_per_second", "jobs/s"),
        ("(ready + reserved) / deleted_per_second", "seconds"),
        ("ready / next_job_age_seconds", "jobs/s"),
        ("next_job_age_seconds * put_per_second", "jobs"),
        ("ready + next_job_age_seconds", None),
        ("next_job_age_seconds / 60", None),
        ("ready / 10", None),
        ("ready / watching", None),
        ("1 / ready", None),
        ("-" * 500 + "ready", "jobs"),
    ],
)
def test_a_formulas_unit_follows_from_its_fields_where_it_is_clear(text: str, unit: str | None) -> None:
    assert parse_formula(text).unit == unit


def test_a_formula_has_its_text_and_fields() -> None:
    formula = parse_formula("ready + max(ready, 2 * delayed)")
    assert formula.text == "ready + max(ready, 2 * delayed)"
    assert formula.fields == {"ready", "delayed"}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "is empty; write a formula, like ready + reserved"),
        (" \n", "is empty; write a formula, like ready + reserved"),
        ("ready + redy", "unknown field 'redy' at column 9; did you mean ready?"),
        ("Ready", "unknown field 'Ready' at column 1; did you mean ready?"),
        ("current-jobs-ready", "unknown field 'current' at column 1; did you mean ready?"),
        ("ready + pause-left", "unknown field 'left' at column 15; did you mean pause or pause_left?"),
        ("pause-time-left", "unknown field 'time' at column 7; did you mean pause"),
        ("current_jobs_ready", "unknown field 'current_jobs_ready' at column 1; did you mean ready?"),
        ("2 * deleted_per_sec", "unknown field 'deleted_per_sec' at column 5; did you mean deleted"),
        ("1 + xyz", "unknown field 'xyz' at column 5; the fields are buried, delayed, deleted,"),
        ("maximum(1, ready)", "unknown function 'maximum' at column 1; did you mean max?"),
        ("f(ready)", "unknown function 'f' at column 1; the functions are ceil, max, min"),
        ("max + ready", "has 'max' at column 1, which is a function: write max(…)"),
        ("max", "has 'max' at column 1, which is a function: write max(…)"),
        ("max()", "calls max at column 1, which takes one operand or more"),
        ("max(ready", "isn't a formula: '(' was never closed at column 4"),
        ("ceil(ready, 2)", "calls ceil at column 1, which takes one operand"),
        ("ready 2", "isn't a formula: invalid syntax at column 7"),
        ("ready)", "isn't a formula: unmatched ')' at column 6"),
        ("(ready", "isn't a formula: '(' was never closed at column 1"),
        ("ready + ", "isn't a formula: invalid syntax at column 8"),
        ("ready ** 2", "has 'ready ** 2' at column 1; a formula has numbers, fields, + - * / ( ), min, max and ceil"),
        ("ready ÷ 2", "has '÷' at column 7; a formula has"),
        ("ready\x00", r"has '\x00' at column 6; a formula has"),
        ("0,5 * ready", "has '0,5 * ready' at column 1; a formula has"),
        ("1e3 * ready", "'1e3' at column 1 isn't a number; write digits, with a point before decimals: 12 or 0.5"),
        (".5 * ready", "'.5' at column 1 isn't a number; write digits, with a point before decimals: 12 or 0.5"),
        ("1.2.3 * ready", "isn't a formula: invalid syntax at column 4"),
        ("٣ * ready", "has '٣' at column 1; a formula has"),
        ("ready\n+ redy", "unknown field 'redy' at line 2, column 3; did you mean ready?"),
        ("007 * ready", "isn't a formula: leading zeros in decimal integer literals are not permitted at column 1"),
        ("ready if 1 else 2", "has 'ready if 1 else 2' at column 1; a formula has"),
        ("+ready", "has '+ready' at column 1; a formula has"),
        ("ready // 2", "has 'ready // 2' at column 1; a formula has"),
        ("not ready", "has 'not ready' at column 1; a formula has"),
        ("ready.real", "has 'ready.real' at column 1; a formula has"),
        ("max(ready, *reserved)", "has '*reserved' at column 12; a formula has"),
        ("max(i for i in ready)", "has '(i for i in ready)' at column 4; a formula has"),
        ("ready.max(1)", "has 'ready.max(1)' at column 1; a formula has"),
        ("ready #", "has '#' at column 7; a formula has"),
        ("__import__(ready)", "unknown function '__import__' at column 1; the functions are ceil, max, min"),
        ("True * ready", "'True' at column 1 isn't a number"),
        ("0x1f * ready", "'0x1f' at column 1 isn't a number"),
        ("1_000 * ready", "'1_000' at column 1 isn't a number"),
        ("5", "names no field, so it would never change; there are buried,"),
        ("ready / 0", "divides by 0, at column 9"),
        ("ready / (1 - 1)", "divides by (1 - 1), which is 0, at column 10"),
        ("ready / (1 / (2 - 2))", "divides by (2 - 2), which is 0, at column 15"),
        ("9" * 19 + " * ready", "the number at column 1 has more than 18 digits"),
        ("+".join(["ready"] * 200), "is 1,199 characters long, and a formula has at most 1,000"),
        ("(" * 51 + "ready" + ")" * 51, "nests more than 50 parentheses, at column 51"),
        ("ceil(" * 51 + "ready" + ")" * 51, "nests more than 50 parentheses, at column 255"),
        ("a" * 999, f"unknown field '{'a' * 40}'… at column 1; the fields are"),
    ],
)
def test_an_invalid_formula_is_reported_with_the_position(text: str, mistake: str) -> None:
    with pytest.raises(SettingError) as refused:
        parse_formula(text)
    assert str(refused.value).startswith(mistake)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ready / deleted_per_second", "divides by deleted_per_second, which is 0"),
        ("ready / (ready  -\n 3)", "divides by (ready - 3), which is 0"),
        ("max(1, ready / buried)", "divides by buried, which is 0"),
        ("reserved - 5", "is -3, but a metric can't be negative; use max(0, …)"),
        ("-put_per_second", "is ≈-0.333, but a metric can't be negative; use max(0, …)"),
        ("ready * 3100000000000000000", "the number"),
        (
            "ready * 31 * 100000000000000",
            "is 9300000000000000, above the Kubernetes limit (9223372036854775)",
        ),
        ("ready" + " * 999999999999999999" * 20, "has an intermediate result with too many digits"),
        ("ready" + " / 999999999999999999" * 20, "has an intermediate result with too many digits"),
    ],
)
def test_a_formula_without_a_value_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises((FormulaError, SettingError)) as refused:
        value(text)
    assert str(refused.value).startswith(reason)


def test_the_largest_value_is_the_largest_that_an_autoscaler_accepts() -> None:
    """It counts thousandths in an int64; of 2^63 - 1 jobs it would make -1."""
    largest = parse_formula("ready")
    assert largest.value({"ready": Fraction(MAX)}) == MAX
    assert MAX * 1000 < 2**63 <= (MAX + 1) * 1000
    with pytest.raises(FormulaError, match="above the Kubernetes limit"):
        largest.value({"ready": MAX + Fraction(1, 10**9)})


def test_intermediate_results_can_exceed_the_limit() -> None:
    assert parse_formula("total * total / total").value({"total": Fraction(MAX)}) == MAX


@pytest.mark.parametrize(
    "text",
    [
        "*".join(["total"] * 166),
        "/".join(["total"] * 166),
        "-".join(["-total"] * 142),
        "+".join(f"total/{n}" for n in range(100, 200)),
        "(" * 50 + "total" + ")" * 50,
        "max(" * 50 + ",".join(["total"] * 120) + ")" * 50,
        "-" * 995 + "total",
    ],
    ids=["product", "quotient", "difference", "fractions", "parentheses", "functions", "minuses"],
)
def test_the_largest_formulas_are_cheap(text: str) -> None:
    formula = parse_formula(text)
    began = process_time()
    for _ in range(10):
        with suppress(FormulaError):
            formula.value({"total": 2**64 - Fraction(1, 3)})
    assert process_time() - began < 0.5


def test_the_arithmetic_can_be_shown_with_its_numbers() -> None:
    formula = parse_formula("ready +  0.5*delayed / max(1, put_per_second, ready)")
    assert formula.shown(LIVE) == "3 +  0.5*4 / max(1, ≈0.333, 3)"


type Tree = tuple[str, Callable[[dict[str, Fraction]], Fraction]]
"""A formula's text, and the same in Python."""

SPACES = st.sampled_from(["", " ", "  ", "\n", "\t"])
NUMBERS = st.from_regex(r"(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?", fullmatch=True)
ANY_FIELD = st.sampled_from(sorted(FIELDS))


def _number(text: str) -> Tree:
    return text, lambda _: Fraction(text)


def _field(name: str) -> Tree:
    return name, lambda fields: fields[name]


def _parenthesised(tree: Tree, space: str) -> Tree:
    return f"({space}{tree[0]}{space})", tree[1]


def _binary(left: Tree, operator: str, right: Tree, space: str) -> Tree:
    """In parentheses, so that the operators around it don't matter."""
    compute: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
    }
    return (
        f"({left[0]}{space}{operator}{space}{right[0]})",
        lambda fields: compute[operator](left[1](fields), right[1](fields)),
    )


def _negated(tree: Tree, space: str) -> Tree:
    return f"(-{space}{tree[0]})", lambda fields: -tree[1](fields)


def _called(function: str, trees: list[Tree], space: str) -> Tree:
    operands = trees if function != "ceil" else trees[:1]
    compute: dict[str, Callable[[list[Fraction]], Fraction]] = {
        "min": min,
        "max": max,
        "ceil": lambda given: Fraction(math.ceil(given[0])),
    }
    return (
        f"{function}{space}({f'{space},{space}'.join(text for text, _ in operands)})",
        lambda fields: compute[function]([of(fields) for _, of in operands]),
    )


TREES: st.SearchStrategy[Tree] = st.recursive(
    st.one_of(NUMBERS.map(_number), ANY_FIELD.map(_field)),
    lambda trees: st.one_of(
        st.builds(_binary, trees, st.sampled_from("+-*/"), trees, SPACES),
        st.builds(_negated, trees, SPACES),
        st.builds(_parenthesised, trees, SPACES),
        st.builds(_called, st.sampled_from(["min", "max", "ceil"]), st.lists(trees, min_size=1, max_size=3), SPACES),
    ),
    max_leaves=20,
)
VALUES = st.lists(st.integers(0, 60_000), min_size=len(FIELDS), max_size=len(FIELDS)).map(
    lambda sixtieths: {name: Fraction(n, 60) for name, n in zip(sorted(FIELDS), sixtieths, strict=True)}
)


@given(TREES, VALUES)
def test_any_formula_has_the_value_that_python_gives_it(tree: Tree, fields: dict[str, Fraction]) -> None:
    text, reference = f"{tree[0]} + 0 * ready", tree[1]
    assume(len(text) <= 1_000)
    try:
        expected = reference(fields)
    except ZeroDivisionError:
        with pytest.raises((SettingError, FormulaError), match="divides by"):
            parse_formula(text).value(fields)
        return
    formula = parse_formula(text)
    if 0 <= expected <= MAX:
        assert formula.value(fields) == expected
    else:
        with pytest.raises(FormulaError, match=r"can't be negative|above the"):
            formula.value(fields)


CHAIN = st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 99)), max_size=12)


@given(CHAIN)
def test_operators_have_the_precedence_of_python(chain: list[tuple[str, int]]) -> None:
    operands = "".join(f" {operator} Fraction({operand})" for operator, operand in chain)
    expected = eval(f"Fraction(3){operands}")  # noqa: S307 - made of numbers and four operators
    text = "ready" + "".join(f"{operator}{operand}" for operator, operand in chain)
    assert parse_formula(f"max(0, {text})").value(LIVE) == max(0, expected)


@given(TREES, VALUES)
def test_the_shown_arithmetic_is_the_formulas(tree: Tree, fields: dict[str, Fraction]) -> None:
    whole = {name: Fraction(int(number)) for name, number in fields.items()}
    with suppress(SettingError, FormulaError):
        formula = parse_formula(f"{tree[0]} + ready")
        with_numbers = parse_formula(f"{formula.shown(whole)} + 0 * ready")
        assert with_numbers.value(whole) == formula.value(whole)


@given(st.one_of(st.text(), st.text("readyminmaxceil0123456789.+-*/(), \n", max_size=1_100)))
def test_any_text_is_a_formula_or_rejected(text: str) -> None:
    with suppress(SettingError, FormulaError):
        assert 0 <= value(text) <= MAX
