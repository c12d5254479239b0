"""What happened is seen by comparing two moments."""

from dataclasses import replace

import pytest

from app.beanstalkd.reading import Failure, ServerState, Snapshot
from app.console.events import Event, EventLog, of_autoscalers, of_servers, reported_events
from app.explain.events import HpaEvent
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


def test_a_number_of_pods_that_the_controller_only_found_is_another_ones() -> None:
    annotations = {"immediate": "true"}
    before = parse_hpa(hpa(desired=1, last_scale="2026-10-12T08:00:00Z", annotations=annotations))
    for last_scale, kind, text in (
        ("2026-10-12T08:00:00Z", "scaled", "Deployment/orders was scaled from 1 pod to 4, not by the HPA controller"),
        ("2026-10-12T08:09:00Z", "rescale", "orders scales Deployment/orders from 1 pod to 4"),
    ):
        after = parse_hpa(hpa(desired=4, last_scale=last_scale, annotations=annotations))
        (event,) = of_autoscalers([before], [after], 7.0)
        assert (event.kind, event.text) == (kind, text)


NAME = ObjectName("shop", "orders")


def test_what_beanscale_reported_replaces_what_two_polls_show() -> None:
    log = EventLog()
    log.add([Event(5.0, "scaled", "was scaled", autoscaler=NAME, is_found=True)])
    log.add([Event(6.0, "rescale", "orders scales", autoscaler=NAME)])
    assert [event["text"] for event in log.of(None, None, [NAME], 9.0)] == ["was scaled", "orders scales"]
    known = [
        HpaEvent(14.0, True, "NotScaled", "forbidden", "beanscale", 1),
        HpaEvent(13.0, False, "SuccessfulRescale", "New size: 1", "horizontal-pod-autoscaler", 1),
        HpaEvent(12.0, False, "Scaled", "m" * 300, "beanscale", 1),
    ]
    reported = list(reported_events(NAME, known, ahead_s=-10.0))
    assert log.of(None, None, [NAME], 9.0, reported) == [
        {"t": 2.0, "kind": "scaled", "text": f"beanscale: {'m' * 200}…"},
        {"t": 4.0, "kind": "not-scaled", "text": "beanscale: forbidden"},
        {"t": 6.0, "kind": "rescale", "text": "orders scales"},
    ]
    assert [event["kind"] for event in log.of(None, None, [NAME], 9.0, reported[:1])] == [
        "not-scaled",
        "scaled",
        "rescale",
    ]


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
