"""What the values do."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import cli
from tests.chart.conftest import Chart, Manifest, Objects

SERVICES: dict[str, Callable[[Any], Any]] = {
    "service": lambda service: {"service": service},
    "beanstalkd.service": lambda service: {"beanstalkd": {"service": service}},
    "console.service": lambda service: {"console": {"service": service}},
    "helloWorld.service": lambda service: {"helloWorld": {"service": service}},
}


def arguments(pod: Manifest) -> list[str]:
    return list(pod["spec"]["containers"][0]["args"])


def test_lint_finds_nothing(chart: Chart, example: Path) -> None:
    done = chart.helm("lint", "--strict", str(chart.path), f"--values={example}")
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_the_default_install_has_these_parts(default: Objects) -> None:
    hooks = ("helm.sh/hook", "test")
    parts = [
        f"{each['kind']} {each['metadata']['name']}"
        for each in default
        if hooks not in each["metadata"].get("annotations", {}).items()
    ]
    assert sorted(part for part in parts if "Role" not in part) == [
        "APIService v1beta1.external.metrics.k8s.io",
        "ConfigMap beanscale-ca",
        "Deployment beanscale-console",
        "Deployment beanscale-hello-world",
        "Deployment beanscale-server",
        "HorizontalPodAutoscaler beanscale-hello-world",
        "NetworkPolicy beanscale-beanstalkd",
        "NetworkPolicy beanscale-console",
        "NetworkPolicy beanscale-hello-world",
        "NetworkPolicy beanscale-server",
        "NetworkPolicy beanscale-smoke",
        "PodDisruptionBudget beanscale-server",
        "Secret beanscale-console",
        "Secret beanscale-serving-cert",
        "Service beanscale-beanstalkd",
        "Service beanscale-console",
        "Service beanscale-hello-world",
        "Service beanscale-server",
        "ServiceAccount beanscale-console",
        "ServiceAccount beanscale-server",
        "StatefulSet beanscale-beanstalkd",
        "ValidatingAdmissionPolicy beanscale.beanscale-apiservice",
        "ValidatingAdmissionPolicy beanscale.beanscale-data",
        "ValidatingAdmissionPolicyBinding beanscale.beanscale-apiservice",
        "ValidatingAdmissionPolicyBinding beanscale.beanscale-data",
    ]


def test_the_server_gets_its_arguments(default: Objects) -> None:
    assert arguments(default.pods()["server"]) == [
        "serve",
        "--beanstalkd=beanstalkd=beanscale-beanstalkd.beanscale.svc:11300",
        "--port=10250",
        "--service=beanscale/beanscale-server",
        "--tls-secret=beanscale-serving-cert",
        "--ca-configmap=beanscale-ca",
        "--tls-min-version=1.3",
        "--tls-duration=720h",
        "--tls-ca-duration=8760h",
        "--apiservice=v1beta1.external.metrics.k8s.io",
        "--cluster-domain=cluster.local",
        "--max-age=15s",
        "--scaler",
        "--shutdown-delay=5",
        "--log-format=json",
        "--log-level=info",
        "--audit-log=refusals",
    ]


@pytest.mark.parametrize(
    ("values", "argument"),
    [
        ({"server": {"discovery": {"tubes": False}}}, "--no-discovery-tubes"),
        ({"tls": {"minVersion": "1.2"}}, "--tls-min-version=1.2"),
        ({"tls": {"minVersion": 1.2}}, "--tls-min-version=1.2"),
    ],
    ids=str,
)
def test_a_value_becomes_an_argument_of_the_server(chart: Chart, values: Manifest, argument: str) -> None:
    given = arguments(chart.render(values).pods()["server"])
    assert argument in given
    cli.commands["serve"].make_context("serve", given[1:])


def test_the_commands_take_the_arguments_that_the_chart_gives(chart: Chart, example: Path, tmp_path: Path) -> None:
    objects = chart.render(None, f"--values={example}")
    for pod in objects.pods().values():
        command, *options = arguments(pod)
        if command in cli.commands:
            mounted = mount(pod, objects, tmp_path)
            options = [option.replace("=/etc/beanscale/", f"={mounted}/etc/beanscale/") for option in options]
            cli.commands[command].make_context(command, options)


def mount(pod: Manifest, objects: Objects, root: Path) -> Path:
    """Write the ConfigMaps and Secrets that the pod mounts to where it finds them, below `root`."""
    volumes = {each["name"]: each for each in pod["spec"].get("volumes", [])}
    for given in pod["spec"]["containers"][0].get("volumeMounts", []):
        folder = root / pod["metadata"]["labels"]["app.kubernetes.io/component"] / given["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        for file, content in files(volumes[given["name"]], objects).items():
            (folder / file).write_text(content)
    return root / pod["metadata"]["labels"]["app.kubernetes.io/component"]


def files(volume: Manifest, objects: Objects) -> dict[str, str]:
    """Return the files in a volume. Secrets aren't rendered, so their files have placeholder content."""
    if "configMap" in volume:
        return dict(objects.one("ConfigMap", volume["configMap"]["name"])["data"])
    return {item["path"]: "content" for item in volume.get("secret", {}).get("items", [])}


def test_cert_manager_issues_the_certificate_with_a_ca_of_the_release(chart: Chart) -> None:
    objects = chart.render({"tls": {"mode": "certManager"}})
    certificate = objects.one("Certificate", "beanscale-tls")["spec"]
    assert certificate["dnsNames"] == [
        "beanscale-server.beanscale.svc",
        "beanscale-server.beanscale.svc.cluster.local",
        "beanscale-server.beanscale",
    ]
    assert {"--tls-mode=provided", f"--tls-secret={certificate['secretName']}"} <= set(
        arguments(objects.pods()["server"])
    )
    issuer = objects.one("Issuer", certificate["issuerRef"]["name"])
    authority = objects.one("Certificate", issuer["spec"]["ca"]["secretName"])["spec"]
    assert authority["isCA"] is True
    assert "selfSigned" in objects.one("Issuer", authority["issuerRef"]["name"])["spec"]


def test_cert_manager_can_use_an_existing_issuer(chart: Chart) -> None:
    issuer = {"enabled": True, "kind": "ClusterIssuer", "name": "company"}
    objects = chart.render({"tls": {"mode": "certManager", "certManager": {"existingIssuer": issuer}}})
    assert objects.one("Certificate", "beanscale-tls")["spec"]["issuerRef"] == {
        "kind": "ClusterIssuer",
        "name": "company",
    }
    assert (len(objects.of("Certificate")), objects.of("Issuer")) == (1, [])


def test_bundled_and_external_servers_are_polled_together(chart: Chart) -> None:
    external = [{"host": "eu.example.com"}, {"name": "us", "host": "fd00::1", "port": 11301}]
    pods = chart.render({"beanstalkd": {"external": external}}).pods()
    assert_servers(
        pods,
        [
            "beanstalkd=beanscale-beanstalkd.beanscale.svc:11300",
            "eu.example.com=eu.example.com:11300",
            "us=[fd00::1]:11301",
        ],
    )


def assert_servers(pods: dict[str, Manifest], servers: list[str]) -> None:
    """Server, console and test poll all of them; the worker uses the first one, by the same name."""
    for component in ("server", "console", "smoke"):
        given = [each for each in arguments(pods[component]) if each.startswith("--beanstalkd=")]
        assert given == [f"--beanstalkd={server}" for server in servers]
    assert f"--beanstalkd={servers[0]}" in arguments(pods["hello-world"])


@pytest.mark.parametrize(
    ("entry", "server"),
    [
        ({"host": "fd00::11"}, "fd00--11=[fd00::11]:11300"),
        ({"host": "[fd00::11]", "port": 11301}, "fd00--11=[fd00::11]:11301"),
        ({"host": "::1"}, "1=[::1]:11300"),
        ({"host": "_queue._tcp"}, "queue._tcp=_queue._tcp:11300"),
        ({"host": "10.0.0.7"}, "10.0.0.7=10.0.0.7:11300"),
        ({"host": "[fd00::11]", "name": "eu"}, "eu=[fd00::11]:11300"),
    ],
)
def test_a_server_without_a_name_is_named_after_its_host(chart: Chart, entry: Any, server: str) -> None:
    values = {"beanstalkd": {"enabled": False, "external": [entry]}}
    assert_servers(chart.render(values).pods(), [server])
    assert f"polls {server.partition('=')[0]}. " in chart.notes(values)


QUEUE = {"name": "queue", "service": "queue", "namespace": "shop", "replicas": 2}


def test_a_stateful_set_is_one_server_per_pod(chart: Chart) -> None:
    external = [
        {"statefulSet": QUEUE},
        {"name": "eu", "port": 11301, "statefulSet": {"name": "q", "service": "q-headless", "replicas": 1}},
    ]
    servers = [
        "queue-0=queue-0.queue.shop.svc:11300",
        "queue-1=queue-1.queue.shop.svc:11300",
        "eu-0=q-0.q-headless.beanscale.svc:11301",
    ]
    bundled = "beanstalkd=beanscale-beanstalkd.beanscale.svc:11300"
    assert_servers(chart.render({"beanstalkd": {"external": external}}).pods(), [bundled, *servers])
    values = {"beanstalkd": {"enabled": False, "external": external}}
    assert_servers(chart.render(values).pods(), servers)
    assert "polls 2 pods of StatefulSet shop/queue, 1 pod of StatefulSet beanscale/q. " in chart.notes(values)


def test_rules_can_use_the_servers_of_a_stateful_set(chart: Chart) -> None:
    rule = {"name": "a", "tubes": ["b"], "servers": ["queue-1"]}
    values = {"beanstalkd": {"external": [{"statefulSet": QUEUE}]}, "metrics": [rule]}
    assert "queue-1" in chart.render(values).one("ConfigMap", "beanscale-rules")["data"]["rules.yaml"]
    rule["servers"] = ["queue-2"]
    assert "rule a uses server queue-2, which is not configured; servers: beanstalkd, queue-0, queue-1" in (
        chart.refusal(values)
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"beanstalkd": {"enabled": False}}, "no beanstalkd server is configured"),
        ({"beanstalkd": {"external": [{"host": "beanstalkd"}]}}, 'have the same name "beanstalkd"'),
        (
            {"beanstalkd": {"external": [{"host": "a"}, {"name": "a", "host": "b"}]}},
            'a:11300 and b:11300 have the same name "a"',
        ),
        (
            {"beanstalkd": {"external": [{"host": "a", "statefulSet": QUEUE}]}},
            "host a and statefulSet queue can't be combined in one entry",
        ),
        (
            {"beanstalkd": {"external": [{"host": "queue-1"}, {"statefulSet": QUEUE}]}},
            'queue-1:11300 and queue-1.queue.shop.svc:11300 have the same name "queue-1"',
        ),
        (
            {"beanstalkd": {"external": [{"name": "e" * 62, "statefulSet": QUEUE}]}},
            f"server name {'e' * 62}-0 has 64 characters, the limit is 63",
        ),
        (
            {"beanstalkd": {"external": [{"statefulSet": QUEUE | {"replicas": 100}}]}},
            "101 beanstalkd servers are configured, the limit is 100",
        ),
        (
            {"beanstalkd": {"external": [{"name": "a", "host": "eu"}, {"name": "b", "host": "eu", "port": 11300}]}},
            "beanstalkd.external: a and b have the same address eu:11300, so its jobs would be counted twice",
        ),
        ({"beanstalkd": {"external": [{"host": "1:::2"}]}}, "beanstalkd.external: host 1:::2 is no IPv6 address"),
        ({"helloWorld": {"autoscaling": {"minReplicas": 11}}}, "minReplicas (11) exceeds maxReplicas (10)"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.create=false requires serviceAccount.name"),
        (
            {"console": {"serviceAccount": {"create": False}}},
            "console.serviceAccount.create=false requires console.serviceAccount.name",
        ),
        ({"server": {"hostNetwork": {"enabled": True}}}, "requires a server.containerPort other than 10250"),
        (
            {"server": {"updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}}},
            "server.updateStrategy.rollingUpdate: maxSurge and maxUnavailable can't both be 0",
        ),
        ({"tls": {"mode": "existingSecret"}}, "tls.mode=existingSecret requires tls.existingSecret.name"),
        ({"tls": {"existingSecret": {"name": "mine"}}}, "tls.existingSecret.name is set, but tls.mode is self"),
        (
            {"tls": {"mode": "certManager", "certManager": {"existingIssuer": {"enabled": True}}}},
            "existingIssuer.enabled=true requires tls.certManager.existingIssuer.name",
        ),
        (
            {"tls": {"self": {"duration": "8760h"}}},
            "tls.self.caDuration (8760h) must be at least three times tls.self.duration (8760h)",
        ),
        (
            {"tls": {"mode": "certManager", "certManager": {"duration": "240h"}}},
            "tls.certManager.renewBefore (240h) must be less than tls.certManager.duration (240h)",
        ),
        (
            {"tls": {"mode": "certManager", "certManager": {"duration": "90m", "renewBefore": "1h30m"}}},
            "tls.certManager.renewBefore (1h30m) must be less than tls.certManager.duration (90m)",
        ),
        (
            {"tls": {"mode": "certManager", "certManager": {"duration": "59m59s", "renewBefore": "10m"}}},
            "tls.certManager.duration is 59m59s, the minimum of cert-manager is 1h",
        ),
        (
            {"tls": {"mode": "certManager", "certManager": {"duration": "1h", "renewBefore": "299999ms"}}},
            "tls.certManager.renewBefore is 299999ms, the minimum of cert-manager is 5m",
        ),
        (
            {"tls": {"self": {"duration": "20m", "caDuration": "59.5m"}}},
            "tls.self.caDuration (59.5m) must be at least three times tls.self.duration (20m)",
        ),
        ({"tls": {"self": {"duration": "29s"}}}, "tls.self.duration (29s) must be at least 30s"),
        (
            {"tls": {"self": {"caDuration": "30000000h"}}},
            "tls.self.caDuration (30000000h) must be at most 876000h (a hundred years)",
        ),
        (
            {"prometheusRule": {"enabled": True, "certificateLifeLeftPercent": 34}},
            "prometheusRule.certificateLifeLeftPercent is 34, so BeanscaleCertificateNotRenewed would fire before",
        ),
        *(
            (nested({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}), f"{service}: ipFamilyPolicy")
            for service, nested in SERVICES.items()
        ),
    ],
)
def test_conflicting_values_are_rejected(chart: Chart, values: Any, sentence: str) -> None:
    assert sentence in chart.refusal(values)


@pytest.mark.parametrize(
    "unused",
    [
        {"tls": {"certManager": {"duration": "30m"}}},
        {"tls": {"mode": "certManager", "self": {"caDuration": "30000000h"}}},
        {"server": {"updateStrategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}},
        {"prometheusRule": {"certificateLifeLeftPercent": 60}},
        {"prometheusRule": {"enabled": True, "certificateLifeLeftPercent": 33}},
        {"podDisruptionBudget": {"enabled": False, "maxUnavailable": None}},
    ],
    ids=str,
)
def test_values_without_effect_are_accepted(chart: Chart, unused: Any) -> None:
    chart.render(unused)


@pytest.mark.parametrize(
    ("families", "rendered"),
    [
        ({"ipFamilies": ["IPv4", "IPv6"]}, {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}),
        ({"ipFamilies": ["IPv6"]}, {"ipFamilies": ["IPv6"]}),
        ({"ipFamilyPolicy": "RequireDualStack"}, {"ipFamilyPolicy": "RequireDualStack"}),
    ],
    ids=str,
)
def test_two_ip_families_imply_a_policy_that_allows_them(chart: Chart, families: Any, rendered: Any) -> None:
    spec = chart.render({"service": families}).one("Service", "beanscale-server")["spec"]
    assert {key: value for key, value in spec.items() if key.startswith("ipFam")} == rendered


def test_a_disruption_budget_exists_only_for_more_than_one_replica(chart: Chart, default: Objects) -> None:
    assert default.one("PodDisruptionBudget", "beanscale-server")["spec"]["maxUnavailable"] == 1
    assert chart.render({"server": {"replicaCount": 1}}).of("PodDisruptionBudget") == []
    assert chart.render({"podDisruptionBudget": {"enabled": False}}).of("PodDisruptionBudget") == []


def test_a_disruption_budget_accepts_zero(chart: Chart) -> None:
    spec = chart.render({"podDisruptionBudget": {"minAvailable": 0}}).one("PodDisruptionBudget", "beanscale-server")[
        "spec"
    ]
    assert spec["minAvailable"] == 0
    assert "maxUnavailable" not in spec


def test_an_upgrade_keeps_what_the_server_and_the_autoscaler_wrote(default: Objects) -> None:
    """Fields that others own aren't rendered: certificate, CA, the console's password, the number of workers."""
    for secret in ("beanscale-serving-cert", "beanscale-console"):
        assert not {"data", "stringData"} & set(default.one("Secret", secret))
    spec = default.one("APIService", "v1beta1.external.metrics.k8s.io")["spec"]
    assert not {"caBundle", "insecureSkipTLSVerify"} & set(spec)
    assert "replicas" not in default.one("Deployment", "beanscale-hello-world")["spec"]


def test_an_upgrade_restarts_no_pod_that_did_not_change(chart: Chart, default: Objects) -> None:
    """Nor does it touch the volume claims' template, which Kubernetes refuses to change."""
    objects = chart.render({"beanstalkd": {"persistence": {"enabled": True}}})
    claim = objects.one("StatefulSet", "beanscale-beanstalkd")["spec"]["volumeClaimTemplates"][0]
    templates = [pod["metadata"]["labels"] for name, pod in default.pods().items() if name != "smoke"]
    for labels in [*templates, claim["metadata"]["labels"]]:
        assert set(labels) == {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}


# Here Kubernetes keeps a `false` that was given; elsewhere it drops it, and GitOps tools see a difference for ever.
KEPT_FALSE = {"automountServiceAccountToken", "enableServiceLinks", "allowPrivilegeEscalation"}


def empty_fields(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in empty_fields(each, f"{path}.{key}")]
    if isinstance(value, list):
        return [
            found for each in value if each != "" for found in empty_fields(each, f"{path}[]")
        ]  # "": the core API group
    return [path] if value in (None, False, "") and type(value) is not int else []


def test_no_field_is_rendered_empty(chart: Chart, example: Path) -> None:
    found = [path for each in chart.render(None, f"--values={example}") for path in empty_fields(each)]
    assert {path.rpartition(".")[2] for path in found} <= KEPT_FALSE


def test_every_selector_finds_its_pods_and_no_others(chart: Chart, example: Path) -> None:
    objects = chart.render(None, f"--values={example}")
    labels = {name: pod["metadata"]["labels"] for name, pod in objects.pods().items()}
    selectors = [(each, each["spec"]["selector"]) for each in objects.of("Service")]
    selectors += [
        (each, each["spec"]["selector"]["matchLabels"])
        for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget")
        for each in objects.of(kind)
    ]
    for each, selector in selectors:
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        assert [name for name, given in labels.items() if selector.items() <= given.items()] == [component]


def test_labels_reach_everything_and_override_nothing(chart: Chart) -> None:
    given = {"team": "queues", "app.kubernetes.io/component": "mine", "app.kubernetes.io/name": "mine"}
    objects = chart.render({"commonLabels": given, "server": {"podLabels": given}, "service": {"labels": given}})
    for each in [*objects, *objects.pods().values()]:
        labels = each["metadata"]["labels"]
        assert labels["team"] == "queues"
        assert "mine" not in labels.values()


@pytest.mark.parametrize(
    ("values", "server", "beanstalkd"),
    [
        ({}, "beanscale:0.2.0", "beanscale-beanstalkd:0.2.0"),
        ({"image": {"tag": "1.10"}}, "beanscale:1.10", "beanscale-beanstalkd:0.2.0"),
        ({"image": {"registry": "a.example/b"}}, "a.example/b/beanscale:0.2.0", "beanscale-beanstalkd:0.2.0"),
        (
            {"global": {"imageRegistry": "a.example"}, "beanstalkd": {"image": {"registry": "b.example"}}},
            "a.example/beanscale:0.2.0",
            "a.example/beanscale-beanstalkd:0.2.0",
        ),
        (
            {"image": {"digest": f"sha256:{'0' * 64}", "tag": "1"}},
            f"beanscale@sha256:{'0' * 64}",
            "beanscale-beanstalkd:0.2.0",
        ),
    ],
)
def test_images_follow_the_values(chart: Chart, values: Any, server: str, beanstalkd: str) -> None:
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in chart.render(values).pods().items()}
    assert images == {
        "server": server,
        "console": server,
        "hello-world": server,
        "smoke": server,
        "beanstalkd": beanstalkd,
    }


def test_the_workers_autoscaler_reaches_its_size_in_one_step_and_shrinks_promptly(chart: Chart) -> None:
    spec = chart.render({"helloWorld": {"autoscaling": {"maxReplicas": 7}}}).one(
        "HorizontalPodAutoscaler", "beanscale-hello-world"
    )["spec"]
    assert spec["metrics"][0]["external"] == {
        "metric": {"name": "tube-hello-world", "selector": {"matchLabels": {"paused": "false"}}},
        "target": {"type": "AverageValue", "averageValue": "2"},
    }
    assert spec["behavior"]["scaleUp"]["policies"] == [{"type": "Pods", "value": 7, "periodSeconds": 15}]
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 15


def test_without_autoscaling_the_number_of_workers_is_the_given_one(chart: Chart) -> None:
    objects = chart.render({"helloWorld": {"autoscaling": {"enabled": False}, "replicaCount": 0}})
    assert objects.one("Deployment", "beanscale-hello-world")["spec"]["replicas"] == 0
    assert objects.of("HorizontalPodAutoscaler") == []
    assert not any(argument.startswith("--hpa") for argument in arguments(objects.pods()["smoke"]))


@pytest.mark.parametrize(
    ("seconds", "argument", "grace"), [(5, "5", 35), (0.25, "0.25", 31), (86400, "86400", 86430), (0, "0", 30)]
)
def test_a_worker_has_time_for_its_current_job(chart: Chart, seconds: float, argument: str, grace: int) -> None:
    worker = chart.render({"helloWorld": {"secondsPerJob": seconds}}).pods()["hello-world"]
    assert f"--seconds-per-job={argument}" in arguments(worker)
    assert worker["spec"]["terminationGracePeriodSeconds"] == grace


ADDS, REPLACES = {"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}
ON_NODES = {"hostNetwork": {"enabled": True}, "containerPort": 10260}


@pytest.mark.parametrize(
    ("server", "strategy"),
    [
        ({}, {"type": "RollingUpdate", "rollingUpdate": ADDS}),
        ({"updateStrategy": {"type": "Recreate"}}, {"type": "Recreate"}),
        ({"updateStrategy": {"rollingUpdate": {"maxSurge": 0}}}, {"type": "RollingUpdate", "rollingUpdate": REPLACES}),
        (
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "50%"}}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "50%"}},
        ),
        (ON_NODES, {"type": "RollingUpdate", "rollingUpdate": REPLACES}),
        (
            ON_NODES | {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
            {"type": "RollingUpdate", "rollingUpdate": ADDS},
        ),
        (
            ON_NODES | {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}},
        ),
    ],
)
def test_an_update_needs_no_second_port_on_a_node(chart: Chart, server: Any, strategy: Any) -> None:
    """Values that are given stay, and no member of another strategy is added to them."""
    values = {"server": server, "beanstalkd": {"enabled": False, "external": [{"host": "a"}]}}
    assert chart.render(values).one("Deployment", "beanscale-server")["spec"]["strategy"] == strategy


def test_every_service_can_have_the_clusters_ip_families(chart: Chart, default: Objects) -> None:
    families = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    parts = {part: {"service": families} for part in ("beanstalkd", "console", "helloWorld")}
    for each in chart.render({"service": families} | parts).of("Service"):
        assert families.items() <= each["spec"].items()
    for each in default.of("Service"):
        assert not families.keys() & each["spec"].keys()


def test_the_shortest_certificates_of_cert_manager_are_accepted(chart: Chart) -> None:
    durations = {"duration": "3600s", "renewBefore": "5m"}
    objects = chart.render({"tls": {"mode": "certManager", "certManager": durations}})
    assert durations.items() <= objects.one("Certificate", "beanscale-tls")["spec"].items()


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
@pytest.mark.parametrize(
    ("handler", "port"), [("exec", None), ("tcpSocket", "https"), ("grpc", 9000), ("httpGet", "metrics")]
)
def test_a_probe_has_only_the_handler_that_is_given(chart: Chart, probe: str, handler: str, port: Any) -> None:
    given = {handler: {"port": port} if port else {"command": ["true"]}}
    rendered = chart.render({"server": {probe: given}}).pods()["server"]["spec"]["containers"][0][probe]
    assert {"exec", "tcpSocket", "grpc", "httpGet"} & rendered.keys() == {handler}
    assert rendered[handler].items() >= given[handler].items()
    assert rendered["periodSeconds"] in {1, 2, 10}


def test_a_probe_without_a_handler_is_none(chart: Chart) -> None:
    container = chart.render({"server": {"livenessProbe": {"httpGet": None}}}).pods()["server"]["spec"]["containers"][0]
    assert "livenessProbe" not in container
    assert "readinessProbe" in container


def test_a_stopping_server_has_time_for_its_delay_and_requests_in_flight(chart: Chart) -> None:
    server = chart.render({"server": {"shutdownDelaySeconds": 12}}).pods()["server"]
    assert "--shutdown-delay=12" in arguments(server)
    assert "lifecycle" not in server["spec"]["containers"][0]
    refusal = chart.refusal({"server": {"shutdownDelaySeconds": 30}})
    assert "server.terminationGracePeriodSeconds (30) must exceed server.shutdownDelaySeconds (30)" in refusal


def test_beanstalkd_writes_a_binlog_only_onto_a_volume(chart: Chart, default: Objects) -> None:
    objects = chart.render({"beanstalkd": {"persistence": {"enabled": True}}})
    assert arguments(objects.pods()["beanstalkd"])[-2:] == ["-b", "/var/lib/beanstalkd"]
    assert objects.pods()["beanstalkd"]["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "binlog", "mountPath": "/var/lib/beanstalkd"}
    ]
    assert "volumeClaimTemplates" not in default.one("StatefulSet", "beanscale-beanstalkd")["spec"]
    assert "-b" not in arguments(default.pods()["beanstalkd"])


def test_a_spread_constraint_selects_the_server_by_default(chart: Chart) -> None:
    common = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    selector = {"matchLabels": {"app": "other"}}
    objects = chart.render({"server": {"topologySpreadConstraints": [common, common | {"labelSelector": selector}]}})
    first, second = objects.pods()["server"]["spec"]["topologySpreadConstraints"]
    assert first["labelSelector"] == objects.one("Deployment", "beanscale-server")["spec"]["selector"]
    assert second["labelSelector"] == selector


def test_the_longest_names_are_still_legal(chart: Chart) -> None:
    """52 characters for a StatefulSet's, 63 for a Service's; the server of another long release keeps another name."""
    done = chart.helm("template", "r" * 53, str(chart.path), "--namespace=n", values={})
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert max(len(each["metadata"]["name"]) for each in objects if each["kind"] == "StatefulSet") <= 52
    assert max(len(each["metadata"]["name"]) for each in objects if each["metadata"].get("namespace") == "n") <= 63


def test_extra_objects_are_filled_in(chart: Chart) -> None:
    extra = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-map"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-text}\n",
    ]
    names = {each["metadata"]["name"] for each in chart.render({"extraObjects": extra}).of("ConfigMap")}
    assert names == {"beanscale-ca", "beanscale-map", "beanscale-text"}


def test_the_notes_match_the_values(chart: Chart) -> None:
    notes = chart.notes()
    assert "helm test beanscale -n beanscale --logs" in notes
    assert "kubectl delete apiservice v1beta1.external.metrics.k8s.io" in notes
    assert len(notes.strip().splitlines()) == 10
    external = chart.notes(
        {
            "beanstalkd": {"enabled": False, "external": [{"host": "eu"}]},
            "test": {"enabled": False},
            "helloWorld": {"enabled": False},
        }
    )
    assert "polls eu." in external
    assert not any(word in external for word in ("helm test", "beanstalkd-0", "get hpa"))


def test_the_chart_works_as_a_subchart(chart: Chart, tmp_path: Path) -> None:
    """An umbrella's `global` holds other charts' keys, and its condition an `enabled` among ours."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/beanscale").symlink_to(chart.path)
    metadata = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0"}
    dependency = {"name": "beanscale", "version": "0.2.0", "condition": "beanscale.enabled"}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(metadata | {"dependencies": [dependency]}))
    values = {
        "global": {
            "imageRegistry": "mirror.example.com",
            "imagePullSecrets": ["pull"],
            "cattle": {"clusterId": "c"},
            "storageClass": "",
        },
        "beanscale": {"enabled": True, "server": {"replicaCount": 1}},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run(["helm", "template", "release", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (server,) = (
        each
        for each in yaml.safe_load_all(done.stdout)
        if each and each["metadata"]["name"] == "release-beanscale-server" and each["kind"] == "Deployment"
    )
    assert server["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror.example.com/beanscale:0.2.0"
    assert server["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    off = chart.helm("template", "release", str(tmp_path), "--set=beanscale.enabled=false")
    assert (off.returncode, off.stdout.strip()) == (0, "")
