"""What the values do to the console."""

from typing import Any

import pytest

from tests.chart.conftest import Chart, Manifest, Objects


def arguments(objects: Objects) -> list[str]:
    return list(objects.pods()["console"]["spec"]["containers"][0]["args"])


def container(objects: Objects) -> Manifest:
    (only,) = objects.pods()["console"]["spec"]["containers"]
    return dict(only)


def test_it_gets_its_arguments_and_is_read_only_by_default(default: Objects) -> None:
    assert arguments(default) == [
        "console",
        "--beanstalkd=beanstalkd=beanscale-beanstalkd.beanscale.svc:11300",
        "--bind=::",
        "--port=8080",
        "--auth=password",
        "--password-secret=beanscale/beanscale-console",
        "--read-only",
        "--max-age=15s",
        "--log-format=json",
        "--log-level=info",
    ]


def test_actions_can_be_enabled(chart: Chart) -> None:
    assert "--read-only" not in arguments(chart.render({"console": {"readOnly": False}}))


def test_it_has_one_replica_because_sessions_are_in_its_memory(default: Objects) -> None:
    assert default.one("Deployment", "beanscale-console")["spec"]["replicas"] == 1


def test_an_existing_password_is_mounted_as_a_private_file(chart: Chart) -> None:
    """As a file the kubelet brings a changed one, too."""
    objects = chart.render({"console": {"auth": {"existingSecret": {"name": "mine", "key": "pass"}}}})
    (volume,) = objects.pods()["console"]["spec"]["volumes"]
    assert volume["secret"] == {
        "secretName": "mine",
        "defaultMode": 0o440,
        "items": [{"key": "pass", "path": "password"}],
    }
    (mount,) = container(objects)["volumeMounts"]
    assert f"--password-file={mount['mountPath']}/password" in arguments(objects)
    assert not any(each.startswith("--password-secret") for each in arguments(objects))


def test_it_gets_its_trusted_proxies(chart: Chart) -> None:
    objects = chart.render({"console": {"trustedProxies": ["10.0.0.0/8", "fd00::1"]}})
    assert "--trusted-proxies=10.0.0.0/8,fd00::1" in arguments(objects)


def test_a_console_without_sign_in_must_be_requested_explicitly(chart: Chart) -> None:
    objects = chart.render({"console": {"auth": {"mode": "none"}}})
    assert {"--auth=none", "--force-open"} <= set(arguments(objects))
    assert not any(each.startswith("--password") for each in arguments(objects))


def test_the_path_prefix_applies_to_the_console_its_probes_and_the_ingress(chart: Chart) -> None:
    objects = chart.render({"console": {"pathPrefix": "/queues/ours", "ingress": {"enabled": True}}})
    assert "--path-prefix=/queues/ours" in arguments(objects)
    probes = [container(objects)[f"{which}Probe"]["httpGet"]["path"] for which in ("startup", "liveness", "readiness")]
    assert probes == ["/queues/ours/healthz"] * 3
    (rule,) = objects.one("Ingress", "beanscale-console")["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/queues/ours"]


def test_every_host_of_the_ingress_routes_to_the_consoles_service(chart: Chart) -> None:
    ingress = {"enabled": True, "hosts": ["a.example.com", "*.b.example.com"], "className": "nginx"}
    objects = chart.render({"console": {"ingress": ingress}})
    spec = objects.one("Ingress", "beanscale-console")["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert [rule["host"] for rule in spec["rules"]] == ingress["hosts"]
    service = objects.one("Service", "beanscale-console")["spec"]
    for rule in spec["rules"]:
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/", "Prefix")
        assert path["backend"]["service"] == {
            "name": "beanscale-console",
            "port": {"name": service["ports"][0]["name"]},
        }


def test_the_service_has_the_node_port_in_the_values(chart: Chart, default: Objects) -> None:
    assert "nodePort" not in default.one("Service", "beanscale-console")["spec"]["ports"][0]
    objects = chart.render({"console": {"service": {"type": "NodePort", "nodePort": 30001}}})
    spec = objects.one("Service", "beanscale-console")["spec"]
    assert (spec["type"], spec["ports"][0]["nodePort"]) == ("NodePort", 30001)


def test_without_tls_everything_is_http(default: Objects) -> None:
    (port,) = default.one("Service", "beanscale-console")["spec"]["ports"]
    assert port == {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    assert [each["name"] for each in container(default)["ports"]] == ["http"]
    for which in ("startup", "liveness", "readiness"):
        assert container(default)[f"{which}Probe"]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_with_a_certificate_everything_is_https(chart: Chart) -> None:
    values = {"tls": {"secretName": "mine"}, "ingress": {"enabled": True, "hosts": ["a.example.com"]}}
    objects = chart.render({"console": values})
    (volume,) = objects.pods()["console"]["spec"]["volumes"]
    files = ("tls.crt", "tls.key")
    items = [{"key": name, "path": name} for name in files]
    assert volume["secret"] == {"secretName": "mine", "defaultMode": 0o440, "items": items}
    (mount,) = container(objects)["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert "subPath" not in mount  # the kubelet replaces no file that is mounted by subPath
    paths = [f"{mount['mountPath']}/{name}" for name in files]
    assert {f"--tls-cert={paths[0]}", f"--tls-key={paths[1]}"} <= set(arguments(objects))
    for which in ("startup", "liveness", "readiness"):
        probe = container(objects)[f"{which}Probe"]["httpGet"]
        assert probe == {"path": "/healthz", "port": "https", "scheme": "HTTPS"}
    assert [each["name"] for each in container(objects)["ports"]] == ["https"]
    (port,) = objects.one("Service", "beanscale-console")["spec"]["ports"]
    named = {"name": "https", "port": 443, "appProtocol": "https", "targetPort": "https", "protocol": "TCP"}
    assert port == named
    (rule,) = objects.one("Ingress", "beanscale-console")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["port"] == {"name": "https"}


@pytest.mark.parametrize("tls", [{}, {"secretName": "mine"}])
def test_the_service_has_the_port_in_the_values(chart: Chart, tls: Any) -> None:
    objects = chart.render({"console": {"tls": tls, "service": {"port": 8080}}})
    assert objects.one("Service", "beanscale-console")["spec"]["ports"][0]["port"] == 8080


def test_it_reads_the_rules_of_the_server(chart: Chart, default: Objects) -> None:
    objects = chart.render({"metrics": [{"name": "backlog", "tubes": ["checkout"]}]})
    assert "--rules=/etc/beanscale/rules/rules.yaml" in arguments(objects)
    pods = objects.pods()
    assert pods["console"]["spec"]["volumes"] == pods["server"]["spec"]["volumes"]
    assert container(objects)["volumeMounts"] == pods["server"]["spec"]["containers"][0]["volumeMounts"]
    assert "volumes" not in default.pods()["console"]["spec"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"service": {"nodePort": 30001}},
            "console.service.nodePort is 30001, but a Service of type ClusterIP has no node port",
        ),
        (
            {"auth": {"mode": "none", "existingSecret": {"name": "mine"}}},
            "console.auth.existingSecret.name is set, but console.auth.mode is none",
        ),
        (
            {"auth": {"mode": "none"}, "service": {"type": "NodePort"}},
            "console.auth.mode=none with console.service.type=NodePort opens the console to anyone who reaches a node",
        ),
        (
            {"auth": {"mode": "none"}, "ingress": {"enabled": True}},
            "console.auth.mode=none admits only the peers in console.networkPolicy.ingressFrom, which is empty",
        ),
        (
            {
                "auth": {"mode": "none"},
                "ingress": {"enabled": True},
                "networkPolicy": {"ingressFrom": [{"podSelector": {}}]},
            },
            "console.auth.mode=none with console.ingress.enabled=true and networkPolicy.enabled=false opens",
        ),
    ],
)
def test_contradictory_values_are_rejected_in_one_sentence(chart: Chart, values: Any, sentence: str) -> None:
    disabled = {"networkPolicy": {"enabled": False}} if "enabled=false" in sentence else {}
    assert sentence in chart.refusal({"console": values} | disabled)


PORT_FORWARD = "kubectl port-forward -n beanscale service/beanscale-console 8081:80   # http://127.0.0.1:8081"


@pytest.mark.parametrize(
    ("values", "way"),
    [
        ({}, f"{PORT_FORWARD}/"),
        ({"pathPrefix": "/queues"}, f"{PORT_FORWARD}/queues/"),
        ({"service": {"type": "NodePort", "nodePort": 30001}}, "http://ANY-NODE:30001/"),
        (
            {"service": {"type": "NodePort"}, "tls": {"secretName": "mine"}, "pathPrefix": "/q"},
            "kubectl get service -n beanscale beanscale-console -o jsonpath='{.spec.ports[0].nodePort}'"
            "   # the PORT of https://ANY-NODE:PORT/q/",
        ),
        (
            {"service": {"type": "LoadBalancer", "port": 8080}, "pathPrefix": "/q"},
            "kubectl get service -n beanscale beanscale-console   # http://EXTERNAL-IP:8080/q/",
        ),
        ({"ingress": {"enabled": True, "hosts": ["a.example.com"]}, "pathPrefix": "/q"}, "http://a.example.com/q/"),
        (
            {"ingress": {"enabled": True, "hosts": ["a.example.com"], "tls": [{"secretName": "a"}]}},
            "https://a.example.com/",
        ),
        (
            {"tls": {"secretName": "mine"}, "pathPrefix": "/q"},
            f"{PORT_FORWARD.replace('8081:80 ', '8081:443 ').replace('http:', 'https:')}/q/",
        ),
        (
            {"tls": {"secretName": "mine"}, "service": {"type": "NodePort", "nodePort": 30001}},
            "https://ANY-NODE:30001/",
        ),
        ({"ingress": {"enabled": True}}, "http://ADDRESS-OF-THE-INGRESS/"),
        ({"ingress": {"enabled": True, "hosts": ["*.example.com"]}}, "http://ANY-NAME.example.com/"),
    ],
)
def test_the_notes_show_how_to_open_it(chart: Chart, values: Any, way: str) -> None:
    assert f"open the console:  {way}" in chart.notes({"console": values})


@pytest.mark.parametrize(
    ("auth", "command"),
    [
        ({}, "beanscale-console -o jsonpath='{.data.password}' | base64 -d\n"),
        ({"existingSecret": {"name": "mine", "key": "the.key"}}, "mine -o jsonpath='{.data.the\\.key}' | base64 -d\n"),
    ],
)
def test_the_notes_show_where_its_password_is(chart: Chart, auth: Any, command: str) -> None:
    assert f"kubectl get secret -n beanscale {command}" in chart.notes({"console": {"auth": auth}})


def test_the_notes_omit_disabled_parts(chart: Chart) -> None:
    assert "base64 -d" not in chart.notes({"console": {"auth": {"mode": "none"}}})
    assert "console" not in chart.notes({"console": {"enabled": False}})
