"""The objects for Prometheus and Grafana."""

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.chart.conftest import Chart, Manifest, Objects

ON = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}


@pytest.fixture(scope="module")
def watched(chart: Chart) -> Objects:
    return chart.render(ON)


def endpoint(objects: Objects) -> Manifest:
    (given,) = objects.one("ServiceMonitor", "beanscale-server")["spec"]["endpoints"]
    return dict(given)


def alerts(objects: Objects) -> dict[str, Manifest]:
    (group,) = objects.of("PrometheusRule")[0]["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_each_part_is_rendered_only_if_enabled(chart: Chart, default: Objects) -> None:
    """Their kinds may be unknown in the cluster."""
    known = {(each["kind"], each["metadata"]["name"]) for each in default}
    for part, added in (
        ("serviceMonitor", ("ServiceMonitor", "beanscale-server")),
        ("prometheusRule", ("PrometheusRule", "beanscale-server")),
        ("dashboard", ("ConfigMap", "beanscale-dashboard")),
    ):
        objects = chart.render({part: {"enabled": True}})
        assert {(each["kind"], each["metadata"]["name"]) for each in objects} - known == {added}


def test_every_replica_is_found_by_the_servers_service_and_by_no_other(watched: Objects) -> None:
    selector = watched.one("ServiceMonitor", "beanscale-server")["spec"]["selector"]["matchLabels"]
    (service,) = (each for each in watched.of("Service") if selector.items() <= each["metadata"]["labels"].items())
    assert service["metadata"]["name"] == "beanscale-server"
    assert endpoint(watched)["port"] in [port["name"] for port in service["spec"]["ports"]]


@pytest.mark.parametrize(
    "tls",
    [{"mode": "self"}, {"mode": "certManager"}, {"mode": "existingSecret", "existingSecret": {"name": "mine"}}],
    ids=lambda tls: tls["mode"],
)
def test_the_server_is_verified_by_a_ca_that_is_readable_without_its_key(chart: Chart, tls: Any) -> None:
    objects = chart.render(ON | {"tls": tls})
    verified = {
        "serverName": "beanscale-server.beanscale.svc",
        "ca": {"configMap": {"name": "beanscale-ca", "key": "ca.crt"}},
    }
    assert (endpoint(objects)["scheme"], endpoint(objects)["tlsConfig"]) == ("https", verified)
    assert "--ca-configmap=beanscale-ca" in objects.pods()["server"]["spec"]["containers"][0]["args"]
    for certificate in objects.of("Certificate"):
        if certificate["spec"]["secretName"] == "beanscale-tls":
            assert verified["serverName"] in certificate["spec"]["dnsNames"]


def test_prometheus_can_authenticate_with_a_token_from_a_secret(chart: Chart) -> None:
    """Not with its own from a file, which the field arbitraryFSAccessThroughSMs of a Prometheus can forbid."""
    credentials = {"name": "scraper", "key": "token"}
    values = {"serviceMonitor": {"enabled": True, "authorization": {"credentials": {"name": "scraper"}}}}
    rendered = endpoint(chart.render(values))
    assert rendered["authorization"] == {"credentials": credentials}
    assert not {"bearerTokenFile", "bearerTokenSecret"} & rendered.keys()


def test_the_monitor_has_only_the_options_in_the_values(chart: Chart, watched: Objects) -> None:
    assert endpoint(watched).keys() == {"port", "scheme", "path", "bearerTokenFile", "tlsConfig"}
    given = {
        "interval": "15s",
        "scrapeTimeout": "5s",
        "relabelings": [{"action": "labeldrop", "regex": "endpoint"}],
        "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "python_.*"}],
    }
    objects = chart.render({"serviceMonitor": {"enabled": True, **given}})
    assert given.items() <= endpoint(objects).items()


def test_the_operators_selectors_find_what_is_labelled_for_them(chart: Chart) -> None:
    labels = {"additionalLabels": {"release": "kube-prometheus-stack"}}
    objects = chart.render({part: {"enabled": True, **labels} for part in ("serviceMonitor", "prometheusRule")})
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert objects.of(kind)[0]["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_each_alert_can_be_disabled_by_its_name(chart: Chart, watched: Objects) -> None:
    every = alerts(watched)
    schema = json.loads((chart.path / "values.schema.json").read_text())
    assert schema["properties"]["prometheusRule"]["properties"]["disabled"]["properties"].keys() == every.keys()
    left = {"enabled": True, "disabled": {"BeanscaleJobsBuried": True, "BeanscaleDown": False}}
    assert every.keys() - alerts(chart.render({"prometheusRule": left})) == {"BeanscaleJobsBuried"}


def test_an_alert_concerns_only_its_release(chart: Chart, watched: Objects) -> None:
    """Two in a cluster don't raise each other's."""
    here = 'job="beanscale-server",namespace="beanscale"'
    there = 'job="other-server",namespace="elsewhere"'
    other = alerts(chart.render(ON | {"fullnameOverride": "other", "namespaceOverride": "elsewhere"}))
    for name, rule in alerts(watched).items():
        assert rule["labels"]["namespace"] == "beanscale"
        assert other[name]["labels"]["namespace"] == "elsewhere"
        assert rule["expr"].replace(here, there) == other[name]["expr"]
        assert here in rule["expr"] or name == "BeanscaleAPIServiceUnavailable"


def test_an_api_service_of_another_owner_has_no_alert(chart: Chart) -> None:
    name = "BeanscaleAPIServiceUnavailable"
    theirs = ON | {"apiService": {"create": False}}
    assert name not in alerts(chart.render(theirs))
    before = {
        "service": "a",
        "namespace": "b",
        "caBundle": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
    }
    assert name in alerts(chart.render(theirs | {"forwardTo": before}))


def test_cert_managers_renewal_precedes_the_expiry_alert(chart: Chart) -> None:
    late = {"mode": "certManager", "certManager": {"duration": "2160h", "renewBefore": "360h"}}
    assert (
        "tls.certManager.renewBefore is 360h, so BeanscaleCertificateNotRenewed would fire before cert-manager renews a"
        " certificate of 2160h: set prometheusRule.certificateLifeLeftPercent to at most 16, or a longer renewBefore"
    ) in chart.refusal(ON | {"tls": late})
    latest = late | {"certManager": {"duration": "2160h", "renewBefore": "20h"}}
    assert "a certificate of 2160h: set a longer renewBefore\n" in chart.refusal(ON | {"tls": latest}) + "\n"
    without = {"enabled": True, "disabled": {"BeanscaleCertificateNotRenewed": True}}
    chart.render(ON | {"tls": late, "prometheusRule": without})
    chart.render({"tls": late})
    chart.render(ON | {"tls": late, "prometheusRule": {"enabled": True, "certificateLifeLeftPercent": 16}})


def test_the_notes_show_how_prometheus_finds_it(chart: Chart) -> None:
    assert "kubectl get prometheus -A" in chart.notes(ON)
    assert "kubectl get prometheus -A" not in chart.notes()


def test_the_dashboard_is_found_by_grafana_and_has_no_instance_id(watched: Objects) -> None:
    config = watched.one("ConfigMap", "beanscale-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = json.loads(config["data"]["beanscale.json"])
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(each == chosen for each in found("datasource", dashboard["panels"] + dashboard["templating"]["list"]))
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert "id" not in dashboard


def test_no_panel_of_the_dashboard_covers_another(watched: Objects) -> None:
    panels = json.loads(watched.one("ConfigMap", "beanscale-dashboard")["data"]["beanscale.json"])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        assert any(one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at] for at, size in ("xw", "yh"))


def found(key: str, within: Any) -> Iterator[Any]:
    """Every value of that key."""
    if isinstance(within, dict):
        yield from (value for name, value in within.items() if name == key)
        within = list(within.values())
    if isinstance(within, list):
        for each in within:
            yield from found(key, each)
