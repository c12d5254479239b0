"""Selectors are parsed, matched and refused as Kubernetes' own library does it, in words of our own.

recorded/main.go wrote down how.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.metrics.selector import Requirement, Selector, SelectorError, parse_selector

RECORDED = Path(__file__).parent / "recorded" / "selectors.jsonl"


def test_every_recorded_selector_has_the_same_meaning() -> None:
    first, *lines = map(json.loads, RECORDED.read_text().splitlines())
    assert len(lines) > 1000
    deviations = list(filter(None, (deviation(recorded, first["labels"]) for recorded in lines)))
    assert not deviations, "\n".join([f"{len(deviations)} selectors deviate", *deviations])


def deviation(recorded: dict[str, Any], sets: list[Mapping[str, str]]) -> str:
    text = recorded.pop("selector")
    made = made_of(text, sets)
    if "error" in made and "error" in recorded:
        return ""
    return "" if made == recorded else f"{text!a}\n  is      {made!a}\n  and was {recorded!a}"


def made_of(text: str, sets: list[Mapping[str, str]]) -> Mapping[str, Any]:
    try:
        selector = parse_selector(text)
    except SelectorError as error:
        return {"error": str(error)}
    matches = [at for at, labels in enumerate(sets) if selector.matches(labels)]
    return {"string": canonical(selector), "matches": matches}


def canonical(selector: Selector) -> str:
    """As labels.Selector writes itself: by key, and values by their order."""
    return ",".join(map(written, sorted(selector.requirements, key=lambda requirement: requirement.key)))


def written(requirement: Requirement) -> str:
    values = ",".join(sorted(requirement.values))
    match requirement.operator:
        case "exists":
            return requirement.key
        case "!":
            return f"!{requirement.key}"
        case "in" | "notin" as operator:
            return f"{requirement.key} {operator} ({values})"
        case operator:
            return f"{requirement.key}{operator}{values}"
