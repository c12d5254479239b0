"""One autoscaler as JSON: why it does or doesn't scale, and what another target would make of it. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.autoscaling.decision import decide, with_target
from app.autoscaling.quantity import QuantityError, milli, parse_quantity
from app.console.autoscalers import first_external
from app.explaining.document import document
from app.explaining.gathering import Facts
from app.explaining.verdict import judge

_LONGEST_TARGET = 30

type Json = dict[str, Any]


class BadTargetError(ValueError):
    """`str()` is a sentence."""


def parse_target(text: str) -> int | None:
    """Thousandths of a target that somebody tries; None for an empty text. Raises BadTargetError."""
    if not text:
        return None
    try:
        target = milli(parse_quantity(text[:_LONGEST_TARGET]))
    except QuantityError as error:
        raise BadTargetError(f"the target is no number: {error}") from error
    if target <= 0 or len(text) > _LONGEST_TARGET:
        raise BadTargetError(f"a target is more than 0: {text[:_LONGEST_TARGET]!r}")
    return target


def explained(facts: Facts, now_unix_s: float) -> Json:
    """The document; `now_unix_s` on the cluster's clock."""
    return document(judge(facts, now_unix_s))


def what_if(facts: Facts, target: int | None, now_unix_s: float) -> Mapping[str, Any] | None:
    """How many pods the autoscaler would go to with another target, in thousandths, of its first external metric."""
    if target is None or not facts.autoscalers:
        return None
    gathered = facts.autoscalers[0]
    position = first_external(gathered.autoscaler)
    if position is None:
        return None
    before = gathered.autoscaler.metrics[position].target
    tried = with_target(gathered.autoscaler, position, replace(before, amount=target))
    decision = decide(tried, gathered.scale, gathered.seen, now_unix_s)
    return {"target": _number(target), "pods": decision.pods}


def _number(thousandths: int) -> float | int:
    return thousandths // 1000 if thousandths % 1000 == 0 else thousandths / 1000
