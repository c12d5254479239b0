"""Allowed flows for many values, by a small evaluator of NetworkPolicies; tests/cluster tries some for real."""

import ipaddress
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
import yaml

from app.settings import SettingError, parse_networks
from tests.chart.conftest import Chart, Manifest, Objects


@dataclass(frozen=True)
class End:
    """A pod, or without a namespace an address outside: a node, the API server, another host."""

    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    address: str = "203.0.113.7"


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the evaluator knows matchLabels only"
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def is_peer(peer: Manifest, end: End, policy_namespace: str) -> bool:
    if "ipBlock" in peer:
        return end.namespace is None and ipaddress.ip_address(end.address) in ipaddress.ip_network(
            peer["ipBlock"]["cidr"]
        )
    if end.namespace is None:
        return False
    namespace = {"kubernetes.io/metadata.name": end.namespace}
    there = (
        selects(peer["namespaceSelector"], namespace)
        if "namespaceSelector" in peer
        else end.namespace == policy_namespace
    )
    return there and selects(peer.get("podSelector", {}), end.labels)


def allows(rule: Manifest, peers: str, end: End, port: tuple[str, int], policy_namespace: str) -> bool:
    by_peer = peers not in rule or any(is_peer(peer, end, policy_namespace) for peer in rule[peers])
    by_port = "ports" not in rule or any(
        (each["protocol"], each.get("port", port[1])) == port for each in rule["ports"]
    )
    return by_peer and by_port


def passes(policies: list[Manifest], direction: str, subject: End, other: End, port: tuple[str, int]) -> bool:
    """Whether the policies on `subject` let the connection through; where none selects it, everything passes."""
    its = [
        policy
        for policy in policies
        if direction in policy["spec"]["policyTypes"]
        and policy["metadata"]["namespace"] == subject.namespace
        and selects(policy["spec"]["podSelector"], subject.labels)
    ]
    rules = [
        (rule, policy["metadata"]["namespace"]) for policy in its for rule in policy["spec"].get(direction.lower(), [])
    ]
    peers = {"Ingress": "from", "Egress": "to"}[direction]
    return not its or any(allows(rule, peers, other, port, namespace) for rule, namespace in rules)


def reaches(objects: Objects, source: End, target: End, port: tuple[str, int]) -> bool:
    policies = objects.of("NetworkPolicy")
    return passes(policies, "Egress", source, target, port) and passes(policies, "Ingress", target, source, port)


OTHERS = {
    "neighbour": End("beanscale", {"app": "shop"}),
    "other namespace": End("shop", {"app": "shop"}),
    "outside": End(),
}
DNS = {("UDP", 53), ("TCP", 53)}
API_SERVER = {("TCP", 443), ("TCP", 6443), ("TCP", 8443)}
PORTS = sorted(DNS | API_SERVER | {("TCP", port) for port in (22, 80, 8080, 10250, 11300, 11301)} | {("UDP", 11300)})


def ends(objects: Objects) -> dict[str, End]:
    return {name: End("beanscale", pod["metadata"]["labels"]) for name, pod in objects.pods().items()} | OTHERS


def flows(objects: Objects) -> dict[tuple[str, str], set[tuple[str, int]]]:
    """All allowed flows, except those between pods of others, which the chart doesn't restrict."""
    all_ends = ends(objects)
    pairs = [(a, b) for a, b in product(all_ends, all_ends) if a != b and not {a, b} <= set(OTHERS)]
    found = {
        pair: {port for port in PORTS if reaches(objects, all_ends[pair[0]], all_ends[pair[1]], port)} for pair in pairs
    }
    return {pair: ports for pair, ports in found.items() if ports}


# The manual's table, flow by flow.
DOCUMENTED = {
    # metrics: the API server may come from anywhere, and proves who it is
    **{(other, "server"): {("TCP", 10250)} for other in OTHERS},
    # the hello page
    **{(other, "hello-world"): {("TCP", 8080)} for other in OTHERS},
    # the console: who comes must sign in
    **{(other, "console"): {("TCP", 8080)} for other in OTHERS},
    # jobs: the release's namespace only
    **{
        (source, "beanstalkd"): {("TCP", 11300)}
        for source in ("server", "console", "smoke", "hello-world", "neighbour")
    },
    # names, and the API server
    **{(source, other): DNS | API_SERVER for source in ("server", "console", "smoke") for other in OTHERS},
    # names
    **{("hello-world", other): DNS for other in OTHERS},
}


def test_the_flows_are_those_documented(default: Objects) -> None:
    assert flows(default) == DOCUMENTED


def test_exact_policies_allow_the_api_server_dns_and_external_servers_nowhere_else(chart: Chart) -> None:
    """`outside` has the address of kube-apiserver, DNS runs in the other namespace."""
    objects = chart.render(
        {
            "networkPolicy": {"apiServerCIDRs": ["203.0.113.7/32", "2001:db8::7/128"], "dnsTo": [SHOP]},
            "beanstalkd": {
                "external": [{"host": "eu.example.com", "port": 11301}],
                "networkPolicy": {"externalTo": [{"ipBlock": {"cidr": "203.0.113.0/30"}}]},
            },
        }
    )
    found = flows(objects)
    for source in ("server", "console", "smoke", "hello-world"):
        assert {other: found.get((source, other), set()) for other in OTHERS} == {
            "neighbour": set(),
            "other namespace": DNS,
            "outside": set() if source == "hello-world" else API_SERVER,
        }
        pod = ends(objects)[source]
        by_address = {
            address: {port for port in PORTS if reaches(objects, pod, End(address=address), port)}
            for address in ("203.0.113.1", "203.0.113.8")
        }
        assert by_address == {"203.0.113.1": {("TCP", 11301)}, "203.0.113.8": set()}


def test_an_external_server_is_reached_by_its_port(chart: Chart) -> None:
    external = {"enabled": False, "external": [{"host": "eu.example.com"}, {"host": "us.example.com", "port": 11301}]}
    objects = chart.render({"beanstalkd": external})
    all_ends = ends(objects)
    for source, port in product(("server", "console", "smoke", "hello-world"), (11300, 11301)):
        assert reaches(objects, all_ends[source], all_ends["outside"], ("TCP", port))
        assert not reaches(objects, all_ends[source], all_ends["outside"], ("TCP", 22))


def test_a_stateful_set_is_reached_in_its_namespace_by_its_port(chart: Chart) -> None:
    queue = {"name": "queue", "service": "queue", "namespace": "shop", "replicas": 2}
    other = {"name": "other", "service": "other", "namespace": "shop", "replicas": 1}
    external = [{"statefulSet": queue}, {"port": 11301, "statefulSet": other}]
    objects = chart.render({"beanstalkd": {"enabled": False, "external": external}})
    all_ends = ends(objects)
    for source, port in product(("server", "console", "smoke", "hello-world"), (11300, 11301)):
        reached = {name for name in OTHERS if reaches(objects, all_ends[source], OTHERS[name], ("TCP", port))}
        assert reached == {"other namespace"}


@pytest.mark.parametrize(
    ("peer", "gets_in"),
    [
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}, {"other namespace"}),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "else"}}}, set()),
        ({"ipBlock": {"cidr": "203.0.113.0/24"}}, {"outside"}),
    ],
)
def test_listed_peers_can_connect_to_beanstalkd_and_no_others(chart: Chart, peer: Any, gets_in: set[str]) -> None:
    objects = chart.render({"beanstalkd": {"networkPolicy": {"ingressFrom": [peer]}}})
    beanstalkd = ends(objects)["beanstalkd"]
    assert {name for name, end in OTHERS.items() if reaches(objects, end, beanstalkd, ("TCP", 11300))} == {
        "neighbour"
    } | gets_in


SHOP = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}


@pytest.mark.parametrize(
    ("values", "get_in"),
    [
        pytest.param({"networkPolicy": {"ingressFrom": [SHOP]}}, {"other namespace"}, id="with a password"),
        pytest.param(
            {"auth": {"mode": "none"}, "networkPolicy": {"ingressFrom": [SHOP]}}, {"other namespace"}, id="open"
        ),
        pytest.param({"auth": {"mode": "none"}}, set(), id="open to no peer"),
    ],
)
def test_listed_peers_can_connect_to_the_console_and_no_others(chart: Chart, values: Any, get_in: set[str]) -> None:
    """Without a password, peers must be listed."""
    objects = chart.render({"console": values})
    console = ends(objects)["console"]
    assert {name for name, end in OTHERS.items() if reaches(objects, end, console, ("TCP", 8080))} == get_in


def test_additional_egress_applies_to_the_server_only(chart: Chart) -> None:
    proxy = {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 22, "protocol": "TCP"}]}
    found = flows(chart.render({"networkPolicy": {"extraEgress": [proxy]}}))
    assert {pair: ports for pair, ports in found.items() if ports != DOCUMENTED.get(pair)} == {
        ("server", "outside"): DNS | API_SERVER | {("TCP", 22)}
    }


def test_only_the_server_can_connect_to_the_upstream_adapter(chart: Chart) -> None:
    """At any port: which one its pods listen on, only its Service knows."""
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    found = flows(chart.render({"forwardTo": {"service": "adapter", "namespace": "shop", "caBundle": pem}}))
    assert {pair: ports for pair, ports in found.items() if ports != DOCUMENTED.get(pair)} == {
        ("server", "other namespace"): {port for port in PORTS if port[0] == "TCP"} | DNS
    }


def test_without_network_policies_none_is_rendered(chart: Chart) -> None:
    assert chart.render({"networkPolicy": {"enabled": False}}).of("NetworkPolicy") == []


ON_NODES = {"server": {"hostNetwork": {"enabled": True}, "containerPort": 10260}}


@pytest.mark.parametrize(
    ("networks", "get_in"),
    [(["203.0.113.0/24"], {"neighbour", "outside"}), (["2001:db8::/64"], {"neighbour"}), ([], {"neighbour"})],
)
def test_a_server_on_the_nodes_network_reaches_beanstalkd_from_its_node(
    chart: Chart, networks: list[str], get_in: set[str]
) -> None:
    """Without a cluster, the chart knows no node."""
    objects = chart.render(ON_NODES | {"networkPolicy": {"nodeCIDRs": networks}})
    beanstalkd = ends(objects)["beanstalkd"]
    assert {name for name, end in OTHERS.items() if reaches(objects, end, beanstalkd, ("TCP", 11300))} == get_in
    other = chart.render({"networkPolicy": {"nodeCIDRs": networks}})
    assert not reaches(other, OTHERS["outside"], beanstalkd, ("TCP", 11300))


def test_the_nodes_of_the_cluster_reach_beanstalkd_by_default(chart: Chart, cluster: str) -> None:
    values = ON_NODES | {"preflight": {"enabled": False}}
    done = chart.helm("template", "beanscale", str(chart.path), "--namespace=n", "--dry-run=server", values=values)
    assert done.returncode == 0, done.stderr
    policy = Objects(tuple(each for each in yaml.safe_load_all(done.stdout) if each)).one(
        "NetworkPolicy", "beanscale-beanstalkd"
    )
    path = '{range .items[*].status.addresses[?(@.type=="InternalIP")]}{.address}{" "}{end}'
    nodes = subprocess.run([cluster, "get", "nodes", f"-o=jsonpath={path}"], check=True, capture_output=True, text=True)
    (rule,) = policy["spec"]["ingress"]
    blocks = [each["ipBlock"]["cidr"].partition("/")[0] for each in rule["from"] if "ipBlock" in each]
    assert blocks == nodes.stdout.split() != []


def peers(cidr: str) -> Any:
    return [{"ipBlock": {"cidr": cidr}}]


CIDR_VALUES: dict[str, Callable[[str], Any]] = {
    "networkPolicy.apiServerCIDRs": lambda cidr: {"networkPolicy": {"apiServerCIDRs": [cidr]}},
    "networkPolicy.nodeCIDRs": lambda cidr: {"networkPolicy": {"nodeCIDRs": [cidr]}},
    "console.trustedProxies": lambda cidr: {"console": {"trustedProxies": [cidr]}},
    "networkPolicy.dnsTo[0].ipBlock": lambda cidr: {"networkPolicy": {"dnsTo": peers(cidr)}},
    "networkPolicy.extraEgress[0].to[0].ipBlock": lambda cidr: {
        "networkPolicy": {"extraEgress": [{"to": peers(cidr)}]}
    },
    "beanstalkd.networkPolicy.ingressFrom[0].ipBlock": lambda cidr: {
        "beanstalkd": {"networkPolicy": {"ingressFrom": peers(cidr)}}
    },
    "beanstalkd.networkPolicy.externalTo[0].ipBlock": lambda cidr: {
        "beanstalkd": {"networkPolicy": {"externalTo": peers(cidr)}}
    },
    "console.networkPolicy.ingressFrom[0].ipBlock": lambda cidr: {
        "console": {"networkPolicy": {"ingressFrom": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": [cidr]}}]}}
    },
}
IMPOSSIBLE = ("999.1.1.1/8", "192.0.2/24", "192.0.2.0/33", "01.2.3.4/8", "1::/200", "1::2::/64", "1:2:3/64", ":::/0")
POSSIBLE = ("10.244.1.0/16", "0.0.0.0/0", "255.255.255.255/32", "::/0", "2001:db8::1/64", "::ffff:192.0.2.1/128")


@pytest.mark.parametrize("where", CIDR_VALUES)
def test_an_impossible_network_is_refused_in_one_sentence(chart: Chart, where: str) -> None:
    assert f"{where}: 999.1.1.1/8 is no IPv4 or IPv6 network: correct it" in chart.refusal(
        CIDR_VALUES[where]("999.1.1.1/8")
    )


@pytest.mark.parametrize("cidr", [*POSSIBLE, *IMPOSSIBLE, "1:2:3:4:5:6:7:8/0", "1:2:3:4:5:6:7::8/0", "12345::/16"])
def test_a_proxy_is_accepted_by_the_chart_if_the_console_accepts_it(chart: Chart, cidr: str) -> None:
    values = {"console": {"trustedProxies": [cidr]}}
    try:
        parse_networks(cidr)
    except SettingError:
        assert cidr not in POSSIBLE
        assert f"console.trustedProxies: {cidr} is no IPv4 or IPv6 network" in chart.refusal(values)
    else:
        assert cidr not in IMPOSSIBLE
        chart.render(values)
