"""What happened is seen by comparing two moments."""

from dataclasses import replace

import pytest

from app.beanstalkd.reading import Failure, ServerState, Snapshot
from app.console.events import Event, EventLog, of_autoscalers, of_servers
from app.hpa.autoscaler import parse_hpa
from app.settings import ObjectName, Server
from tests.unit.console.moments import at, server, tube, unread
from tests.unit.hpa.hpas import hpa


def happened(before: ServerState, after: ServerState) -> list[tuple[str, str, str | None]]:
    events = of_servers(Snapshot((before,)), Snapshot((after,)), at(0).unix_s)
    return [(event.kind, event.text, event.tube) for event in events]


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        pytest.param(server(tube()), server(tube(ready=9)), [], id="jobs come and go"),
        pytest.param(
            server(),
            server(failure="connection refused"),
            [("down", "beanstalkd eu can't be read: connection refused", None)],
            id="down",
        ),
        pytest.param(
            server(),
            replace(server(), failure=Failure("gone", at(0))),
            [("down", "beanstalkd eu can't be read: gone", None)],
            id="gone",
        ),
        pytest.param(server(failure="x"), server(failure="y"), [], id="still down"),
        pytest.param(server(failure="x"), server(), [("up", "beanstalkd eu can be read again", None)], id="up again"),
        pytest.param(unread(), server(), [], id="there for the first time"),
        pytest.param(
            server(tube(ready=2, reserved=1, pause_left=5), tube("mail", delayed=48, buried=1)),
            server(life="next"),
            [("loss", "beanstalkd eu restarted: 52 jobs before, 0 after", None)],
            id="restart without binlog",
        ),
        pytest.param(
            server(tube(ready=1, pause_left=5)),
            server(tube(ready=1), life="next"),
            [("restart", "beanstalkd eu restarted: 1 job before, 1 after", None)],
            id="restart with binlog",
        ),
        pytest.param(
            server(tube()), server(tube(pause_left=60, pauses=1)), [("pause", "paused for 1 min", "orders")], id="pause"
        ),
        pytest.param(
            server(),
            server(tube(pause_left=60, pauses=1)),
            [("pause", "paused for 1 min", "orders")],
            id="made and paused meanwhile",
        ),
        pytest.param(
            server(tube(pause_left=60, pauses=1)), server(tube(pause_left=59, pauses=1)), [], id="still paused"
        ),
        pytest.param(
            server(tube(pause_left=1, pauses=1)),
            server(tube(pause_left=60, pauses=2)),
            [("pause", "paused for 1 min", "orders")],
            id="paused once more",
        ),
        pytest.param(
            server(tube(pause_left=1, pauses=1)),
            server(tube(pauses=1)),
            [("resume", "the pause ended", "orders")],
            id="over",
        ),
        pytest.param(
            server(tube()),
            server(tube(pauses=1)._replace(pause=2)),
            [("pause", "paused for 2 s", "orders")],
            id="first read in the last second of its pause",
        ),
        pytest.param(
            server(tube(pause_left=1, pauses=1)),
            server(tube(pauses=1)._replace(pause=60)),
            [],
            id="in the last second of its pause",
        ),
    ],
)
def test_between_two_moments(
    before: ServerState, after: ServerState, events: list[tuple[str, str, str | None]]
) -> None:
    assert happened(before, after) == events


def test_a_new_decision_of_an_autoscaler_is_an_event() -> None:
    before, after = parse_hpa(hpa(current=1, desired=1)), parse_hpa(hpa(current=1, desired=4))
    events = list(of_autoscalers([before], [after], 7.0))
    assert events == [
        Event(
            7.0, "rescale", "orders scales Deployment/orders from 1 pod to 4", autoscaler=ObjectName("shop", "orders")
        )
    ]
    assert list(of_autoscalers([], [after], 7.0)) == []


def test_a_change_reported_by_an_action_is_not_reported_again() -> None:
    log, eu = EventLog(), Server("eu", "eu.example", 11300)
    log.add([Event(10.0, "pause", "you paused it", eu, "orders")])
    log.notice([Event(11.0, "pause", "paused for 1 min", eu, "orders"), Event(11.0, "pause", "another", eu, "mail")])
    log.notice([Event(40.0, "pause", "paused once more", eu, "orders")])
    assert [event["text"] for event in log.of(eu, "orders", (), 40.0)] == ["you paused it", "paused once more"]
    assert [event["text"] for event in log.of(eu, "mail", (), 40.0)] == ["another"]


def test_the_log_is_limited_and_keeps_the_last_restart() -> None:
    log = EventLog()
    log.add(Event(float(second), "restart", "again", Server("eu", "eu.example", 11300)) for second in range(6000))
    last = log.last_restart(Server("eu", "eu.example", 11300))
    assert last is not None
    assert last.at_s == 5999
    assert log.last_restart(Server("us", "us.example", 11300)) is None
    assert len(log.of(Server("eu", "eu.example", 11300), "orders", (), 6000.0)) == 200
