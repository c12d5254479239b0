"""One tube: its row, its hour and its events; there, gone, or never seen."""

from dataclasses import replace

import pytest

from app.beanstalkd.protocol import InvalidField, PartialTubeStats
from app.beanstalkd.reading import Counts, Reading, ServerState, Snapshot, TubeRef
from app.console.autoscalers import AutoscalerLink, AutoscalerStore
from app.console.events import Event
from app.console.history import PastTubes
from app.console.overview import View, tube_page
from app.console.own_changes import OwnChanges
from app.metrics.query import MetricQuery
from app.metrics.resolve import resolve
from app.metrics.rules import Glob, Rules
from app.metrics.selector import parse_selector
from app.quantity import parse_quantity
from app.settings import ObjectName, Server
from tests.unit.console.moments import at, sampled, server, tube, view

NO_AUTOSCALERS = AutoscalerStore("there is no cluster")


def page(given: View, state: ServerState, name: str = "orders") -> dict:
    return tube_page(given, state, name, NO_AUTOSCALERS)


def test_a_tubes_page_has_all_fields_of_stats_tube() -> None:
    state = server(tube(ready=3, pauses=2, pause_left=30), second=0)
    data = page(view(state, second=1), state)["tube"]
    assert (data["ready"], data["pauses"], data["pause"], data["pauseLeft"]) == (3, 2, 60, 30)
    assert data["seenAt"] == at(0).unix_s


def test_a_tube_that_is_gone_has_zeros_and_its_last_time() -> None:
    past = PastTubes()
    past.sample(Snapshot((server(tube()),)))
    state = server(second=5)
    past.sample(Snapshot((state,)))
    data = page(view(state, second=6, past=past), state)["tube"]
    assert (data["gone"], data["ready"], data["total"], data["seenAt"]) == (True, 0, 0, at(0).unix_s)


def test_a_tube_never_read_is_reported() -> None:
    state = server(tube())
    data = page(view(state), state, "misspelt")["tube"]
    assert (data["gone"], data["seenAt"], data["ready"]) == (True, None, 0)


def test_a_tube_whose_server_cant_be_read_is_unknown() -> None:
    state = server(tube(ready=1), failure="no answer in time")
    data = page(view(state, second=60), state)["tube"]
    assert (data["ready"], data["total"], data["pauseLeft"], data["drainSeconds"]) == (None, None, None, None)
    assert data["seenAt"] == at(0).unix_s


def test_the_drain_time_equals_the_metric_despite_a_rounded_rate() -> None:
    before = server(tube(ready=1000), second=0)
    assert before.reading is not None
    counts = {"orders": Counts(at(0), 1000, 0)}
    stats = tube(ready=1000)._replace(cmd_delete=7, answered_at=at(9))
    state = replace(before, reading=replace(Reading.of("life of eu", at(9), [stats]), earlier=counts))
    given = replace(view(state, second=9), rules=Rules())
    (value,) = resolve(
        MetricQuery("beanstalkd_tube_drain_seconds", "shop", parse_selector("tube=orders")), given.evaluation
    ).values()
    row = page(given, state)["tube"]
    assert (row["deletedPerSecond"], 1000 / row["deletedPerSecond"]) == (0.778, pytest.approx(1285.347))
    assert row["drainSeconds"] == round(float(parse_quantity(value.quantity)), 3) == 1285.714


def trend(
    *jobs: int | None, own: tuple[float, float] | None = None, restarted: float | None = None, **now: int
) -> tuple[float | None, float | None, bool]:
    """The trend five seconds after the last sample; `jobs` are ready ones at each sample, then now."""
    *sampled_jobs, last = jobs
    moments = [
        (server(tube(ready=each or 0), second=5 * turn, failure="" if each is not None else "x"),)
        for turn, each in enumerate(sampled_jobs)
    ]
    second = 5 * len(moments)
    state = server(tube(ready=last or 0, **now), second=second)
    given = view(state, second=second, history=sampled(*moments))
    if restarted is not None:
        given.events.add([Event(at(restarted).unix_s, "restart", "eu restarted: all is gone", state.server)])
    if own is not None:
        clock = iter(own)
        given = replace(given, own_changes=OwnChanges(lambda: at(next(clock))))
        with given.own_changes.recorded([TubeRef(state.server, "orders")], deletes=True):
            pass
    data = page(given, state)["tube"]
    return data["netPerSecond"], data["emptySeconds"], data["ownChanges"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(trend(0), (None, None, False), id="no sample yet"),
        pytest.param(trend(10, 20), (2, None, False), id="one sample"),
        pytest.param(trend(90, 60, 50, 40, 30), (-3, 10, False), id="shrinking"),
        pytest.param(trend(*[900] * 9, *[100] * 7), (0, None, False), id="more than half a minute ago"),
        pytest.param(trend(90, None, 50, 40), (-2, 20, False), id="a gap"),
        pytest.param(trend(40, 30, buried=5, delayed=7), (-2, 15, False), id="other jobs"),
        pytest.param(trend(40, 30, pause_left=30), (-2, None, False), id="paused"),
        pytest.param(trend(1000, 1010, 5, 10, restarted=10), (1.5, None, False), id="a restart"),
        pytest.param(trend(0, 10, 20, 0, own=(12, 13)), (2, None, True), id="emptied here"),
        pytest.param(trend(10, 0, own=(1, 2)), (None, None, True), id="only changes from here"),
    ],
)
def test_the_trend_is_the_change_of_ready_and_reserved_jobs(
    found: tuple[float | None, float | None, bool], expected: tuple[float | None, float | None, bool]
) -> None:
    assert found == expected


def test_a_tube_is_paused_until_its_last_moment() -> None:
    for left in (0, -1):
        state = server(tube(ready=3)._replace(pause=2, pause_time_left=left), second=0)
        data = page(view(state, second=1), state)["tube"]
        assert ("paused" in data["notes"], data["pauseLeft"]) == (True, 0)


def test_an_invalid_field_has_its_reason() -> None:
    problem = InvalidField("total-jobs", "counter below zero (-1)")
    state = server(PartialTubeStats(*tube(ready=3)[:7], problem, *tube()[8:]), second=0)
    data = page(view(state, second=1), state)["tube"]
    reason = "total-jobs: counter below zero (-1)"
    assert data["invalid"] == {"total": reason, "putPerSecond": reason}
    assert (data["total"], data["putPerSecond"], data["ready"]) == (None, None, 3)


def test_an_autoscaler_with_several_metrics_is_one() -> None:
    state, name = server(tube(ready=1), second=0), ObjectName("shop", "orders")
    links = [AutoscalerLink(name, Glob(("orders",)), frozenset({"eu"}), ignores) for ignores in (True, False)]
    found = page(replace(view(state, second=1), links=links), state)["tube"]["autoscalers"]
    assert found == [{"namespace": "shop", "name": "orders", "ignoresPaused": True}]


def test_an_autoscaler_with_several_metrics_is_shown_once_beside_others() -> None:
    state = server(tube(ready=1), second=0)
    names = [ObjectName("shop", f"orders-{number}") for number in range(11)]
    links = [
        AutoscalerLink(name, Glob(("orders",)), frozenset({"eu"}), each) for name in names for each in (True, False)
    ]
    given = replace(view(state, second=1), links=links)
    given.events.add([Event(at(0).unix_s, "rescale", str(name), autoscaler=name) for name in names])
    assert [each["text"] for each in page(given, state)["events"]] == [str(name) for name in names[:10]]


def test_a_tubes_page_has_its_history() -> None:
    state = server(tube(ready=1, buried=2), second=0)
    history = page(view(state, history=sampled((state,))), state)["history"]
    assert history == {"t": [at(0).unix_s], "ready": [1], "reserved": [0], "delayed": [0], "buried": [2]}


def test_a_tubes_events_are_those_of_the_tube_and_its_server() -> None:
    state, given = server(tube(), second=0), view(server(tube()), second=10)
    eu, us = Server("eu", "eu.example", 11300), Server("us", "us.example", 11300)
    given.events.add(
        [
            Event(at(-3600).unix_s, "kick", "more than an hour ago", eu, "orders"),
            Event(at(1).unix_s, "restart", "server", eu),
            Event(at(2).unix_s, "pause", "ours", eu, "orders"),
            Event(at(3).unix_s, "pause", "another tube's", eu, "mail"),
            Event(at(4).unix_s, "pause", "another server's", us, "orders"),
        ]
    )
    assert [event["text"] for event in page(given, state)["events"]] == ["server", "ours"]
