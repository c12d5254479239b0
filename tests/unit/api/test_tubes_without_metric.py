"""A tube that no HPA can query is logged once with the fix, and the number of lines is limited."""

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.api.telemetry import MAX_LOGGED, TubesWithoutMetric
from app.beanstalkd.reading import ServerState, Snapshot
from app.metrics.rules import Rule, Rules
from tests.unit.metrics.given import glob, rule, server, tube, unread


class Log:
    """The lines logged by successive checks."""

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


def test_a_tube_without_metric_name_and_label_is_logged_with_the_fix() -> None:
    (line,) = Log().after(eu(["default", "mail/eu", "Mail;eu", "$(x)"]))
    assert line == {
        "event": "tube has no metric: '/' in its name",
        "log_level": "info",
        "tube": "mail/eu",
        "server": "eu",
        "hint": "add a rule to metrics: {name: …, tubes: [mail/eu], value: ready + reserved}",
    }


def test_it_is_logged_once_across_restarts_and_servers() -> None:
    log = Log()
    assert tubes(log.after(eu(["mail/eu"]))) == ["mail/eu"]
    assert log.after(eu(["mail/eu", "other"])) == []
    assert log.after(unread("eu")) == []
    assert log.after(eu([])) == []
    assert log.after(eu(["mail/eu"]), server("us", tube("mail/eu"))) == []
    assert tubes(log.after(eu(["mail/eu", "mail/us"]))) == ["mail/us"]


@pytest.mark.parametrize(
    ("by", "logged"),
    [
        pytest.param(rule(tubes="mail/eu"), [], id="exactly"),
        pytest.param(rule(tubes="mail/*"), [], id="by a pattern"),
        pytest.param(rule(tubes="mail/us"), ["mail/eu"], id="another tube"),
        pytest.param(rule(tubes="*", servers=frozenset({"us"})), ["mail/eu"], id="on another server"),
    ],
)
def test_a_tube_that_a_rule_covers_is_not_logged(by: Rule, logged: list[str]) -> None:
    assert tubes(Log(by).after(eu(["mail/eu"]))) == logged


def test_of_thousands_the_first_are_named_and_the_others_counted_once() -> None:
    log, names = Log(), [f"mail/{number:05}" for number in range(5000)]
    *named, rest = log.after(eu(names))
    assert tubes(named) == names[:MAX_LOGGED]
    assert (rest["tubes"], rest["event"]) == (
        5000 - MAX_LOGGED,
        "more tubes have no metric (further ones are not logged)",
    )
    assert log.after(eu([f"post/{number:05}" for number in range(5000)])) == []


def test_tubes_that_appear_one_by_one_are_limited_too() -> None:
    log = Log(rule(tubes="named/*", servers=None, namespaces=glob("shop")))
    lines = [line for number in range(100) for line in log.after(eu([f"mail/{number:03}", "named/a"]))]
    assert len(lines) == MAX_LOGGED + 1
    assert lines[-1]["tubes"] == 1
