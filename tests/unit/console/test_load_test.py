"""The load test: its limits, and the predicted pods with their assumptions."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Counts, ServerState, TubeRef
from app.console.action_input import ActionInput
from app.console.autoscalers import AutoscalerStore, evaluate_autoscalers
from app.console.errors import RequestError
from app.console.load_test import Forecast, parse_autoscaler, parse_load, predict_pods
from app.console.overview import View
from app.console.prediction import Load
from app.hpa.autoscaler import parse_hpa
from app.settings import ObjectName
from tests.unit.console.moments import at, server, tube, unread, view
from tests.unit.hpa.hpas import Json, external, hpa

ORDERS = ObjectName("shop", "orders")
PROMPT: Json = {"scaleUp": {"policies": [{"type": "Pods", "value": 100, "periodSeconds": 15}]}}
LOAD = Load(20, 20)


def deleting(stats: TubeStats, deleted: int) -> ServerState:
    """A beanstalkd whose tube lost so many jobs within the last 10 s."""
    state = server(stats._replace(cmd_delete=deleted))
    assert state.reading
    earlier = {stats.name: Counts(at(-10), 0, 0)}
    return replace(state, reading=replace(state.reading, earlier=MappingProxyType(earlier)))


def forecast(
    state: ServerState, autoscaler: Json | None = None, *, into: str = "orders", scaling_enabled: bool | None = None
) -> Forecast:
    now: View = view(state)
    store = AutoscalerStore("not yet")
    store.scaling_enabled = scaling_enabled
    store.update(evaluate_autoscalers([parse_hpa(autoscaler or hpa(behavior=PROMPT))], now.evaluation), at(0).unix_s)
    return predict_pods(now, store, ORDERS, TubeRef(state.server, into), LOAD)


def test_pods_are_predicted_from_the_current_deletion_rate() -> None:
    """4 jobs in 10 s by one pod: of 20 jobs it finishes 6 until the first look, and 14 take 7 pods."""
    data = forecast(deleting(tube(), 4))
    assert data.points[:2] == ((at(0).unix_s, 1), (at(15).unix_s, 7))
    assert "each pod deletes 0.4 jobs/s, as now" in data.assumption


def test_without_deletions_the_assumption_is_stated() -> None:
    data = forecast(deleting(tube(), 0))
    assert data.points[1] == (at(15).unix_s, 10)
    assert "the rate per pod is unknown" in data.assumption


@pytest.mark.parametrize(
    ("enabled", "second", "words"),
    [(True, 1, "and beanscale scales up within a second"), (None, 1, "and beanscale"), (False, 15, "every 15 s")],
)
def test_beanscale_scales_up_at_once_where_its_scaler_runs(enabled: bool | None, second: int, words: str) -> None:
    annotated = hpa(behavior=PROMPT, annotations={"immediate": "true"})
    data = forecast(deleting(tube(), 0), annotated, scaling_enabled=enabled)
    assert data.points[1] == (at(second).unix_s, 10)
    assert words in data.assumption
    assert ("beanscale" in data.assumption) is (enabled is not False)


def test_after_one_reading_the_rate_is_unknown_too() -> None:
    assert "the rate per pod is unknown" in forecast(server(tube())).assumption


@pytest.mark.parametrize(
    ("state", "autoscaler", "into", "why"),
    [
        pytest.param(server(tube()), hpa(name="others"), "orders", "is unknown", id="another autoscaler"),
        pytest.param(server(tube()), hpa(), "mails", "doesn't use tube mails", id="another tube"),
        pytest.param(
            unread(), hpa(), "orders", "this console can't read tube-orders at the moment", id="beanstalkd is down"
        ),
        pytest.param(
            server(tube()), hpa(external("elsewhere", averageValue="2")), "orders", "doesn't use", id="not ours"
        ),
    ],
)
def test_without_a_prediction_the_reason_is_stated(state: ServerState, autoscaler: Json, into: str, why: str) -> None:
    data = forecast(state, autoscaler, into=into)
    assert data.points == ()
    assert why in data.assumption


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param({"jobs": 100_001, "perSecond": 1000}, "jobs must be an integer from 1 to 100,000", id="many"),
        pytest.param({"jobs": 1, "perSecond": 1001}, "perSecond must be an integer from 1 to 1,000", id="fast"),
        pytest.param({"jobs": 100_000, "perSecond": 1}, "more than an hour", id="long"),
        pytest.param({"perSecond": 1}, "jobs must be", id="how many is missing"),
    ],
)
def test_a_load_has_limits(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_load(ActionInput(asked))


def test_a_load_within_the_limits_is_accepted() -> None:
    assert parse_load(ActionInput({"jobs": 3600, "perSecond": 1, "delay": 5})) == Load(3600, 1, 5)


def test_a_load_can_have_no_autoscaler() -> None:
    assert parse_autoscaler(ActionInput({})) is None
    assert parse_autoscaler(ActionInput({"namespace": "shop", "name": "orders"})) == ORDERS
    with pytest.raises(RequestError, match="namespace is missing"):
        parse_autoscaler(ActionInput({"name": "orders"}))
