"""A tube that no autoscaler can ask for is told in the log: once, with what to do, and not so often as to fill it."""

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.api.telemetry import MAX_LOGGED, TubesWithoutMetric
from app.beanstalkd.reading import ServerState, Snapshot
from app.metrics.rules import Rule, Rules
from tests.unit.metrics.given import glob, rule, server, tube, unread


class Log:
    """What is told look after look."""

    def __init__(self, *rules: Rule) -> None:
        self._snapshot = Snapshot(())
        self._tubes = TubesWithoutMetric(lambda: self._snapshot, Rules({each.name: each for each in rules}))

    def after(self, *states: ServerState) -> list[Any]:
        self._snapshot = Snapshot(states)
        with capture_logs() as lines:
            self._tubes.check()
        return lines


def eu(names: Sequence[str]) -> ServerState:
    return server("eu", *map(tube, names))


def tubes(lines: Sequence[Any]) -> list[Any]:
    return [line["tube"] for line in lines]


def test_a_tube_that_neither_a_metric_nor_a_label_can_name_is_told_with_what_to_do() -> None:
    (line,) = Log().after(eu(["default", "mail/eu", "Mail;eu", "$(x)"]))
    assert line == {
        "event": "tube has no metric: '/' in its name",
        "log_level": "info",
        "tube": "mail/eu",
        "server": "eu",
        "hint": "add a rule to metrics: {name: …, tubes: [mail/eu], value: ready + reserved}",
    }


def test_it_is_told_once_over_restarts_and_on_however_many_servers() -> None:
    log = Log()
    assert tubes(log.after(eu(["mail/eu"]))) == ["mail/eu"]
    assert log.after(eu(["mail/eu", "other"])) == []
    assert log.after(unread("eu")) == []
    assert log.after(eu([])) == []
    assert log.after(eu(["mail/eu"]), server("us", tube("mail/eu"))) == []
    assert tubes(log.after(eu(["mail/eu", "mail/us"]))) == ["mail/us"]


@pytest.mark.parametrize(
    ("by", "told"),
    [
        pytest.param(rule(tubes="mail/eu"), [], id="exactly"),
        pytest.param(rule(tubes="mail/*"), [], id="by a pattern"),
        pytest.param(rule(tubes="mail/us"), ["mail/eu"], id="another tube"),
        pytest.param(rule(tubes="*", servers=frozenset({"us"})), ["mail/eu"], id="on another server"),
    ],
)
def test_what_a_rule_names_is_not_told(by: Rule, told: list[str]) -> None:
    assert tubes(Log(by).after(eu(["mail/eu"]))) == told


def test_of_thousands_the_first_are_named_then_their_number_is_told_and_never_more() -> None:
    log, names = Log(), [f"mail/{number:05}" for number in range(5000)]
    *named, rest = log.after(eu(names))
    assert tubes(named) == names[:MAX_LOGGED]
    assert (rest["tubes"], rest["event"]) == (
        5000 - MAX_LOGGED,
        "more tubes have no metric (further ones are not logged)",
    )
    assert log.after(eu([f"post/{number:05}" for number in range(5000)])) == []


def test_those_that_come_one_by_one_are_bounded_too() -> None:
    log = Log(rule(tubes="named/*", servers=None, namespaces=glob("shop")))
    lines = [line for number in range(100) for line in log.after(eu([f"mail/{number:03}", "named/a"]))]
    assert len(lines) == MAX_LOGGED + 1
    assert lines[-1]["tubes"] == 1
