"""Exactly the least permissions."""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest

from tests.chart.conftest import Chart, Manifest, Objects

APISERVICE = "v1beta1.external.metrics.k8s.io"

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ADAPTER = {"service": "adapter", "namespace": "monitoring", "caBundle": PEM}
METRICS = ("everywhere", "*.external.metrics.k8s.io", "*", "get list")
TO_EXPLAIN = {
    METRICS,
    ("everywhere", "horizontalpodautoscalers.autoscaling", "*", "get list"),
    ("everywhere", "deployments/scale.apps replicasets/scale.apps statefulsets/scale.apps", "*", "get"),
    ("everywhere", "events", "*", "list"),
}
SCALED = {"tube": "a", "jobsPerPod": 1, "maxReplicas": 2}
TARGETS = [
    SCALED | {"name": "a", "namespace": "shop", "target": {"name": "one"}},
    SCALED | {"name": "b", "namespace": "shop", "target": {"name": "two"}},
    SCALED | {"name": "c", "namespace": "shop", "target": {"kind": "StatefulSet", "name": "one"}},
    SCALED | {"name": "d", "namespace": "shop", "target": {"kind": "ReplicaSet", "name": "1e3"}},
    SCALED | {"name": "e", "target": {"kind": "ReplicationController", "apiVersion": "v1", "name": "on"}},
    SCALED | {"name": "f", "target": {"kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1", "name": "r.s"}},
    SCALED | {"name": "g", "target": {"kind": "Proxy", "apiVersion": "example.com/v1", "name": "p"}},
    SCALED | {"name": "h", "target": {"kind": "Redis", "apiVersion": "example.com/v1", "name": "q"}},
    SCALED
    | {"name": "i", "target": {"kind": "Octopus", "apiVersion": "example.com/v1", "name": "o", "resource": "octopi"}},
    SCALED | {"name": "j", "namespace": "other", "target": {"name": "not-scaled"}, "immediate": False},
]
WATCH = ("everywhere", "horizontalpodautoscalers.autoscaling", "*", "get list watch")


def permission(rule: Manifest, namespace: str | None) -> tuple[Any, ...]:
    assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
    kinds = [
        f"{resource}.{group}" if group else resource for group in rule["apiGroups"] for resource in rule["resources"]
    ]
    return (
        namespace or "everywhere",
        " ".join(kinds),
        " ".join(rule.get("resourceNames", ["*"])),
        " ".join(rule["verbs"]),
    )


def granted(objects: Objects) -> dict[str, set[tuple[Any, ...]]]:
    """Subject → (namespace, resource, name, verbs), or the name of a role that the cluster brings."""
    roles = {
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]): each["rules"]
        for kind in ("Role", "ClusterRole")
        for each in objects.of(kind)
    }
    found = defaultdict[str, set[tuple[Any, ...]]](set)
    for binding in objects.of("RoleBinding") + objects.of("ClusterRoleBinding"):
        namespace = binding["metadata"].get("namespace")
        kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        role = (kind, namespace if kind == "Role" else None, name)
        rules = (
            [permission(rule, namespace) for rule in roles[role]]
            if role in roles
            else [(namespace or "everywhere", kind, name)]
        )
        for subject in binding["subjects"]:
            assert subject["kind"] == "ServiceAccount"
            found[f"{subject['namespace']}/{subject['name']}"].update(rules)
    return dict(found)


def test_every_permission_is_required(default: Objects) -> None:
    assert granted(default) == {
        "beanscale/beanscale-server": {
            ("everywhere", "ClusterRole", "system:auth-delegator"),
            ("kube-system", "Role", "extension-apiserver-authentication-reader"),
            ("beanscale", "secrets", "beanscale-serving-cert", "get patch create"),
            ("beanscale", "configmaps", "beanscale-ca", "get patch"),
            ("everywhere", "apiservices.apiregistration.k8s.io", APISERVICE, "get patch"),
            *TO_EXPLAIN,
            WATCH,
            ("beanscale", "deployments/scale.apps", "beanscale-hello-world", "get patch"),
            ("beanscale", "events", "*", "create"),
        },
        "beanscale/beanscale-console": {
            ("everywhere", "horizontalpodautoscalers.autoscaling", "*", "get list"),
            ("everywhere", "deployments/scale.apps replicasets/scale.apps statefulsets/scale.apps", "*", "get"),
            ("everywhere", "*.external.metrics.k8s.io", "*", "get list"),
            ("everywhere", "events", "*", "list"),
            ("beanscale", "secrets", "beanscale-console", "get patch"),
        },
        "kube-system/horizontal-pod-autoscaler": {("everywhere", "*.external.metrics.k8s.io", "*", "get list")},
        "beanscale/beanscale-smoke": {
            ("everywhere", "apiservices.apiregistration.k8s.io", APISERVICE, "get"),
            ("everywhere", "*.external.metrics.k8s.io", "*", "get list"),
            ("beanscale", "horizontalpodautoscalers.autoscaling", "beanscale-hello-world", "get"),
        },
    }


@pytest.mark.parametrize(
    ("tls", "secret"),
    [
        ({"mode": "certManager"}, "beanscale-tls"),
        ({"mode": "existingSecret", "existingSecret": {"name": "mine"}}, "mine"),
    ],
)
def test_a_provided_certificate_is_only_read(chart: Chart, tls: Manifest, secret: str) -> None:
    objects = chart.render({"tls": tls})
    secrets = {each for each in granted(objects)["beanscale/beanscale-server"] if each[1] == "secrets"}
    assert secrets == {("beanscale", "secrets", secret, "get")}
    assert [each["metadata"]["name"] for each in objects.of("Secret")] == ["beanscale-console"]


def test_without_the_policy_that_restricts_its_type_the_secret_cant_be_created(chart: Chart) -> None:
    values = {"rbac": {"admissionPolicy": False}}
    objects = chart.render(values)
    assert ("beanscale", "secrets", "beanscale-serving-cert", "get patch") in granted(objects)[
        "beanscale/beanscale-server"
    ]
    assert not objects.of("ValidatingAdmissionPolicy") + objects.of("ValidatingAdmissionPolicyBinding")
    notes = chart.notes(values)
    assert f"Without rbac.admissionPolicy, the server's account could change all of APIService {APISERVICE}" in notes
    assert "can't recreate a deleted Secret beanscale-serving-cert: then run helm upgrade" in notes


@pytest.mark.parametrize(
    "auth", [{"mode": "none"}, {"existingSecret": {"name": "mine", "key": "pass"}}], ids=["no password", "a given one"]
)
def test_a_console_with_an_existing_password_has_no_access_to_any_secret(chart: Chart, auth: Manifest) -> None:
    """A given one comes to the pod as a file."""
    objects = chart.render({"console": {"auth": auth}})
    assert not [each for each in granted(objects)["beanscale/beanscale-console"] if "secrets" in each[1]]
    assert [each["metadata"]["name"] for each in objects.of("Secret")] == ["beanscale-serving-cert"]


def test_without_a_console_none_of_its_objects_is_rendered(chart: Chart) -> None:
    objects = chart.render({"console": {"enabled": False}})
    assert not [each for each in objects if each["metadata"]["name"].endswith("console")]
    assert "beanscale/beanscale-console" not in granted(objects)


def test_the_tests_permissions_exist_only_during_the_test(default: Objects) -> None:
    smoke = [each for each in default if each["metadata"]["name"].endswith("smoke") and each["kind"] != "NetworkPolicy"]
    assert {each["kind"] for each in smoke} == {
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "Pod",
    }
    for each in smoke:
        annotations = each["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "test"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded,hook-failed"
        assert annotations["helm.sh/hook-weight"] == ("1" if each["kind"] == "Pod" else "0")
        log = "hook-failed" if each["kind"] == "Pod" else None
        assert annotations.get("helm.sh/hook-output-log-policy") == log


def test_helm_prints_the_tests_log_where_logs_cant_be_read(chart: Chart) -> None:
    """`--logs` reads in the release's namespace."""
    elsewhere = chart.render({"namespaceOverride": "elsewhere"}).one("Pod", "beanscale-smoke")
    assert elsewhere["metadata"]["annotations"]["helm.sh/hook-output-log-policy"] == "hook-failed,hook-succeeded"
    assert "helm test beanscale -n beanscale\n" in chart.notes({"namespaceOverride": "elsewhere"})


def test_only_pods_that_use_the_api_server_have_a_token(chart: Chart) -> None:
    objects = chart.render({"forwardTo": ADAPTER})
    tokens = {name: pod["spec"]["automountServiceAccountToken"] for name, pod in objects.pods().items()}
    assert tokens == {"server": True, "console": True, "smoke": True, "hello-world": False, "beanstalkd": False}
    mounted = {each["metadata"]["name"]: each["automountServiceAccountToken"] for each in objects.of("ServiceAccount")}
    assert mounted == dict.fromkeys((f"beanscale-{part}" for part in ("console", "forward", "server", "smoke")), False)


@pytest.mark.parametrize(
    ("values", "more"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param(
            {"forwardTo": ADAPTER},
            {("beanscale", "serviceaccounts/token", "beanscale-forward", "create")},
            id="to ask the other server",
        ),
        pytest.param({"rbac": {"explain": True}}, TO_EXPLAIN, id="to explain"),
    ],
)
def test_the_server_reads_metrics_and_autoscalers_only_if_enabled(
    chart: Chart, values: Manifest, more: set[tuple[str, ...]]
) -> None:
    silent: Manifest = {"rbac": {"explain": False}}
    before, after = granted(chart.render(silent)), granted(chart.render(silent | values))
    server = "beanscale/beanscale-server"
    assert after.pop(server) - before.pop(server) == more
    assert after.pop("beanscale/beanscale-forward", {METRICS}) == {METRICS}
    assert after == before


def test_the_server_may_scale_only_the_named_targets(chart: Chart) -> None:
    """Of each entry that uses it, by the resource of the target's kind."""
    server = "beanscale/beanscale-server"
    alone: Manifest = {"helloWorld": {"enabled": False}}
    more = granted(chart.render(alone | {"autoscalers": TARGETS}))[server] - granted(chart.render(alone))[server]
    assert more == {
        ("shop", "deployments/scale.apps", "one two", "get patch"),
        ("shop", "statefulsets/scale.apps", "one", "get patch"),
        ("shop", "replicasets/scale.apps", "1e3", "get patch"),
        ("shop", "events", "*", "create"),
        ("beanscale", "replicationcontrollers/scale", "on", "get patch"),
        ("beanscale", "rollouts/scale.argoproj.io", "r.s", "get patch"),
        ("beanscale", "proxies/scale.example.com", "p", "get patch"),
        ("beanscale", "redises/scale.example.com", "q", "get patch"),
        ("beanscale", "octopi/scale.example.com", "o", "get patch"),
        ("beanscale", "events", "*", "create"),
    }


def test_without_scaling_nothing_of_it_is_rendered(chart: Chart, default: Objects) -> None:
    values: Manifest = {"scaling": {"enabled": False}}
    off = chart.render(values)
    named = {(each["kind"], each["metadata"]["name"]) for each in default}
    left = {(each["kind"], each["metadata"]["name"]) for each in off}
    scaler = {(kind, "beanscale:beanscale:scaler") for kind in ("ClusterRole", "ClusterRoleBinding")}
    assert named - left == scaler | {(kind, "beanscale-scaler") for kind in ("Role", "RoleBinding")}
    annotations = [each["metadata"].get("annotations", {}) for each in chart.render(values | {"autoscalers": TARGETS})]
    assert not [key for each in annotations for key in each if key.startswith("beanscale/")]
    assert WATCH not in granted(off)["beanscale/beanscale-server"]
    args = [each.pods()["server"]["spec"]["containers"][0]["args"] for each in (default, off)]
    assert ["--scaler" in each for each in args] == [True, False]


def test_a_target_that_is_scaled_to_zero_by_the_server_is_granted_without_immediate(chart: Chart) -> None:
    entry = SCALED | {"name": "a", "namespace": "shop", "target": {"name": "one"}, "immediate": False, "minReplicas": 0}
    patched = ("shop", "deployments/scale.apps", "one", "get patch")
    for version, is_granted in (("1.36.0", True), ("1.37.0", False)):
        objects = chart.render({"autoscalers": [entry]}, f"--kube-version={version}")
        assert (patched in granted(objects)["beanscale/beanscale-server"]) == is_granted


def single(permissions: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """One permission for each resource, name and verb."""
    return {each for place, *rest in permissions for each in product([place], *(words.split() for words in rest))}


def commanded(notes: str) -> dict[str, set[tuple[str, ...]]]:
    """Return what the commands in the NOTES grant, as `granted` does."""
    roles: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    found = defaultdict[str, set[tuple[str, ...]]](set)
    for line in notes.splitlines():
        if not line.startswith("  kubectl create "):
            continue
        words = [word for word in shlex.split(line) if word != "-n"]
        options: dict[str, str] = {}
        for word in words:
            option, _, value = word.partition("=")
            if word.startswith("--"):  # --resource-name can be repeated
                options[option[2:]] = " ".join([*options.get(option[2:], "").split(), value])
        kind, *place, name = [word for word in words[2:] if not word.startswith("--")]
        namespace = place[0] if place else "everywhere"
        if kind in {"role", "clusterrole"}:
            kinds = [re.sub(r"^(\w+)\.([\w.]+)/(\w+)$", r"\1/\3.\2", each) for each in options["resource"].split(",")]
            names, verbs = options.get("resource-name", "*"), options["verb"].replace(",", " ")
            roles[kind, namespace, name] = [(each, names, verbs) for each in kinds]
            continue
        role = "clusterrole" if "clusterrole" in options else "role"
        theirs = roles.get((role, "everywhere" if role == "clusterrole" else namespace, options[role]))
        subject = options["serviceaccount"].replace(":", "/")
        whole = {"clusterrole": "ClusterRole", "role": "Role"}[role]
        found[subject] |= {(namespace, *each) for each in theirs} if theirs else {(namespace, whole, options[role])}
    return dict(found)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"forwardTo": ADAPTER},
        {"console": {"auth": {"mode": "none"}}, "rbac": {"explain": False}},
        {"console": {"enabled": False}, "helloWorld": {"autoscaling": {"enabled": False}}},
        {"test": {"enabled": False}, "tls": {"mode": "certManager"}},
        {"rbac": {"admissionPolicy": False}},
        {"scaling": {"enabled": False}},
        {"autoscalers": TARGETS},
    ],
    ids=str,
)
def test_without_rbac_the_notes_have_the_commands_for_all_permissions(chart: Chart, values: Manifest) -> None:
    without = values | {"rbac": values.get("rbac", {}) | {"create": False}}
    assert granted(chart.render(without)) == {}
    expected = {account: single(theirs) for account, theirs in granted(chart.render(values)).items()}
    assert {account: single(theirs) for account, theirs in commanded(chart.notes(without)).items()} == expected
    assert commanded(chart.notes(values)) == {}


def test_the_binding_in_kube_system_can_be_left_to_an_administrator(chart: Chart) -> None:
    values = {"rbac": {"authReader": {"create": False}}}
    assert all(each["metadata"].get("namespace") != "kube-system" for each in chart.render(values))
    assert "kubectl create rolebinding -n kube-system beanscale:beanscale:auth-reader" in chart.notes(values)


def test_viewers_read_the_metrics_only_if_enabled(chart: Chart, default: Objects) -> None:
    aggregating = chart.render({"rbac": {"aggregateReader": True}})
    label = "rbac.authorization.k8s.io/aggregate-to-view"
    assert [
        each["metadata"]["name"] for each in aggregating.of("ClusterRole") if label in each["metadata"]["labels"]
    ] == ["beanscale:beanscale:metrics-reader"]
    assert all(label not in each["metadata"]["labels"] for each in default)


def test_an_existing_account_is_bound_but_not_created(chart: Chart) -> None:
    account = {"serviceAccount": {"create": False, "name": "given"}}
    other = {"serviceAccount": {"create": False, "name": "other"}}
    objects = chart.render(account | {"console": other})
    assert {"beanscale/given", "beanscale/other"} <= set(granted(objects))
    assert [each["metadata"]["name"] for each in objects.of("ServiceAccount")] == ["beanscale-smoke"]
    assert objects.pods()["server"]["spec"]["serviceAccountName"] == "given"
    assert objects.pods()["console"]["spec"]["serviceAccountName"] == "other"


def test_releases_of_one_name_in_two_namespaces_have_distinct_cluster_objects(chart: Chart, default: Objects) -> None:
    def cluster_wide(objects: Objects) -> set[tuple[str, str]]:
        ours = [
            each
            for each in objects
            if each["metadata"].get("namespace") != "beanscale" and each["metadata"].get("namespace") != "other"
        ]
        return {(each["kind"], each["metadata"]["name"]) for each in ours}

    other = chart.render({"namespaceOverride": "other"})
    assert cluster_wide(default) & cluster_wide(other) == {("APIService", APISERVICE)}
