"""HPAs are parsed with Kubernetes' defaults."""

import pytest

from app.hpa.autoscaler import Metric, Policy, Scale, Target, TargetKind, Workload, parse_hpa, selector_text
from app.metrics.selector import SelectorError, parse_selector
from tests.unit.hpa.hpas import Json, condition, external, hpa


def test_all_that_decides_is_parsed() -> None:
    rules = {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 2, "periodSeconds": 30}], "tolerance": "50m"}
    parsed = parse_hpa(
        hpa(
            external("tube-orders", {"matchLabels": {"tube": "orders"}}, averageValue="1500m"),
            minimum=0,
            current=4,
            desired=5,
            behavior={"scaleUp": rules},
            conditions=[condition("AbleToScale", "SucceededRescale")],
            last_scale="2026-10-12T08:00:00Z",
        )
    )
    assert (parsed.namespace, parsed.name) == ("shop", "orders")
    assert parsed.workload == Workload("apps/v1", "Deployment", "orders")
    assert (parsed.minimum, parsed.maximum, parsed.desired) == (0, 10, 5)
    assert parsed.scale == Scale(5, 4)  # it has just rescaled
    assert parsed.metrics == (Metric("External", "tube-orders", "tube=orders", Target(TargetKind.AVERAGE_VALUE, 1500)),)
    assert (parsed.up.select, parsed.up.policies, parsed.up.window_s) == ("Min", (Policy("Pods", 2, 30),), 0)
    assert (parsed.up.tolerance, parsed.down.tolerance, parsed.down.window_s) == (0.05, 0.1, 300)
    assert parsed.reports("AbleToScale", "SucceededRescale")
    assert parsed.scaled_at_s == 1_791_792_000


def test_an_object_without_optional_fields_has_kubernetes_defaults() -> None:
    new = hpa(minimum=None)
    del new["status"]
    parsed = parse_hpa(new)
    assert (parsed.minimum, parsed.has_behavior, parsed.scale) == (1, False, Scale(0, 0))
    assert (parsed.conditions, parsed.scaled_at_s, parsed.metrics[0].last_value) == ((), None, None)


@pytest.mark.parametrize(
    ("current", "value"),
    [
        pytest.param({"averageValue": "2500m"}, 2500, id="a value"),
        pytest.param({"averageValue": "-9223372036854775808m"}, None, id="the result of a division by 0"),
        pytest.param({"averageValue": "9223372036854775807m"}, None, id="the result of a division by 0 on ARM"),
    ],
)
def test_what_the_status_shows_at_zero_pods_is_no_value(current: Json, value: int | None) -> None:
    shown = {"type": "External", "external": {"metric": {"name": "tube-orders"}, "current": current}}
    assert parse_hpa(hpa(current_metrics=[shown])).metrics[0].last_value == value


def test_a_metric_that_failed_has_an_empty_entry() -> None:
    assert parse_hpa(hpa(current_metrics=[{"type": ""}])).metrics[0].last_value is None


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (None, ""),
        ({}, ""),
        ({"matchLabels": {"tube": "b", "server": "a"}}, "server=a,tube=b"),
        (
            {
                "matchLabels": {"tube": "b"},
                "matchExpressions": [
                    {"key": "state", "operator": "In", "values": ["reserved", "ready"]},
                    {"key": "server", "operator": "DoesNotExist"},
                    {"key": "zone", "operator": "NotIn", "values": ["x"]},
                    {"key": "app", "operator": "Exists"},
                ],
            },
            "app,!server,state in (ready,reserved),tube=b,zone notin (x)",
        ),
    ],
)
def test_a_label_selector_is_written_as_in_a_request(selector: Json | None, text: str) -> None:
    assert selector_text(selector) == text


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"tube": "mail/eu"}},
        {"matchLabels": {"tube": "a,state=ready"}},
        {"matchLabels": {"!tube": "a"}},
        {"matchExpressions": [{"key": "tube", "operator": "Matches", "values": ["a"]}]},
        {"matchExpressions": [{"key": "tube", "operator": "in", "values": ["a"]}]},
        {"matchExpressions": [{"key": "tube", "operator": "{key}"}]},
        {"matchExpressions": [{"key": "tube", "operator": "In", "values": ["a),(b"]}]},
        {"matchExpressions": [{"key": "tube,server", "operator": "Exists"}]},
    ],
)
def test_a_label_selector_that_kubernetes_rejects_stays_invalid(selector: Json) -> None:
    with pytest.raises(SelectorError):
        parse_selector(selector_text(selector))
