"""Names and texts of any form: those that YAML reads as another type, and the longest."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from app.settings import parse_server
from tests.chart.conftest import CHART, Chart, Manifest, Objects
from tests.chart.test_null import SCHEMA, VALUES, nested, resolved

NOT_STRINGS = ("1e3", "on", "0x1f", "1234", "null", "~", "yes", "2026-01-01", "012", "1_000", "=", "1.5", "0o7", "0b1")
"""What YAML 1.1, YAML 1.2 or Go read as a number, a boolean, a date or null, unless quoted."""
MARK = "some-text"


class Yaml11(yaml.SafeLoader):
    """PyYAML's, with "=" as the text that it is in Go."""


Yaml11.add_constructor("tag:yaml.org,2002:value", yaml.SafeLoader.construct_yaml_str)


class Yaml12(yaml.SafeLoader):
    """The core schema of YAML 1.2, in which 1e3 is a number."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's


for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
):
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
Yaml12.add_constructor("tag:yaml.org,2002:int", lambda loader, node: (int, loader.construct_scalar(node)))
Yaml12.add_constructor("tag:yaml.org,2002:float", lambda loader, node: (float, loader.construct_scalar(node)))


def text_values(
    values: Any, schema: Manifest, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Manifest]]:
    """Yield the path and the schema of each value that is a text of the user's choice."""
    for key, value in values.items():
        within = resolved(schema["properties"][key]) if "properties" in schema else {}
        if isinstance(value, dict):
            yield from text_values(value, within, (*path, key))
        elif "pattern" in within and within["type"] in ("string", ["string", "null"]):
            yield (*path, key), within


TEXTS = dict(text_values(VALUES, SCHEMA))
PARTS = ("server", "console", "beanstalkd", "helloWorld")
ENABLED: Any = {
    "tls": {"mode": "certManager", "certManager": {"existingIssuer": {"enabled": True, "name": "a"}}},
    "beanstalkd": {"persistence": {"enabled": True}},
    "console": {"ingress": {"enabled": True}},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
}
LABELS = {"example.com/a": MARK}
OF_LABELS: Any = {
    "commonLabels": LABELS,
    "dashboard": {"labels": LABELS},
    **{part: {"podLabels": LABELS, "nodeSelector": LABELS} for part in PARTS},
}
OF_NAMES: Any = {
    "imagePullSecrets": [{"name": MARK}],
    "global": {"imagePullSecrets": [MARK]},
    "beanstalkd": {"external": [{"statefulSet": {"name": MARK, "service": MARK, "namespace": MARK, "replicas": 1}}]},
    "console": {"ingress": {"hosts": [MARK], "tls": [{"secretName": MARK, "hosts": [MARK]}]}},
    "metrics": [{"name": MARK, "tubes": [MARK], "servers": [f"{MARK}-0"], "namespaces": [MARK]}],
    "tenancy": [{"namespaces": [MARK], "tubes": [MARK]}],
    "autoscalers": [
        {"name": MARK, "namespace": MARK, "target": {"name": MARK}, "tube": MARK, "jobsPerPod": 1, "maxReplicas": 1}
    ],
    "forwardTo": {
        "service": MARK,
        "namespace": MARK,
        "caBundle": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    },
}
OF_ANY_TEXT: Any = {
    "apiService": {"annotations": LABELS},
    "serviceAccount": {"annotations": LABELS},
    "server": {
        "extraArgs": [MARK],
        "extraEnv": [{"name": "A", "value": MARK}],
        "tolerations": [{"key": MARK, "value": MARK}],
    },
    **{part: {"podAnnotations": LABELS} for part in PARTS},
}


def marked(text: str) -> Any:
    """Return values with the mark wherever the text is valid too, except in names from which others are derived."""
    values = merged(ENABLED, OF_ANY_TEXT)
    if re.fullmatch("[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", text):
        values = merged(values, OF_LABELS)
    if re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", text):
        values = merged(values, OF_NAMES)
    for path, schema in TEXTS.items():
        fits = all(re.search(schema["pattern"], each) for each in (text, MARK))
        if fits and path not in {("fullnameOverride",), ("tls", "existingSecret", "name")}:
            values = merged(values, nested(path, MARK))
    return values


def merged(values: Any, others: Any) -> Any:
    if not isinstance(values, dict) or not isinstance(others, dict):
        return others
    return {**values, **{key: merged(values.get(key), other) for key, other in others.items()}}


def with_text(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {key: with_text(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [with_text(each, text) for each in value]
    return value.replace(MARK, text) if isinstance(value, str) else value


def parsed(text: str, loader: Any) -> Iterator[Manifest]:
    """Yield the manifests without what is derived from the values as text: checksums, and files in ConfigMaps."""
    for each in yaml.load_all(text, loader):
        if each:
            pod = each.get("spec", {}).get("template", each)["metadata"]
            pod.get("annotations", {}).pop("checksum/rules", None)
            rules = each.get("data", {}).pop("rules.yaml", "{}")
            yield each | {"rules": yaml.load(rules, loader)}  # noqa: S506 - a SafeLoader


@pytest.mark.parametrize("text", NOT_STRINGS)
def test_a_text_stays_a_text(chart: Chart, text: str) -> None:
    """A value renders exactly as another text does in its place, in both versions of YAML."""
    values = marked(text)
    expected, rendered = chart.text(values), chart.text(with_text(values, text))
    for loader in (Yaml11, Yaml12):
        assert list(parsed(rendered, loader)) == with_text(list(parsed(expected, loader)), text)


LONGEST_RELEASE, LONGEST_NAMESPACE = "r" * 53, "n" * 63
NAMES = [
    *((text, text) for text in NOT_STRINGS if re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", text)),
    ("1.5", "null"),
    ("queue-autoscaling", "platform-production-eu"),
    ("a.b-c.d", "n"),
    (LONGEST_RELEASE, LONGEST_NAMESPACE),
    (f"{'1' * 26}.{'2' * 26}", LONGEST_NAMESPACE),
    (f"{'a-' * 26}a", LONGEST_NAMESPACE),
]
"""Releases and namespaces."""
OVERRIDES = [
    {"nameOverride": "1" * 63},
    {"fullnameOverride": "1" * 63},
    {"fullnameOverride": f"{'a-' * 31}a", "nameOverride": f"{'b-' * 31}b", "namespaceOverride": LONGEST_NAMESPACE},
    {"fullnameOverride": "1e3", "namespaceOverride": "0x1f", "nameOverride": "on"},
]
CASES: list[tuple[str, str, Any]] = [
    *((release, namespace, {}) for release, namespace in NAMES),
    *((release, namespace, values) for release, namespace in (NAMES[0], NAMES[-1]) for values in OVERRIDES),
]
ALL = [f"--values={CHART / 'ci/everything-values.yaml'}", "--set=tls.mode=certManager"]


def rendered(chart: Chart, release: str, namespace: str, values: Any, *arguments: str) -> Objects:
    done = chart.helm("template", release, str(chart.path), f"--namespace={namespace}", *arguments, values=values)
    assert done.returncode == 0, done.stderr
    return Objects(tuple(each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each))


def entries(value: Any, key: str) -> Iterator[Any]:
    """Yield what stands under a key, at any depth."""
    if isinstance(value, dict):
        yield from (each for name, each in value.items() if name == key)
        yield from (found for each in value.values() for found in entries(each, key))
    elif isinstance(value, list):
        yield from (found for each in value for found in entries(each, key))


@pytest.mark.parametrize("arguments", [[], ALL], ids=["default", "everything"])
@pytest.mark.parametrize(("release", "namespace", "values"), CASES)
def test_all_names_are_valid(chart: Chart, release: str, namespace: str, values: Any, arguments: list[str]) -> None:
    if arguments:
        values = (
            dict.fromkeys(("nameOverride", "fullnameOverride", "namespaceOverride")) | values | {"clusterDomain": "a.b"}
        )
    objects = rendered(chart, release, namespace, values, *arguments)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    longest = {"Service": 63, "StatefulSet": 52, "CronJob": 52}
    assert [pair for pair in names if len(pair[1]) > longest.get(pair[0], 253)] == []
    label = "[a-z]([-a-z0-9]*[a-z0-9])?"  # of Services, before Kubernetes 1.35
    assert [name for kind, name in names if kind == "Service" and not re.fullmatch(label, name)] == []
    assert [name for _, name in names if not re.fullmatch("[a-z0-9]([-a-z0-9.:]*[a-z0-9])?", name)] == []
    places = [(*pair, each["metadata"].get("namespace")) for pair, each in zip(names, objects, strict=True)]
    assert len(set(places)) == len(places)
    for labels in (*entries([*objects], "labels"), *entries([*objects], "matchLabels")):
        for text in labels.values():
            assert re.fullmatch("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", text)
    for certificate in objects.of("Certificate"):
        assert len(certificate["spec"].get("commonName", "")) <= 64
        assert all(len(name) <= 253 for name in certificate["spec"].get("dnsNames", []))
    servers = [one for args in entries([*objects], "args") for one in args if one.startswith("--beanstalkd=")]
    assert len({parse_server(each.partition("=")[2]).name for each in servers}) == (4 if arguments else 1)
    assert all("=" in each.partition("=")[2] for each in servers)


def test_names_that_no_certificate_can_have_are_refused(chart: Chart) -> None:
    values = {"clusterDomain": ".".join(["d" * 60] * 3), "fullnameOverride": "f" * 63, "namespaceOverride": "n" * 63}
    assert "has 303 characters, the limit is 253: set a shorter clusterDomain" in chart.refusal(values)
