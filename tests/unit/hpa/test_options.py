"""The annotations of an HPA."""

import pytest

from app.hpa.autoscaler import parse_hpa
from app.hpa.obstacles import obstacles
from app.hpa.options import ScalingOptions, parse_options
from tests.unit.hpa.hpas import external, hpa


@pytest.mark.parametrize(
    ("annotations", "options"),
    [
        ({}, ScalingOptions()),
        ({"other/immediate": "true"}, ScalingOptions()),
        ({"beanscale/immediate": "true"}, ScalingOptions(immediate=True)),
        ({"beanscale/immediate": "false"}, ScalingOptions()),
        ({"beanscale/scale-to-zero": "1m30s"}, ScalingOptions(idle_s=90.0)),
        (
            {"beanscale/scale-to-zero": "5m", "beanscale/activation": "10"},
            ScalingOptions(idle_s=300.0, activation=10_000),
        ),
        ({"beanscale/activation": "500m"}, ScalingOptions(activation=500)),
        ({"beanscale/immediate": "true", "beanscale/paused": "true"}, ScalingOptions(immediate=True, paused=True)),
    ],
)
def test_valid_annotations(annotations: dict[str, str], options: ScalingOptions) -> None:
    assert parse_options(annotations) == options


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("beanscale/immediate", "True", "annotation beanscale/immediate is 'True'; write 'true' or 'false'"),
        ("beanscale/immediate", "", "annotation beanscale/immediate is ''; write 'true' or 'false'"),
        ("beanscale/paused", "yes", "annotation beanscale/paused is 'yes'; write 'true' or 'false'"),
        ("beanscale/scale-to-zero", "5", "annotation beanscale/scale-to-zero is '5'; write a duration, like 30s or 5m"),
        (
            "beanscale/scale-to-zero",
            "0s",
            "annotation beanscale/scale-to-zero is '0s'; write a duration, like 30s or 5m",
        ),
        (
            "beanscale/activation",
            "-1",
            "annotation beanscale/activation is '-1'; write a number of at least 0, like 10",
        ),
        (
            "beanscale/activation",
            "ten",
            "annotation beanscale/activation is 'ten'; write a number of at least 0, like 10",
        ),
        (
            "beanscale/activation",
            "9" * 5000,
            f"annotation beanscale/activation is '{'9' * 60}'; write a number of at least 0, like 10",
        ),
        (
            "beanscale/imediate",
            "true",
            "annotation beanscale/imediate is unknown; valid: beanscale/activation, beanscale/immediate,"
            " beanscale/paused, beanscale/scale-to-zero",
        ),
    ],
)
def test_an_invalid_annotation_disables_scaling(key: str, value: str, error: str) -> None:
    options = parse_options({"beanscale/immediate": "true"} | {key: value})
    assert options.errors == (error,)
    assert options.requested
    assert not options.active


@pytest.mark.parametrize(
    ("annotations", "spec", "reasons"),
    [
        ({"immediate": "true"}, {}, []),
        ({"immediate": "true"}, {"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}, ["disabled"]),
        ({"immediate": "true"}, {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 30}}}, ["stabilization"]),
        ({"immediate": "false"}, {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 30}}}, []),
        ({"immediate": "true"}, {"metrics": [external(value="10")]}, ["readiness"]),
        ({"immediate": "true"}, {"metrics": [external(value="10"), external(averageValue="2")]}, []),
        ({"immediate": "tru"}, {"metrics": [external(value="10")]}, ["invalid_annotation"]),
        ({"scale-to-zero": "5m"}, {}, []),
        ({"scale-to-zero": "5m"}, {"minReplicas": 2}, ["minimum"]),
        ({"scale-to-zero": "5m"}, {"minReplicas": 0}, ["minimum"]),
        ({"scale-to-zero": "5m", "paused": "true"}, {"minReplicas": 2}, []),
        ({"scale-to-zero": "5m"}, {"metrics": [external(averageValue="2"), "cpu"]}, ["other_metric"]),
        ({"immediate": "true"}, {"metrics": ["cpu"]}, ["other_metric"]),
    ],
)
def test_obstacles_in_the_spec(annotations: dict[str, str], spec: dict[str, object], reasons: list[str]) -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    document = hpa()
    document["spec"] |= spec
    document["spec"]["metrics"] = [cpu if each == "cpu" else each for each in document["spec"]["metrics"]]
    document["metadata"]["annotations"] = {f"beanscale/{key}": value for key, value in annotations.items()}
    assert [each.reason for each in obstacles(parse_hpa(document))] == reasons
