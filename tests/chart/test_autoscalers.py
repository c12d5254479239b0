"""`autoscalers`: plain HorizontalPodAutoscalers, of the release and of the user's workloads."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from app.hpa.autoscaler import parse_hpa
from app.hpa.obstacles import obstacles
from app.metrics.built_in import NAMES
from tests.chart.conftest import Chart, Manifest

CHECKOUT = {"name": "checkout", "target": {"name": "worker"}, "tube": "checkout", "jobsPerPod": 2, "maxReplicas": 20}
BY_METRIC = {key: value for key, value in CHECKOUT.items() if key != "tube"} | {"metric": "tube-checkout"}
CLEAR = {"tube": "a", "jobsPerPod": 1}
UNPAUSED = {"paused": "false"}
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
IMMEDIATE = {"beanscale/immediate": "true"}
RULE = {"name": "backlog", "tubes": ["a"], "value": "ready"}


def without(key: str) -> Manifest:
    return {name: value for name, value in CHECKOUT.items() if name != key}


def autoscaler(chart: Chart, given: Manifest, *arguments: str, **values: Any) -> Manifest:
    objects = chart.render({"autoscalers": [given], **values}, *arguments)
    return objects.one("HorizontalPodAutoscaler", given["name"])


def externals(chart: Chart, given: Manifest, **values: Any) -> list[Any]:
    metrics = autoscaler(chart, given, **values)["spec"]["metrics"]
    assert {metric["type"] for metric in metrics} == {"External"}
    return [metric["external"] for metric in metrics]


def external(chart: Chart, given: Manifest, **values: Any) -> Any:
    (metric,) = externals(chart, given, **values)
    return metric


def test_an_autoscaler_has_defaults(chart: Chart) -> None:
    found = autoscaler(chart, CHECKOUT)
    assert found["metadata"]["namespace"] == "beanscale"
    assert found["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker"}
    assert (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) == (1, 20)
    assert found["spec"]["metrics"][0]["external"] == {
        "metric": {"name": "tube-checkout", "selector": {"matchLabels": UNPAUSED}},
        "target": {"type": "AverageValue", "averageValue": "2"},
    }


def test_an_autoscaler_can_have_any_namespace_and_target(chart: Chart) -> None:
    target = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "fleet"}
    marks = {"labels": {"team": "shop", "app.kubernetes.io/component": "mine"}, "annotations": {"note": "ours"}}
    found = autoscaler(chart, CHECKOUT | {"namespace": "shop", "target": target} | marks)
    assert found["metadata"]["namespace"] == "shop"
    assert found["metadata"]["annotations"] == {"note": "ours"} | IMMEDIATE
    assert found["metadata"]["labels"]["team"] == "shop"
    assert found["metadata"]["labels"]["app.kubernetes.io/component"] == "autoscaler"
    assert found["spec"]["scaleTargetRef"] == target


IN_STATES = {"matchExpressions": [{"key": "state", "operator": "In", "values": ["ready", "reserved"]}]}


@pytest.mark.parametrize("tube", ["checkout", "a.b_c", "$(a);b+c", "a" * 200])
def test_a_tube_is_queried_by_its_metric(chart: Chart, tube: str) -> None:
    metric = {"name": f"tube-{tube}"}
    assert external(chart, CHECKOUT | {"tube": tube, "paused": "count"})["metric"] == metric
    assert external(chart, CHECKOUT | {"tube": tube})["metric"] == metric | {"selector": {"matchLabels": UNPAUSED}}


def test_a_tube_with_upper_case_is_queried_by_its_label(chart: Chart) -> None:
    labels = {"tube": "Checkout"}
    metric = external(chart, CHECKOUT | {"tube": "Checkout", "paused": "count"})["metric"]
    assert metric == {"name": "beanstalkd_tube_jobs", "selector": {"matchLabels": labels} | IN_STATES}
    metric = external(chart, CHECKOUT | {"tube": "Checkout"})["metric"]
    assert metric["selector"] == {"matchLabels": labels | UNPAUSED} | IN_STATES


@pytest.mark.parametrize("tube", ["shop/checkout", "Mail;x", "A" * 64])
def test_a_tube_that_is_valid_in_neither_requires_a_rule(chart: Chart, tube: str) -> None:
    refusal = chart.refusal({"autoscalers": [CHECKOUT | {"tube": tube}]})
    assert f"tube {tube} is not valid in a metric name" in refusal
    assert "add a rule to `metrics`" in refusal


def test_the_suggested_rule_has_a_valid_name(chart: Chart) -> None:
    refusal = chart.refusal({"autoscalers": [CHECKOUT | {"name": "tube-a.b", "tube": "a/b"}]})
    assert "{name: a-b, tubes:" in refusal
    assert "set metric: a-b instead of tube" in refusal


PUT = "beanstalkd_tube_jobs_put_per_second"


def average(metric: str, labels: Manifest, target: str) -> Manifest:
    return {
        "metric": {"name": metric, "selector": {"matchLabels": labels}},
        "target": {"type": "AverageValue", "averageValue": target},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"jobsPerPod": None, "perSecond": 0.5}, [(PUT, "0.5")], id="a rate alone"),
        pytest.param({"perSecond": "5"}, [("tube-checkout", "2"), (PUT, "5")], id="jobs and a rate"),
        pytest.param({"busy": "keep"}, [("tube-checkout", "2"), ("beanstalkd_tube_jobs", "1")], id="busy workers"),
        pytest.param({"busy": None, "perSecond": None, "paused": None}, [("tube-checkout", "2")], id="nothing else"),
    ],
)
def test_a_tube_can_have_several_metrics(chart: Chart, given: Manifest, expected: list[tuple[str, str]]) -> None:
    labels = {
        "tube-checkout": UNPAUSED,
        PUT: UNPAUSED | {"tube": "checkout"},
        "beanstalkd_tube_jobs": {"tube": "checkout", "state": "reserved"},
    }
    found = {key: value for key, value in (CHECKOUT | given).items() if value is not None}
    assert externals(chart, found) == [average(name, labels[name], target) for name, target in expected]


def test_entries_restart_no_pod(chart: Chart) -> None:
    entry = CHECKOUT | {"perSecond": 1, "busy": "keep"}
    assert chart.render({"autoscalers": [entry]}).pods() == chart.render().pods()


def test_an_entry_can_list_metrics(chart: Chart) -> None:
    metrics = [
        {"tube": "checkout", "jobsPerPod": 2, "paused": "count"},
        {"tube": "a", "perSecond": 1_000_000, "paused": "count"},
        {"metric": "backlog", "targetValue": 30},
    ]
    given = {"name": "checkout", "target": {"name": "worker"}, "maxReplicas": 20, "metrics": metrics}
    assert externals(chart, given, metrics=[RULE]) == [
        {"metric": {"name": "tube-checkout"}, "target": {"type": "AverageValue", "averageValue": "2"}},
        average(PUT, {"tube": "a"}, "1000000"),
        {"metric": {"name": "backlog"}, "target": {"type": "Value", "value": "30"}},
    ]


@pytest.mark.parametrize("tube", ["1e3", "on", "0x1f", "y", "1_0", "null", "1.5", "1990-01-01"])
def test_a_tube_that_yaml_could_read_as_another_type_stays_text(chart: Chart, tube: str) -> None:
    jobs, rate, reserved = externals(chart, CHECKOUT | {"tube": tube, "perSecond": 1, "busy": "keep"})
    assert jobs["metric"]["name"] == f"tube-{tube}"
    assert [each["metric"]["selector"]["matchLabels"]["tube"] for each in (rate, reserved)] == [tube, tube]


def test_the_worker_takes_the_same_keys(chart: Chart) -> None:
    given = {"autoscaling": {"perSecond": 1, "busy": "keep", "paused": "count"}}
    worker = chart.render({"helloWorld": given}).one("HorizontalPodAutoscaler", "beanscale-hello-world")
    assert [each["external"] for each in worker["spec"]["metrics"]] == [
        {"metric": {"name": "tube-hello-world"}, "target": {"type": "AverageValue", "averageValue": "2"}},
        average(PUT, {"tube": "hello-world"}, "1"),
        average("beanstalkd_tube_jobs", {"tube": "hello-world", "state": "reserved"}, "1"),
    ]


def test_the_worker_scales_by_the_rate_alone(chart: Chart) -> None:
    rate = {"jobsPerPod": None, "perSecond": 1}
    worker = chart.render({"helloWorld": {"autoscaling": rate}}).one("HorizontalPodAutoscaler", "beanscale-hello-world")
    assert [each["external"]["metric"]["name"] for each in worker["spec"]["metrics"]] == [PUT]
    refusal = chart.refusal({"helloWorld": {"autoscaling": {"jobsPerPod": None}}}, "--namespace=beanscale")
    assert "helloWorld.autoscaling: set jobsPerPod, e.g. jobsPerPod: 2, or perSecond" in refusal


@pytest.mark.parametrize("metric", NAMES)
def test_each_built_in_metric_is_accepted(chart: Chart, metric: str) -> None:
    assert external(chart, BY_METRIC | {"metric": metric})["metric"]["name"] == metric


def test_a_metric_is_queried_with_its_selector(chart: Chart) -> None:
    selector = {"matchLabels": {"server": "eu"}}
    given = {**BY_METRIC, "metric": "backlog", "selector": selector}
    assert external(chart, given, metrics=[RULE])["metric"] == {"name": "backlog", "selector": selector}


@pytest.mark.parametrize(
    ("given", "shown"), [(2, "2"), (0.5, "0.5"), ("500m", "500m"), (1_000_000, "1000000"), ("2", "2")]
)
def test_a_target_keeps_its_number(chart: Chart, given: Any, shown: str) -> None:
    assert external(chart, CHECKOUT | {"jobsPerPod": given})["target"] == {
        "type": "AverageValue",
        "averageValue": shown,
    }
    aimed = without("jobsPerPod") | {"targetValue": given}
    assert external(chart, aimed)["target"] == {"type": "Value", "value": shown}


ONE_STEP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [{"type": "Pods", "value": 20, "periodSeconds": 15}],
}


@pytest.mark.parametrize(
    ("given", "window", "policy"),
    [
        pytest.param({}, 300, {"type": "Percent", "value": 25, "periodSeconds": 60}, id="gentle unless said"),
        pytest.param({"behavior": "gentle"}, 300, {"type": "Percent", "value": 25, "periodSeconds": 60}, id="gentle"),
        pytest.param({"behavior": "prompt"}, 15, {"type": "Percent", "value": 100, "periodSeconds": 15}, id="prompt"),
    ],
)
def test_a_behavior_scales_up_in_one_step_and_down_by_its_name(
    chart: Chart, given: Manifest, window: int, policy: Manifest
) -> None:
    behavior = autoscaler(chart, CHECKOUT | given)["spec"]["behavior"]
    assert behavior["scaleUp"] == ONE_STEP
    down = {"stabilizationWindowSeconds": window, "selectPolicy": "Max", "policies": [policy]}
    assert behavior["scaleDown"] == down


@pytest.mark.parametrize("name", ["gentle", "prompt"])
def test_the_workers_autoscaler_accepts_the_same_values(chart: Chart, name: str) -> None:
    ours = {"helloWorld": {"autoscaling": {"maxReplicas": 20, "behavior": name}}}
    worker = chart.render(ours).one("HorizontalPodAutoscaler", "beanscale-hello-world")
    assert worker["spec"]["behavior"] == autoscaler(chart, CHECKOUT | {"behavior": name})["spec"]["behavior"]


def test_a_custom_behavior_replaces_the_default(chart: Chart) -> None:
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 60}}
    assert autoscaler(chart, CHECKOUT | {"behavior": behavior})["spec"]["behavior"] == behavior
    objects = chart.render({"helloWorld": {"autoscaling": {"behavior": behavior}}})
    assert objects.one("HorizontalPodAutoscaler", "beanscale-hello-world")["spec"]["behavior"] == behavior


@pytest.mark.parametrize(
    ("autoscalers", "sentence"),
    [
        ([without("tube")], "autoscalers: checkout: set tube or metric"),
        ([CHECKOUT | {"metric": "tube-checkout"}], "autoscalers: checkout: tube and metric can't be combined"),
        (
            [CHECKOUT | {"selector": {"matchLabels": {"tube": "a"}}}],
            "autoscalers: checkout: tube and selector can't be combined",
        ),
        ([without("jobsPerPod")], "autoscalers: checkout: set jobsPerPod, e.g. jobsPerPod: 2, or targetValue"),
        ([CHECKOUT | {"targetValue": 2}], "autoscalers: checkout: jobsPerPod and targetValue can't be combined"),
        (
            [without("jobsPerPod") | {"busy": "keep"}],
            "or targetValue, the value at which the number of pods is right, or perSecond, the jobs put per second",
        ),
        ([BY_METRIC | {"perSecond": 2}], "autoscalers: checkout: perSecond requires tube"),
        (
            [BY_METRIC | {"paused": "ignore"}],
            'select by the label instead, with selector: {matchLabels: {paused: "false"}}',
        ),
        (
            [BY_METRIC | {"metric": "backlog", "paused": "ignore"}],
            "paused requires tube: set paused in the rule backlog",
        ),
        (
            [BY_METRIC | {"metric": "beanstalkd_tube_workers_watching", "paused": "ignore"}],
            "remove it, because beanstalkd_tube_workers_watching has no label paused",
        ),
        ([BY_METRIC | {"busy": "keep"}], "autoscalers: checkout: busy requires tube"),
        ([CHECKOUT | {"tube": "a;b", "perSecond": 2}], "tube a;b is not valid in a label, which perSecond requires"),
        (
            [CHECKOUT | {"tube": "a;b", "perSecond": 2}],
            '{name: NAME, tubes: ["a;b"], value: put_per_second, paused: ignore}, and set metric: NAME',
        ),
        ([CHECKOUT | {"tube": "a;b", "perSecond": 2, "paused": "count"}], "value: put_per_second}"),
        ([CHECKOUT | {"tube": "a;b", "busy": "keep"}], 'tubes: ["a;b"], value: reserved}'),
        ([CHECKOUT | {"tube": "a/b", "paused": "count"}], "value: ready + reserved}"),
        (
            [CHECKOUT | {"metrics": [{"tube": "a", "jobsPerPod": 1}]}],
            "autoscalers: checkout: metrics can't be combined with jobsPerPod, tube: move it into an item of metrics",
        ),
        (
            [{"name": "a", "target": {"name": "a"}, "maxReplicas": 1, "metrics": [CLEAR, {"tube": "a"}]}],
            "autoscalers: a: metrics[1]: set jobsPerPod, e.g. jobsPerPod: 2, or targetValue",
        ),
        *(
            (
                [{"name": "a", "target": {"name": "a"}, "maxReplicas": 1, "metrics": [empty]}],
                "autoscalers: a: metrics[0]: set tube or metric",
            )
            for empty in ({}, {"tube": None}, {"selector": None})
        ),
        (
            [CHECKOUT | {"target": {"kind": "Rollout", "name": "a"}}],
            "autoscalers: checkout: target.apiVersion is required for kind Rollout, e.g. argoproj.io/v1alpha1",
        ),
        *(
            ([CHECKOUT | {"target": {"kind": "DaemonSet", "name": "a"} | api}], "checkout: a DaemonSet can't be scaled")
            for api in ({}, {"apiVersion": "apps/v1"})
        ),
        (
            [BY_METRIC | {"metric": "tube-Checkout"}],
            "metric tube-Checkout can't be queried, because Kubernetes lowercases",
        ),
        (
            [BY_METRIC | {"metric": "backlock"}],
            "metric backlock is neither built in (tube-<tube>, beanstalkd_tube_jobs, ",
        ),
        (
            [BY_METRIC | {"metric": "beanstalkd_tube_jobs_putt_per_second"}],
            "metric beanstalkd_tube_jobs_putt_per_second is neither built in (",
        ),
        ([CHECKOUT | {"minReplicas": 21}], "autoscalers: checkout: minReplicas (21) exceeds maxReplicas (20)"),
        (
            [CHECKOUT | {"idleFor": "5m"}],
            "autoscalers: checkout: idleFor requires minReplicas: 0: set it, or remove idleFor",
        ),
        ([CHECKOUT | {"minReplicas": 2, "activation": 0}], "autoscalers: checkout: activation requires minReplicas: 0"),
        *(
            (
                [CHECKOUT | {"annotations": {f"beanscale/{annotation}": "true"}}],
                f"autoscalers: checkout: the chart sets annotation beanscale/{annotation}: set {key} instead",
            )
            for annotation, key in (
                ("immediate", "immediate"),
                ("scale-to-zero", "minReplicas: 0 and idleFor"),
                ("activation", "activation"),
            )
        ),
        (
            [CHECKOUT | {"annotations": {"beanscale/paused": "yes"}}],
            'autoscalers: checkout: annotation beanscale/paused is "yes": set it to "true" or "false"',
        ),
        (
            [CHECKOUT | {"annotations": {"beanscale/pause": "true"}}],
            "annotation beanscale/pause is unknown: correct it, e.g. beanscale/paused, or remove it",
        ),
        ([CHECKOUT, CHECKOUT], "two autoscalers in namespace beanscale have this name"),
        ([CHECKOUT, CHECKOUT | {"name": "b"}], "b and checkout both scale Deployment beanscale/worker"),
        ([CHECKOUT | {"name": "beanscale-hello-world"}], "beanscale-hello-world: two autoscalers in namespace"),
        (
            [CHECKOUT | {"target": {"name": "beanscale-hello-world"}}],
            "checkout and helloWorld.autoscaling both scale Deployment beanscale/beanscale-hello-world",
        ),
    ],
)
def test_invalid_autoscalers_are_rejected_in_one_sentence(
    chart: Chart, autoscalers: list[Manifest], sentence: str
) -> None:
    assert sentence in chart.refusal({"metrics": [RULE], "autoscalers": autoscalers}, "--namespace=beanscale")


def test_a_name_can_be_used_in_two_namespaces(chart: Chart) -> None:
    objects = chart.render({"autoscalers": [CHECKOUT, CHECKOUT | {"namespace": "shop"}]})
    found = objects.of("HorizontalPodAutoscaler")
    assert sorted(each["metadata"]["namespace"] for each in found if each["metadata"]["name"] == "checkout") == [
        "beanscale",
        "shop",
    ]


def test_with_forwarding_any_metric_is_accepted(chart: Chart) -> None:
    forward = {"service": "adapter", "namespace": "monitoring", "caBundle": PEM}
    assert (
        external(chart, BY_METRIC | {"metric": "queue_length"}, forwardTo=forward)["metric"]["name"] == "queue_length"
    )


def zero(**keys: Any) -> list[Any]:
    """Return parameters: values with minReplicas 0 and these keys, of an entry and of hello-world, and their place."""
    return [
        pytest.param({"autoscalers": [CHECKOUT | {"minReplicas": 0} | keys]}, "autoscalers: checkout", id="theirs"),
        pytest.param({"helloWorld": {"autoscaling": {"minReplicas": 0} | keys}}, "helloWorld.autoscaling", id="ours"),
    ]


DISABLED = {"scaling": {"enabled": False}}
GATE = {"featureGates": {"HPAScaleToZero": True}}
AFTER = "beanscale/scale-to-zero"


def scaling(chart: Chart, values: Manifest, which: str, version: str) -> tuple[int, Manifest]:
    """Return minReplicas and the annotations of the HPA."""
    name = "checkout" if which == "autoscalers: checkout" else "beanscale-hello-world"
    found = chart.render(values, f"--kube-version={version}").one("HorizontalPodAutoscaler", name)
    assert obstacles(parse_hpa(found)) == ()
    return found["spec"]["minReplicas"], found["metadata"].get("annotations", {})


@pytest.mark.parametrize(("values", "which"), zero())
@pytest.mark.parametrize("version", ["1.30.0", "1.36.3", "v1.36.9-gke.100"])
def test_where_kubernetes_cant_scale_to_zero_the_server_does(
    chart: Chart, values: Manifest, which: str, version: str
) -> None:
    assert scaling(chart, values, which, version) == (1, IMMEDIATE | {AFTER: "5m"})
    refusal = chart.refusal(values | DISABLED, f"--kube-version={version}")
    assert f"{which}: minReplicas: 0 requires Kubernetes 1.37, but this is v" in refusal
    assert "set scaling.enabled=true, so that beanscale scales to zero" in refusal
    assert "set featureGates.HPAScaleToZero=true" in refusal


@pytest.mark.parametrize(("values", "which"), zero())
@pytest.mark.parametrize(
    ("version", "gates"),
    [("1.37.0", {}), ("1.37.0-alpha.1", {}), ("v1.37.2-eks-abc", {}), ("1.40.0", {}), ("1.36.3", GATE)],
)
def test_kubernetes_scales_to_zero_from_1_37_or_with_the_feature_gate(
    chart: Chart, values: Manifest, which: str, version: str, gates: Manifest
) -> None:
    assert scaling(chart, values | gates, which, version) == (0, IMMEDIATE)
    assert scaling(chart, values | gates | DISABLED, which, version) == (0, {})


@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
@pytest.mark.parametrize(
    ("keys", "annotations"),
    [
        ({"idleFor": "1m30s"}, {AFTER: "1m30s"}),
        ({"activation": 10}, {AFTER: "5m", "beanscale/activation": "10"}),
        ({"activation": 1_000_000}, {AFTER: "5m", "beanscale/activation": "1000000"}),
        ({"idleFor": "10s", "activation": "500m"}, {AFTER: "10s", "beanscale/activation": "500m"}),
        ({"idleFor": None, "activation": 0}, {AFTER: "5m", "beanscale/activation": "0"}),
    ],
)
def test_what_kubernetes_doesnt_know_is_left_to_the_server_on_every_version(
    chart: Chart, keys: Manifest, annotations: Manifest, version: str
) -> None:
    for parameter in zero(**keys):
        values, which = parameter.values
        assert scaling(chart, values, which, version) == (1, IMMEDIATE | annotations)
        for key in keys:
            if keys[key] is not None:
                refusal = chart.refusal(values | DISABLED, f"--kube-version={version}")
                assert re.search(f"{which}: (idleFor|activation) requires scaling.enabled=true", refusal)


def test_only_beanscales_own_metrics_scale_to_zero_by_beanscale(chart: Chart) -> None:
    forward = {"service": "adapter", "namespace": "monitoring", "caBundle": PEM}
    entry = BY_METRIC | {"metric": "queue_length", "minReplicas": 0}
    values = {"autoscalers": [entry], "forwardTo": forward}
    sentence = (
        "autoscalers: checkout: beanscale can't scale to zero by metric queue_length, which another adapter serves"
    )
    assert sentence in chart.refusal(values, "--kube-version=1.36.0")
    assert scaling(chart, values, "autoscalers: checkout", "1.37.0") == (0, {})
    idle = {"autoscalers": [entry | {"idleFor": "1m"}], "forwardTo": forward}
    assert sentence in chart.refusal(idle, "--kube-version=1.37.0")


@pytest.mark.parametrize(("given", "expected"), [(True, IMMEDIATE), (None, IMMEDIATE), (False, {})])
def test_scaling_up_within_a_second_is_the_default(chart: Chart, given: Any, expected: Manifest) -> None:
    objects = chart.render(
        {"autoscalers": [CHECKOUT | {"immediate": given}], "helloWorld": {"autoscaling": {"immediate": given}}}
    )
    for each in objects.of("HorizontalPodAutoscaler"):
        assert each["metadata"].get("annotations", {}) == expected


def test_paused_is_the_users(chart: Chart) -> None:
    paused = {"beanscale/paused": "true"}
    found = autoscaler(chart, CHECKOUT | {"annotations": paused | {"beanscale/immediate": None}})
    assert found["metadata"]["annotations"] == IMMEDIATE | paused


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 60}}}, "behavior.scaleUp has a stabilization window"),
        ({"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}, "behavior.scaleUp.selectPolicy is Disabled"),
        (
            {"jobsPerPod": None, "targetValue": 30},
            "a targetValue depends on the number of ready pods, which beanscale can't read",
        ),
        ({"tube": None, "metric": "queue_length"}, "another adapter serves its metrics"),
        (
            {
                "tube": None,
                "jobsPerPod": None,
                "metrics": [
                    {"metric": "queue_length", "jobsPerPod": 1},
                    {"metric": "beanstalkd_tube_drain_seconds", "targetValue": 1},
                ],
            },
            "a targetValue depends on",
        ),
    ],
)
def test_where_the_server_cant_scale_up_it_isnt_asked_to_and_the_notes_say_why(
    chart: Chart, given: Manifest, why: str
) -> None:
    forward = {"service": "adapter", "namespace": "monitoring", "caBundle": PEM}
    values = {"autoscalers": [CHECKOUT | given], "forwardTo": forward}
    found = chart.render(values).one("HorizontalPodAutoscaler", "checkout")
    assert "annotations" not in found["metadata"]
    # Of an external metric, the spec doesn't show who serves it.
    asked = found | {"metadata": found["metadata"] | {"annotations": IMMEDIATE}}
    assert obstacles(parse_hpa(asked)) or "queue_length" in str(given)
    sentence = f"HPA beanscale/checkout is scaled up only by Kubernetes, every 15 seconds: {why}"
    assert sentence in chart.notes(values)
    assert "only by Kubernetes" not in chart.notes(values | {"autoscalers": [CHECKOUT | given | {"immediate": False}]})


@pytest.mark.parametrize(
    "given",
    [
        {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 60}}},
        {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}},
        {"jobsPerPod": None, "targetValue": 30, "perSecond": 1},
        {"jobsPerPod": None, "targetValue": 30, "busy": "keep"},
        {"jobsPerPod": None, "tube": None, "metrics": [CLEAR, {"tube": "a", "targetValue": 2}]},
    ],
)
def test_the_server_scales_up_by_what_it_can_compute(chart: Chart, given: Manifest) -> None:
    found = autoscaler(chart, CHECKOUT | given)
    assert found["metadata"]["annotations"] == IMMEDIATE
    assert obstacles(parse_hpa(found)) == ()


def test_a_disabled_autoscaler_is_not_validated(chart: Chart) -> None:
    off = {"helloWorld": {"autoscaling": {"enabled": False, "minReplicas": 0}}}
    assert chart.render(off | DISABLED, "--kube-version=1.30.0").of("HorizontalPodAutoscaler") == []


def test_the_notes_name_the_autoscalers(chart: Chart) -> None:
    assert "app.kubernetes.io/component=autoscaler" in chart.notes({"autoscalers": [CHECKOUT]})


def test_the_notes_tell_what_the_server_scales(chart: Chart) -> None:
    entries = [CHECKOUT | {"namespace": "shop", "minReplicas": 0, "idleFor": "90s"}, CHECKOUT | {"immediate": False}]
    notes = chart.notes({"autoscalers": entries})
    assert (
        "The server scales up within a second by HPA beanscale/beanscale-hello-world, shop/checkout. To pause" in notes
    )
    assert (
        "HPA shop/checkout has minReplicas 1, and the server scales its target to zero after 90s without jobs" in notes
    )
    assert "scale it at once:" in notes
    many = [CHECKOUT | {"name": f"h{number}", "target": {"name": f"w{number}"}} for number in range(12)]
    assert "beanscale/h7, beanscale/h8 and 3 more. To pause" in chart.notes({"autoscalers": many})
    silent = chart.notes({"autoscalers": [CHECKOUT], **DISABLED})
    assert "within a second" not in silent
    assert "HPA beanscale" not in silent


def test_the_notes_name_a_paused_hpa_as_paused(chart: Chart) -> None:
    paused = CHECKOUT | {"minReplicas": 0, "idleFor": "90s", "annotations": {"beanscale/paused": "true"}}
    sentence = "beanscale/checkout has the annotation beanscale/paused, so the server doesn't scale its target"
    notes = chart.notes({"autoscalers": [paused]})
    assert notes.count("beanscale/checkout") == notes.count(sentence) == 1
    for running in ({"annotations": {"beanscale/paused": "false"}}, {"annotations": {"team": "shop"}}):
        assert "beanscale-hello-world, beanscale/checkout. To" in chart.notes({"autoscalers": [paused | running]})
    assert sentence not in chart.notes({"autoscalers": [CHECKOUT | {"annotations": paused["annotations"]}], **DISABLED})


@pytest.mark.parametrize(
    ("entry", "values", "is_left"),
    [
        ({"minReplicas": 1}, {}, True),
        ({"minReplicas": 0}, {"featureGates": {"HPAScaleToZero": True}}, True),
        ({"minReplicas": 0}, DISABLED | {"featureGates": {"HPAScaleToZero": True}}, True),
        ({"minReplicas": 0, "idleFor": "1m"}, {}, False),
    ],
)
def test_the_notes_show_how_to_leave_0_pods_when_the_server_no_longer_does(
    chart: Chart, cluster: str, restricted_namespace: str, entry: Manifest, values: Manifest, is_left: bool
) -> None:
    """An HPA ignores a workload that something else scaled to 0."""
    place = [f"--namespace={restricted_namespace}"]
    before = chart.helm(
        *("template", "beanscale", str(chart.path), *place, "--show-only=templates/autoscalers.yaml"),
        values={"autoscalers": [CHECKOUT | {"minReplicas": 0, "idleFor": "5m"}]},
    )
    owner = {"release-name": "beanscale", "release-namespace": restricted_namespace}
    hpa = yaml.safe_load(before.stdout)
    hpa["metadata"]["annotations"] |= {f"meta.helm.sh/{key}": value for key, value in owner.items()}
    create = [cluster, "create", "--filename=-"]
    subprocess.run(create, input=yaml.safe_dump(hpa), check=True, capture_output=True, text=True)
    done = chart.helm(
        *("install", "beanscale", str(chart.path), *place, "--dry-run=server"),
        values={"autoscalers": [CHECKOUT | entry], "apiService": {"create": False}, **values},
    )
    assert done.returncode == 0, done.stderr
    command = f"  kubectl scale -n {restricted_namespace} deployments.apps/worker --replicas=1"
    assert (command in done.stdout.splitlines()) == is_left
