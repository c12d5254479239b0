"""What a selector leaves of servers, tubes and other labels' values, or why it can leave nothing."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from app.metrics.outcome import TooManyTubesError, UnknownMetricError
from app.metrics.selector import Selector
from app.tubes.names import is_tube_name
from app.tubes.snapshot import ServerState

MOST_NAMED = 1000
"""Tubes that one selector may name: those that don't exist are answered too, so there is no other end to them."""


def check_labels(metric: str, selector: Selector, labels: Collection[str]) -> None:
    """Raises UnknownMetricError for a demand that nothing can meet; an empty answer wouldn't say why."""
    unknown = {part.key for part in selector.requirements if not part.matches({})}.difference(labels)
    if unknown:
        names = ", ".join(map(repr, sorted(unknown)))
        has = ", ".join(map(repr, sorted(labels))) or "none"
        raise UnknownMetricError(f"{metric} has no label {names}; it has {has}")


def server_labels(states: Iterable[ServerState]) -> frozenset[str]:
    """Labels that tell servers apart: where a name has several addresses, the address too."""
    return frozenset({"server", "address"} if any(state.member for state in states) else {"server"})


def labels_of(state: ServerState) -> Mapping[str, str]:
    """Those of one server."""
    if state.member is None:
        return {"server": state.server.name}
    return {"address": state.member, "server": state.server.name}


def left_in(metric: str, selector: Selector, states: Sequence[ServerState]) -> Sequence[ServerState]:
    """The servers that the selector leaves in; only they must be fresh. Raises UnknownMetricError."""
    for key in ("address", "server"):
        if any(part.key == key for part in selector.requirements):
            known = [value for state in states if (value := labels_of(state).get(key)) is not None]
            check_value(metric, selector, key, known)
            states = [state for state in states if may_be(selector, key, labels_of(state))]
    return states


def check_value(metric: str, selector: Selector, key: str, known: Iterable[str]) -> None:
    """Raises UnknownMetricError where only unknown values would do."""
    pinned = selector.pinned(key)
    if pinned is not None and pinned.isdisjoint(known):
        demanded = ", ".join(repr(name) for name in sorted(pinned)) or "two values at once"
        there_is = ", ".join(map(repr, dict.fromkeys(known)))
        raise UnknownMetricError(f"{metric} has no {key} {demanded}; there is {there_is}")


def may_be(selector: Selector, key: str, labels: Mapping[str, str]) -> bool:
    """Whether the conditions on this one label hold."""
    return all(part.matches(labels) for part in selector.requirements if part.key == key)


def tubes_named(selector: Selector) -> Sequence[str] | None:
    """The only tubes that it leaves, sorted; None where it doesn't list them. Raises TooManyTubesError."""
    pinned = selector.pinned("tube")
    if pinned is None:
        return None
    if len(pinned) > MOST_NAMED:
        raise TooManyTubesError(
            f"the selector names {len(pinned):,} tubes, and at most {MOST_NAMED:,} are answered at once;"
            " ask several times, or without naming any"
        )
    return sorted(filter(is_tube_name, pinned))
