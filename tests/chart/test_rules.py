"""`metrics` and `tenancy`: what the server gets, and what Helm rejects."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import cli
from app.metrics.fields import FIELDS
from tests.chart.conftest import Chart, Manifest, Objects

RULE = {
    "name": "checkout-backlog",
    "tubes": ["checkout", "123", "yes"],
    "servers": ["beanstalkd"],
    "value": "1",
    "per": ["tube"],
    "onFailure": {"hold": "5m"},
    "maxAge": "15s",
    "paused": "ignore",
    "busy": {"keep": 10},
    "unit": "orders",
    "namespaces": ["*"],
}
GRANT = {"namespaces": ["shop", "team-*"], "tubes": ["checkout", "shop-*"]}


def rules(objects: Objects) -> Any:
    return yaml.safe_load(objects.one("ConfigMap", "beanscale-rules")["data"]["rules.yaml"])


def test_the_server_gets_the_rules_unchanged(chart: Chart) -> None:
    """Texts that look like numbers or booleans stay texts."""
    assert rules(chart.render({"metrics": [RULE]})) == {"metrics": [RULE], "tenancy": []}


@pytest.mark.parametrize("number", [0, 0.5, 10, 1_000_000, 123_456_789_012])
def test_a_substitute_value_keeps_its_number(chart: Chart, number: float) -> None:
    """YAML's 1e+06 would be a text for some readers."""
    rule = {"name": "a", "tubes": ["a"], "value": "ready", "onFailure": {"value": number}}
    (read,) = rules(chart.render({"metrics": [rule]}))["metrics"]
    assert read["onFailure"] == {"value": number}


def test_the_release_can_access_its_own_tubes_with_tenancy(chart: Chart) -> None:
    (prefix,) = (each.default for each in cli.commands["smoke"].params if each.name == "tube_prefix")
    own = {"namespaces": ["beanscale"], "tubes": ["hello-world", f"{prefix}*"]}
    assert rules(chart.render({"tenancy": [GRANT]}))["tenancy"] == [GRANT, own]
    without = {"helloWorld": {"enabled": False}, "test": {"enabled": False}}
    assert rules(chart.render({"tenancy": [GRANT], **without}))["tenancy"] == [GRANT]


def server(objects: Objects) -> Manifest:
    pod = objects.pods()["server"]
    assert isinstance(pod, dict)
    return pod


def test_the_rules_are_mounted_read_only_at_the_given_path(chart: Chart) -> None:
    spec = server(chart.render({"metrics": [RULE]}))["spec"]
    assert "--rules=/etc/beanscale/rules/rules.yaml" in spec["containers"][0]["args"]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "rules", "mountPath": "/etc/beanscale/rules", "readOnly": True}
    ]
    assert spec["volumes"] == [{"name": "rules", "configMap": {"name": "beanscale-rules"}}]


def test_without_rules_no_configmap_is_rendered(default: Objects) -> None:
    assert [each["metadata"]["name"] for each in default.of("ConfigMap")] == ["beanscale-ca"]
    assert "annotations" not in server(default)["metadata"]
    assert not {"volumes"} & set(server(default)["spec"])
    assert not any(each.startswith("--rules") for each in server(default)["spec"]["containers"][0]["args"])


def test_a_change_of_the_rules_replaces_the_pods_that_read_them_and_no_others(chart: Chart) -> None:
    before = chart.render({"metrics": [RULE]}).pods()
    after = chart.render({"metrics": [RULE | {"value": "2"}]}).pods()
    assert {name for name in before if before[name] != after[name]} == {"server", "console"}


def test_the_pods_own_values_are_kept(chart: Chart) -> None:
    scratch = {"name": "scratch", "emptyDir": {}}
    mount = {"name": "scratch", "mountPath": "/scratch"}
    given = {"podAnnotations": {"a": "b"}, "extraVolumes": [scratch], "extraVolumeMounts": [mount]}
    pod = server(chart.render({"metrics": [RULE], "server": given}))
    assert set(pod["metadata"]["annotations"]) == {"a", "checksum/rules"}
    assert scratch in pod["spec"]["volumes"]
    assert mount in pod["spec"]["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"metrics": [RULE | {"name": "tube-a"}]},
            "rule name tube-a is reserved (tube-NAME is the built-in metric of each tube)",
        ),
        (
            {"metrics": [RULE | {"name": "status"}]},
            "rule name status is reserved (Kubernetes parses it as a namespace subresource)",
        ),
        ({"metrics": [RULE, RULE]}, "two rules have the name checkout-backlog"),
        (
            {"metrics": [RULE | {"servers": ["us"]}], "beanstalkd": {"external": [{"host": "eu"}]}},
            "rule checkout-backlog uses server us, which is not configured; servers: beanstalkd, eu",
        ),
        (
            {"metrics": [RULE | {"onFailure": {"value": 1}}]},
            "rule checkout-backlog: onFailure value can't be combined with per tube",
        ),
        (
            {"metrics": [RULE | {"onFailure": {"hold": "5m", "value": 1}}]},
            "rule checkout-backlog: onFailure hold and value can't be combined: remove one",
        ),
        (
            {"metrics": [RULE | {"busy": "keep"}]},
            "rule checkout-backlog: busy: keep requires the averageValue of your HPA: set busy: {keep: 10}",
        ),
        (
            {"metrics": [{key: RULE[key] for key in RULE if key != "namespaces"}], "tenancy": [GRANT]},
            "rule checkout-backlog requires namespaces when tenancy is set",
        ),
    ],
)
def test_contradictory_rules_are_rejected_in_one_sentence(chart: Chart, values: Any, sentence: str) -> None:
    assert sentence in chart.refusal(values)


def test_the_values_describe_every_field_of_a_formula() -> None:
    text = (Path(Chart.path) / "values.yaml").read_text()
    explained = text[text.index("# Rules: metrics in addition") : text.index("\nmetrics: []")]
    assert {name for name in FIELDS if name not in explained} == set()
