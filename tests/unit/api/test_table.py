"""What `kubectl get` prints of metric values."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.api.negotiation import Kind
from app.api.status import StatusError
from app.api.table import table
from app.metrics.query import EvaluationContext, MetricQuery
from app.metrics.resolve import resolve
from app.metrics.rules import Hold
from app.metrics.selector import EVERYTHING, Selector, parse_selector
from tests.unit.metrics.given import SERVER, counts, known, rule, server, tube

V1 = Kind("Table", "meta.k8s.io", "v1")


def asked(metric: str, included: str = "", selector: Selector = EVERYTHING) -> Mapping[str, Any]:
    states = server("eu", tube("checkout", ready=3, age_s=1.25)), server("us", tube("checkout", reserved=4, age_s=1.25))
    given = known(*states)
    resolved = resolve(MetricQuery(metric, "shop", selector), given)
    rows = [(value, {"timestamp": "2027-01-15T08:00:00Z"}) for value in resolved.values()]
    return table(rows, V1, resolved, included)


def printed(answer: Mapping[str, Any], priority: int = 0) -> list[dict[str, str]]:
    columns = answer["columnDefinitions"]
    return [
        {
            column["name"]: cell
            for column, cell in zip(columns, row["cells"], strict=True)
            if column["priority"] <= priority
        }
        for row in answer["rows"]
    ]


def test_a_tubes_metric_is_a_row_with_its_value_age_and_servers() -> None:
    answer = asked("tube-checkout")
    assert printed(answer) == [{"Tube": "checkout", "Value": "7", "Age": "1.2s", "Server": "eu,us"}]
    (wide,) = printed(answer, priority=1)
    assert wide.items() >= {
        ("Metric", "tube-checkout"),
        ("Address", "eu.example:11300,us.example:11300"),
        ("Read at", "2027-01-15T08:00:00Z"),
    }


def test_labels_of_their_own_have_columns_of_their_own() -> None:
    rows = printed(asked("beanstalkd_tube_jobs", selector=parse_selector("server=us,state=reserved")))
    assert rows == [{"Tube": "checkout", "State": "reserved", "Value": "4", "Age": "1.2s", "Server": "us"}]


def printed_of(
    metric: str, given: EvaluationContext, selector: Selector = EVERYTHING, priority: int = 0
) -> list[dict[str, str]]:
    resolved = resolve(MetricQuery(metric, "shop", selector), given)
    rows = [(value, {"timestamp": "2027-01-15T08:00:00Z"}) for value in resolved.values()]
    return printed(table(rows, V1, resolved, ""), priority)


def test_a_sum_over_tubes_has_its_metrics_name_and_the_rules_servers() -> None:
    states = [server("eu", tube("a", ready=3)), server("us", tube("b", ready=1))]
    given = known(*states, rules=[rule(), rule("eus", servers=frozenset({"eu"}))])
    assert printed_of("backlog", given) == [{"Metric": "backlog", "Value": "4", "Age": "1.0s", "Server": "eu,us"}]
    (wide,) = printed_of("eus", given, priority=1)
    assert (wide["Server"], wide["Address"]) == ("eu", "eu.example:11300")


def test_a_rate_shows_its_window() -> None:
    state = server("eu", tube("a", total_jobs=30), earlier={"a": counts(61, 0, 0)})
    (row,) = printed_of("beanstalkd_tube_jobs_put_per_second", known(state))
    assert row == {"Tube": "a", "Value": "500m", "Age": "1.0s", "Window": "1m", "Server": "eu"}


def test_a_held_value_shows_for_how_long() -> None:
    old = server("eu", tube("a", ready=3, age_s=100), age_s=100)
    given = known(old, server("us"), rules=[rule(per=SERVER, on_failure=Hold(300))])
    held, fresh = printed_of("backlog", given)
    assert (held["Held"], held["Age"], held["Server"], fresh["Held"]) == ("1m25s", "1m40s", "eu", "")


def test_without_values_a_table_has_columns_and_no_rows() -> None:
    answer = asked("tube-checkout", selector=parse_selector("tube=other"))
    assert (answer["rows"], answer["columnDefinitions"][0]["name"]) == ([], "Tube")


@pytest.mark.parametrize("included", ["", "Metadata"])
def test_a_row_has_its_labels(included: str) -> None:
    (row,) = asked("tube-checkout", included)["rows"]
    assert row["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"namespace": "shop", "labels": {"tube": "checkout"}},
    }


def test_a_row_can_include_the_value_or_omit_it() -> None:
    assert asked("tube-checkout", "Object")["rows"][0]["object"] == {"timestamp": "2027-01-15T08:00:00Z"}
    assert asked("tube-checkout", "None")["rows"][0]["object"] is None


def test_another_include_object_is_rejected() -> None:
    with pytest.raises(StatusError) as error:
        asked("tube-checkout", "x")
    assert str(error.value) == "includeObject is 'x'; valid values: Metadata, Object, None"
