"""The load lab: what may be put, and what is expected of it, with what that rests on."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Counts, ServerState
from app.console.action_input import BadInputError, Fields
from app.console.action_requests import NamedTube
from app.console.autoscalers import AutoscalerStore, evaluate_autoscalers
from app.console.load_test import Forecast, autoscaler_of, forecast_of, load_of
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


def forecast(state: ServerState, autoscaler: Json | None = None, *, into: str = "orders") -> Forecast:
    now: View = view(state)
    known = AutoscalerStore("not yet")
    known.update(evaluate_autoscalers([parse_hpa(autoscaler or hpa(behavior=PROMPT))], now.evaluation), at(0).unix_s)
    return forecast_of(now, known, ORDERS, NamedTube(state, into), LOAD)


def test_pods_are_predicted_by_the_pace_at_which_jobs_are_finished_now() -> None:
    """4 jobs in 10 s by one pod: of 20 jobs it finishes 6 until the first look, and 14 take 7 pods."""
    told = forecast(deleting(tube(), 4))
    assert told.points[:2] == ((at(0).unix_s, 1), (at(15).unix_s, 7))
    assert "each pod finishes 0.4 jobs a second, as now" in told.assumption


def test_where_nothing_is_finished_that_is_said() -> None:
    told = forecast(deleting(tube(), 0))
    assert told.points[1] == (at(15).unix_s, 10)
    assert "nobody knows a pod's pace" in told.assumption


def test_after_one_reading_the_pace_isnt_known_either() -> None:
    assert "nobody knows a pod's pace" in forecast(server(tube())).assumption


@pytest.mark.parametrize(
    ("state", "autoscaler", "into", "why"),
    [
        pytest.param(server(tube()), hpa(name="others"), "orders", "isn't known", id="another autoscaler"),
        pytest.param(server(tube()), hpa(), "mails", "doesn't go by tube mails", id="another tube"),
        pytest.param(unread(), hpa(), "orders", "tube-orders has no value just now", id="beanstalkd is down"),
        pytest.param(
            server(tube()), hpa(external("elsewhere", averageValue="2")), "orders", "doesn't go by", id="not ours"
        ),
    ],
)
def test_where_nothing_can_be_predicted_it_says_why(state: ServerState, autoscaler: Json, into: str, why: str) -> None:
    told = forecast(state, autoscaler, into=into)
    assert told.points == ()
    assert why in told.assumption


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param({"jobs": 100_001, "perSecond": 1000}, "jobs must be a whole number from 1 to 100,000", id="many"),
        pytest.param({"jobs": 1, "perSecond": 1001}, "perSecond must be a whole number from 1 to 1,000", id="fast"),
        pytest.param({"jobs": 100_000, "perSecond": 1}, "more than the hour", id="long"),
        pytest.param({"perSecond": 1}, "jobs must be", id="how many is missing"),
    ],
)
def test_a_load_has_bounds(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        load_of(Fields(asked))


def test_a_load_within_the_bounds_is_taken() -> None:
    assert load_of(Fields({"jobs": 3600, "perSecond": 1, "delay": 5})) == Load(3600, 1, 5)


def test_a_load_may_belong_to_no_autoscaler() -> None:
    assert autoscaler_of(Fields({})) is None
    assert autoscaler_of(Fields({"namespace": "shop", "name": "orders"})) == ORDERS
    with pytest.raises(BadInputError, match="namespace is missing"):
        autoscaler_of(Fields({"name": "orders"}))
