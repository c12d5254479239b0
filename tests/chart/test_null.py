"""A key without content is null, and null means "not set": of each optional value, at any depth."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHART, Chart, Manifest

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EVERYTHING = CHART / "ci/everything-values.yaml"


def resolved(schema: Manifest) -> Manifest:
    """Return the schema itself, for one that is a reference or that allows null besides."""
    schema = schema.get("anyOf", [schema])[0] if "properties" not in schema else schema
    if "$ref" in schema:
        return resolved(SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]])
    return schema


def optional(values: Any, schema: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the default of each value that the schema doesn't require."""
    for key, value in values.items():
        within = resolved(schema["properties"][key]) if "properties" in schema else {}
        if key not in schema.get("required", ()):
            yield (*path, key), value
        if isinstance(value, dict):
            yield from optional(value, within, (*path, key))


OPTIONAL = dict(optional(VALUES, SCHEMA))


def nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def emptied(values: Any) -> Any:
    """Return the values with null for each that is empty or false by default, without all others."""
    if not isinstance(values, dict) or not values:
        return None
    given = {key: value for key, value in values.items() if key != "allowPrivilegeEscalation"}  # false is a setting
    return {key: emptied(value) for key, value in given.items() if isinstance(value, dict) or not value}


def without_required(values: Any, path: tuple[str, ...] = ()) -> Any:
    """Return the values without nulls where the schema requires something."""
    if not isinstance(values, dict):
        return values
    return {
        key: without_required(value, (*path, key))
        for key, value in values.items()
        if value is not None or (*path, key) in OPTIONAL
    }


def has_null(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(has_null, value.values() if isinstance(value, dict) else value))
    return value is None


def test_the_keys_that_users_empty_are_optional() -> None:
    assert len(OPTIONAL) > 100
    for path in ("imagePullSecrets", "metrics", "console.ingress.hosts", "beanstalkd.networkPolicy", "commonLabels"):
        assert tuple(path.split(".")) in OPTIONAL


def test_null_instead_of_what_is_empty_by_default_changes_nothing(chart: Chart) -> None:
    values = without_required(emptied(VALUES))
    assert values["console"]["ingress"] == dict.fromkeys(("enabled", "className", "annotations", "hosts", "tls"))
    assert chart.text(values) == chart.text()
    assert chart.notes(values) == chart.notes()


def defaults() -> Manifest:
    """Return the chart's own copy of the defaults that Helm removes for null."""
    text = (CHART / "templates/_values.tpl").read_text().partition('define "beanscale.defaults" -}}')[2]
    return dict(yaml.safe_load(text.partition("{{- end }}")[0]))


def settings(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of each that isn't a map."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from settings(value, (*path, key))
        else:
            yield (*path, key), value


def test_the_charts_copy_of_the_defaults_is_true() -> None:
    every = dict(settings(VALUES))
    assert [path for path, value in settings(defaults()) if value and value != every[path]] == []


SET = [path for path, value in settings(defaults()) if value]
WITH_DEFAULT = dict.fromkeys(path[:length] for path in SET for length in range(1, len(path) + 1))
"""The values and the maps above them."""


@pytest.fixture(scope="module")
def expected(chart: Chart) -> str:
    return chart.text()


@pytest.mark.parametrize("path", [path for path in WITH_DEFAULT if path in OPTIONAL], ids=".".join)
def test_null_means_the_default(chart: Chart, expected: str, path: tuple[str, ...]) -> None:
    assert chart.text(nested(path, None)) == expected


@pytest.mark.parametrize("path", OPTIONAL, ids=".".join)
def test_each_optional_value_can_be_null(chart: Chart, path: tuple[str, ...]) -> None:
    """On its own, where all others are set. A refusal is one of ours, about values that belong together."""
    done = chart.helm(
        *("template", "beanscale", str(chart.path), "--namespace=beanscale", "--kube-version=1.37"),
        f"--values={EVERYTHING}",
        values=nested(path, None),
    )
    if done.returncode:
        assert "error calling fail: " in done.stderr or "): " in done.stderr
        assert not any(word in done.stderr for word in ("nil pointer", "schema", "invalid value", "wrong type"))
    else:
        assert not has_null([each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each])


WITHIN: list[Any] = [
    {"server": {"resources": {"limits": {"cpu": None, "memory": None}, "requests": None}}},
    {"server": {"podAnnotations": {"a": None}, "nodeSelector": {"b": None}, "podLabels": {"c": None}}},
    {"server": {"affinity": {"nodeAffinity": None}, "tolerations": [{"operator": "Exists", "key": None}]}},
    {"server": {"extraEnv": [{"name": "A", "value": None}], "livenessProbe": {"httpGet": {"httpHeaders": None}}}},
    {"server": {"startupProbe": {"httpGet": None}, "updateStrategy": {"rollingUpdate": {"maxSurge": None}}}},
    {"beanstalkd": {"external": [{"name": None, "host": "eu", "port": None, "statefulSet": None}]}},
    {"beanstalkd": {"networkPolicy": {"ingressFrom": [{"podSelector": {"matchLabels": None}}]}}},
    {"metrics": [{"name": "a", "tubes": ["b"], **dict.fromkeys(("servers", "value", "per", "onFailure", "maxAge"))}]},
    {"metrics": [{"name": "a", "tubes": ["b"], "onFailure": {"hold": "5m", "value": None}}]},
    {"metrics": [{"name": "a", "tubes": ["b"], **dict.fromkeys(("paused", "busy", "unit", "namespaces"))}]},
    {
        "autoscalers": [
            {"name": "a", "maxReplicas": 1, "target": {"name": "c"}, "tube": None, "jobsPerPod": None}
            | {
                "metrics": [
                    {"tube": "b", "perSecond": 1, **dict.fromkeys(("metric", "selector", "jobsPerPod", "busy"))}
                ]
            }
        ]
    },
    {
        "helloWorld": {
            "autoscaling": dict.fromkeys(("perSecond", "paused", "busy", "immediate", "idleFor", "activation"))
        }
    },
    {
        "autoscalers": [
            {"name": "a", "tube": "b", "jobsPerPod": 1, "maxReplicas": 1, "target": {"name": "c", "kind": None}}
            | dict.fromkeys(
                (
                    "namespace",
                    "metric",
                    "selector",
                    "targetValue",
                    "minReplicas",
                    "behavior",
                    "labels",
                    "immediate",
                    "idleFor",
                    "activation",
                )
            )
            | dict.fromkeys(("perSecond", "paused", "busy", "metrics"))
        ]
    },
    {"console": {"service": {"nodePort": None}, "ingress": {"enabled": True, "tls": [{"secretName": None}]}}},
    {"podDisruptionBudget": {"minAvailable": None}, "helloWorld": {"autoscaling": {"behavior": None}}},
    {"serviceMonitor": {"enabled": True, "relabelings": [{"action": "keep", "regex": None}]}},
    {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None, "seLinuxOptions": None}},
]


@pytest.mark.parametrize("values", WITHIN, ids=str)
def test_null_within_a_value_leaves_nothing(chart: Chart, values: Any) -> None:
    assert not has_null(list(chart.render(values)))


@pytest.mark.parametrize("empty", [None, {}, {"hold": None}, {"value": None}, {"hold": None, "value": None}], ids=str)
def test_a_failure_policy_without_content_is_not_set(chart: Chart, empty: Any) -> None:
    rule = {"name": "a", "tubes": ["b"]}
    assert chart.text({"metrics": [rule | {"onFailure": empty}]}) == chart.text({"metrics": [rule]})


def test_an_entry_without_its_address_is_refused_in_a_sentence(chart: Chart) -> None:
    refusal = chart.refusal({"beanstalkd": {"external": [{"host": "eu"}, {"host": None}]}})
    assert "beanstalkd.external[1] has neither host nor statefulSet: set one, or remove the entry" in refusal


def templates() -> list[Path]:
    every = (CHART / "templates").rglob("*.*")
    return [path for path in every if path.suffix in {".yaml", ".txt"}]


@pytest.mark.parametrize("template", templates(), ids=lambda path: path.name)
def test_every_template_reads_values_without_null(template: Path) -> None:
    assert template.read_text().startswith('{{- include "beanscale.values" . -}}\n')
