"""What beanscale does for an HPA, in words."""

import pytest

from app.hpa.autoscaler import parse_hpa
from app.hpa.obstacles import obstacles
from app.hpa.scaling import describe_scaling
from tests.unit.hpa.hpas import Json, external, hpa

WINDOW = {"scaleUp": {"stabilizationWindowSeconds": 30}}


@pytest.mark.parametrize(
    ("annotations", "spec", "words"),
    [
        ({}, {}, ""),
        ({"paused": "true"}, {}, ""),
        ({"immediate": "true"}, {}, "scales up within a second"),
        ({"immediate": "true"}, {"minimum": 0}, "scales up within a second, also from 0 once a job is ready"),
        (
            {"immediate": "true", "activation": "10"},
            {"minimum": 0},
            "scales up within a second, also from 0 once a job is ready and a metric exceeds 10",
        ),
        (
            {"immediate": "true", "scale-to-zero": "5m"},
            {},
            "scales up within a second; scales to 0 after 5 min without jobs, and from 0 once a job is ready",
        ),
        (
            {"immediate": "true", "scale-to-zero": "5m"},
            {"behavior": WINDOW},
            "scales to 0 after 5 min without jobs, and from 0 once a job is ready",
        ),
        (
            {"immediate": "true", "scale-to-zero": "5m"},
            {"minimum": 2},
            "scales up within a second; scales up from 0 once a job is ready",
        ),
        ({"scale-to-zero": "5m"}, {"cpu": True}, "scales up from 0 once a job is ready"),
        ({"immediate": "true"}, {"behavior": WINDOW}, "does nothing"),
        ({"immediate": "true", "paused": "true"}, {}, "does nothing while it is paused (annotation beanscale/paused)"),
        ({"immediate": "yes", "scale-to-zero": "5m"}, {}, "does nothing, because an annotation is invalid"),
    ],
)
def test_the_annotations_and_the_spec_decide_what_beanscale_does(
    annotations: dict[str, str], spec: Json, words: str
) -> None:
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    metrics = [external(averageValue="2"), *([cpu] if spec.pop("cpu", False) else [])]
    autoscaler = parse_hpa(hpa(*metrics, annotations=annotations, **spec))
    assert describe_scaling(autoscaler, obstacles(autoscaler)) == words
