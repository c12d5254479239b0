"""What is noteworthy about a metric, its servers and its tubes: sentences for people, with what to do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from app.autoscaling.steps import duration
from app.explaining.explanation import Explanation, ServerTold, TubeTold

_SHOWN = 3
"""Tubes of one kind of finding that are named."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them."""

    sentence: str
    fix: str
    """Empty where there is nothing to do."""


def find(explanation: Explanation) -> tuple[Finding, ...]:
    """What explains most comes first."""
    return (
        *_errors(explanation),
        *(_unread(server) for server in explanation.servers if not server.fresh),
        *_held(explanation),
        *(finding for kind in _KINDS for finding in _of_tubes(kind, explanation)),
    )


def _errors(explanation: Explanation) -> Iterator[Finding]:
    if explanation.error is None:
        return
    fix = f"did you mean {' or '.join(explanation.error.near)}?" if explanation.error.near else ""
    yield Finding(f"there is no value: {explanation.error.message}", fix)


def _unread(server: ServerTold) -> Finding:
    why = server.failure or "its last reading is too old"
    since = f" for {duration(server.failing_for_s)}" if server.failing_for_s is not None else ""
    last = "it was never read" if server.age_s is None else f"it was last read {duration(server.age_s)} ago"
    return Finding(
        f"beanstalkd {server} at {server.address} can't be read{since}: {why}; {last}",
        "does it run, and do its address and the NetworkPolicies let the server's pods reach it?",
    )


def _held(explanation: Explanation) -> Iterator[Finding]:
    held = [item.held_for_s for item in explanation.items if item.held_for_s is not None]
    if held:
        yield Finding(
            f"the last good value is held for {duration(max(held))} already, as the rule's onFailure says"
            f" ({explanation.rule.on_failure if explanation.rule else 'hold'})",
            "",
        )


@dataclass(frozen=True, slots=True)
class _Kind:
    applies: Callable[[Explanation, TubeTold], bool]
    says: Callable[[TubeTold], str]
    fix: str


def _of_tubes(kind: _Kind, explanation: Explanation) -> Iterable[Finding]:
    found = [tube for tube in explanation.tubes if tube.exists and kind.applies(explanation, tube)]
    for tube in found[:_SHOWN]:
        yield Finding(f"tube {tube.name} on {tube.server} {kind.says(tube)}", kind.fix)
    if len(found) > _SHOWN:
        yield Finding(f"the same goes for {len(found) - _SHOWN} tubes more", "")


def _paused(tube: TubeTold) -> str:
    left = f" for another {duration(tube.pause_left_s)}" if tube.pause_left_s else ""
    return f"is paused{left}: nobody gets a job of it until then"


def _unwatched(_: Explanation, tube: TubeTold) -> bool:
    return bool(tube.count("ready")) and tube.count("watching") == 0


def _all_delayed(explanation: Explanation, tube: TubeTold) -> bool:
    formula = f"{explanation.rule.formula if explanation.rule else ''} {explanation.selector}"
    return (
        bool(tube.count("delayed")) and not (tube.count("ready") or tube.count("reserved")) and "delayed" not in formula
    )


_KINDS = (
    _Kind(lambda _, tube: tube.paused, _paused, "to end the pause now: pause-tube with 0 seconds"),
    _Kind(
        _unwatched,
        lambda tube: f"has {tube.count('ready')} jobs ready, and nobody watches it",
        "do its workers run, and watch a tube of exactly that name? (With 0 pods it is as it should be.)",
    ),
    _Kind(
        _all_delayed,
        lambda tube: f"has only delayed jobs ({tube.count('delayed')}): they count once their time has come",
        "",
    ),
    _Kind(
        lambda _, tube: bool(tube.count("buried")),
        lambda tube: f"has {tube.count('buried')} buried jobs, which no worker gets",
        "look at why their workers buried them; kick makes them ready again",
    ),
)
