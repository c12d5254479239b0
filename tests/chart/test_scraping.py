"""A real Prometheus reads a real server as the rendered ServiceMonitor says, and finds what alerts and panels name."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import greenstalk
import pytest

from app.kube.client import Kubernetes
from tests.beanstalkd.conftest import Beanstalkd, running_beanstalkd
from tests.chart.conftest import Chart, Manifest, Objects
from tests.chart.scraping import Prometheus, prometheus, scrape, until
from tests.chart.test_monitoring import ON, found
from tests.kubernetes.behind_service import own_address
from tests.kubernetes.cluster_objects import kubernetes, namespace
from tests.kubernetes.conftest import Beanscale, serving

__all__ = ["kubernetes", "namespace"]

SERVER = "beanscale-server"
METRIC = re.compile(r"([a-z_]+)\{")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
READER = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
"""What kube-prometheus-stack's Prometheus may do, as far as it matters here."""


@pytest.fixture(scope="module")
def source() -> Iterator[Beanstalkd]:
    yield from running_beanstalkd()


@pytest.fixture(scope="module")
def installed(chart: Chart, kubernetes: Kubernetes, namespace: str) -> Iterator[Objects]:
    """The chart's Secret and Service, and an APIService like the chart's with a unique group."""
    objects = chart.render(ON | {"namespaceOverride": namespace})
    for kind, name in (("Secret", "beanscale-serving-cert"), ("ConfigMap", "beanscale-ca"), ("Service", SERVER)):
        plural = f"{kind.lower()}s"
        kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/{plural}", body=objects.one(kind, name))
    rendered = objects.one("APIService", "v1beta1.external.metrics.k8s.io")["spec"]
    spec = rendered | {"group": f"{namespace}.example"}
    body = {"metadata": {"name": f"v1beta1.{namespace}.example"}, "spec": spec}
    kubernetes.request("POST", API_SERVICES, body=body)
    yield objects
    kubernetes.request("DELETE", f"{API_SERVICES}/v1beta1.{namespace}.example")


@pytest.fixture(scope="module")
def server(source: Beanstalkd, installed: Objects, kubernetes: Kubernetes, namespace: str) -> Iterator[Beanscale]:
    """As the chart has it started, and behind the chart's Service like a pod of the Deployment."""
    (container,) = installed.one("Deployment", SERVER)["spec"]["template"]["spec"]["containers"]
    theirs = [each for each in container["args"] if each.startswith(("--service=", "--tls-", "--ca-", "--scaler"))]
    ours = [f"--beanstalkd=eu={source.host}:{source.port}", f"--apiservice=v1beta1.{namespace}.example"]
    with serving(*ours, *theirs, "--max-age=2s", "--bind=0.0.0.0") as started:
        (port,) = installed.one("Service", SERVER)["spec"]["ports"]
        pod = {
            "addresses": [own_address()],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{SERVER}-0"},
        }
        endpoints = {
            "metadata": {"name": SERVER, "labels": {"kubernetes.io/service-name": SERVER}},
            "addressType": "IPv4",
            "endpoints": [pod],
            "ports": [{"name": port["name"], "port": started.port}],
        }
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        kubernetes.request("POST", slices, body=endpoints)
        yield started


@pytest.fixture(scope="module")
def tokens(
    kubernetes: Kubernetes, namespace: str, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with the tokens of an account like Prometheus', and of one without any right."""
    folder = tmp_path_factory.mktemp("tokens")
    for account in ("prometheus", "unbound"):
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        kubernetes.request("POST", accounts, body={"metadata": {"name": account}})
        create = [cluster, "create", "token", account, "--namespace", namespace]
        (folder / account).write_bytes(subprocess.run(create, check=True, capture_output=True).stdout)
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    of_account = {"name": "scraper", "annotations": {"kubernetes.io/service-account.name": "prometheus"}}
    secret = {"type": "kubernetes.io/service-account-token", "metadata": of_account}
    kubernetes.request("POST", secrets, body=secret)
    until(lambda: "token" in kubernetes.request("GET", f"{secrets}/scraper").get("data", {}))
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    whom = [{"kind": "ServiceAccount", "name": "prometheus", "namespace": namespace}]
    metadata = {"name": namespace}
    kubernetes.request("POST", f"{RBAC}/clusterroles", body={"metadata": metadata, "rules": [READER]})
    binding = {"metadata": metadata, "roleRef": role, "subjects": whom}
    kubernetes.request("POST", f"{RBAC}/clusterrolebindings", body=binding)
    yield folder
    for kind in ("clusterrolebindings", "clusterroles"):
        kubernetes.request("DELETE", f"{RBAC}/{kind}/{namespace}")


@pytest.fixture(scope="module")
def scrapes(
    server: Beanscale,
    installed: Objects,
    chart: Chart,
    kubernetes: Kubernetes,
    tokens: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Manifest]:
    """As rendered, and with each proof exchanged for one that must not do."""
    assert server.process.poll() is None
    (monitor,) = installed.of("ServiceMonitor")
    folder = tmp_path_factory.mktemp("ca")
    rendered = scrape(monitor, kubernetes, tokens / "prometheus", folder)
    another_ca = {"ca_file": f"{os.environ['BEANSCALE_PKI']}/ca.crt"}
    wrong = {
        "an account without permission": {"bearer_token_file": str(tokens / "unbound")},
        "another CA": {"tls_config": rendered["tls_config"] | another_ca},
        "another name": {"tls_config": rendered["tls_config"] | {"server_name": "beanscale-server.other.svc"}},
    }
    (place,) = rendered["static_configs"]
    given = {"authorization": {"credentials": {"name": "scraper"}}}
    values = {"namespaceOverride": monitor["metadata"]["namespace"], "serviceMonitor": {"enabled": True} | given}
    (other,) = chart.render(values).of("ServiceMonitor")
    return [
        rendered,
        scrape(other, kubernetes, tokens / "unbound", folder) | {"job_name": "a token from a Secret"},
        *(
            rendered | {"job_name": name, "static_configs": [place | {"labels": {"job": name}}]} | change
            for name, change in wrong.items()
        ),
    ]


@pytest.fixture(scope="module")
def reading(
    scrapes: list[Manifest],
    installed: Objects,
    require: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    (rule,) = installed.of("PrometheusRule")
    with prometheus(require("prometheus"), tmp_path_factory.mktemp("prometheus"), scrapes, rule["spec"]) as running:
        until(lambda: len(running.complaints()) == len(scrapes))
        until(
            lambda: running.query(f'rate(beanscale_requests_total{{job="{SERVER}",code="200"}}[10s]) > 0'),
            running.complaints,
        )
        yield running


def test_each_pod_is_scraped_with_its_ca_verified_and_prometheus_account_authorized(
    reading: Prometheus, namespace: str
) -> None:
    until(lambda: reading.query(f'up{{job="{SERVER}",namespace="{namespace}",pod="{SERVER}-0"}} == 1'))


def test_a_token_from_a_secret_is_as_good(reading: Prometheus) -> None:
    until(lambda: reading.complaints().get("a token from a Secret") == "", reading.complaints)


@pytest.mark.parametrize(
    ("scrape", "complaint"),
    [
        ("an account without permission", "server returned HTTP status 403 Forbidden"),
        ("another CA", "x509: certificate signed by unknown authority"),
        ("another name", "not beanscale-server.other.svc"),
    ],
)
def test_without_any_one_of_the_credentials_nothing_is_scraped(
    reading: Prometheus, scrape: str, complaint: str
) -> None:
    until(lambda: complaint in reading.complaints()[scrape])


def test_every_metric_of_alerts_and_dashboard_is_exported(
    reading: Prometheus, installed: Objects, cluster: str
) -> None:
    rules = installed.of("PrometheusRule")[0]["spec"]
    named = {name for expression in found("expr", [rules, dashboard(installed)]) for name in METRIC.findall(expression)}
    unknown = {name for name in named if not reading.ask("series", **{"match[]": name})}
    assert unknown == {"aggregator_unavailable_apiservice"}
    of_apiserver = subprocess.run([cluster, "get", "--raw", "/metrics"], check=True, capture_output=True, text=True)
    assert '\naggregator_unavailable_apiservice{name="' in of_apiserver.stdout


def test_every_panel_of_the_dashboard_shows_something(reading: Prometheus, installed: Objects, namespace: str) -> None:
    chosen = {"$namespace": namespace, "$job": SERVER, "$server": ".*", "$__rate_interval": "10s"}
    for expression in found("expr", dashboard(installed)["panels"]):
        for variable, value in chosen.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901
        assert reading.query(expression), expression


def test_in_a_healthy_cluster_no_alert_fires(reading: Prometheus) -> None:
    def alert_states() -> set[tuple[str, str]]:
        (group,) = reading.ask("rules")["groups"]
        return {(rule["health"], rule["state"]) for rule in group["rules"]}

    until(lambda: alert_states() == {("ok", "inactive")})


def test_jobs_are_exported_by_state_and_not_for_an_unread_beanstalkd(reading: Prometheus, source: Beanstalkd) -> None:
    def jobs() -> dict[str, str]:
        samples = reading.query(f'beanscale_jobs{{job="{SERVER}",server="eu"}}')
        return {sample["metric"]["state"]: sample["value"][1] for sample in samples}

    with greenstalk.Client((source.host, source.port), encoding=None) as client:
        for _ in range(3):
            client.put(b"job")
        client.put(b"later", delay=60)
        client.bury(client.reserve())
        until(lambda: jobs() == {"ready": "2", "reserved": "0", "delayed": "1", "buried": "1"})
    source.stop()
    until(lambda: reading.query(f'beanscale_beanstalkd_up{{job="{SERVER}"}} == 0') and not jobs())


def dashboard(objects: Objects) -> Manifest:
    return dict(json.loads(objects.one("ConfigMap", "beanscale-dashboard")["data"]["beanscale.json"]))
