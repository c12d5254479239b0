"""What a person types is understood, or refused in one sentence."""

import pytest

from app.settings import (
    ObjectName,
    Server,
    ServicePort,
    SettingError,
    distinct_servers,
    parse_dns_subdomain,
    parse_duration,
    parse_networks,
    parse_object_name,
    parse_seconds,
    parse_server,
    parse_service_port,
)


@pytest.mark.parametrize(
    ("text", "server", "address"),
    [
        (
            "beanstalkd.shop.svc",
            Server("beanstalkd.shop.svc", "beanstalkd.shop.svc", 11300),
            "beanstalkd.shop.svc:11300",
        ),
        ("127.0.0.1:4711", Server("127.0.0.1", "127.0.0.1", 4711), "127.0.0.1:4711"),
        ("eu=bean:11301", Server("eu", "bean", 11301), "bean:11301"),
        ("eu=[::1]:11301", Server("eu", "::1", 11301), "[::1]:11301"),
        ("eu=[::1]", Server("eu", "::1", 11300), "[::1]:11300"),
        ("eu=::1", Server("eu", "::1", 11300), "[::1]:11300"),
    ],
)
def test_a_server_is_parsed_with_or_without_name_and_port(text: str, server: Server, address: str) -> None:
    assert parse_server(text) == server
    assert parse_server(text).address == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "neither a host name nor an IP address"),
        ("bean:", "'' in 'bean:' isn't a port"),
        ("bean:0", "a number from 1 to 65535"),
        ("bean:65536", "a number from 1 to 65535"),
        ("bean:٣", "isn't a port"),
        ("=bean", "no name before the '='"),
        ("::1", "give it a name"),
        ("-eu=bean", "can't be the `server` label"),
        (f"{'a' * 64}=bean", "at most 63"),
        ("eu=[::1", "write IPv6 as"),
        ("eu=[::1]x", "write IPv6 as"),
        ("eu=http://bean", "isn't a port"),
        ("eu=be an", "neither a host name nor an IP address"),
        ("eu=bean\r\n", "neither a host name nor an IP address"),
        (f"eu={'a' * 64}", "neither a host name nor an IP address"),
        (f"eu={'a' * 60}!", "neither a host name nor an IP address"),
    ],
)
def test_an_invalid_server_is_rejected(text: str, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        parse_server(text)


def test_two_servers_with_one_name_are_rejected() -> None:
    with pytest.raises(SettingError, match="bean:1 and bean:2 are both named 'bean'; set different names"):
        distinct_servers((parse_server("bean:1"), parse_server("bean:2")))


def test_two_names_for_one_server_are_rejected() -> None:
    with pytest.raises(
        SettingError, match="'eu' and 'us' have the same address bean:1: its jobs would be counted twice"
    ):
        distinct_servers((parse_server("eu=bean:1"), parse_server("us=bean:1")))


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("15s", 15), ("1m30s", 90), ("2h", 7200), ("1.5s", 1.5)])
def test_durations_are_written_as_in_kubernetes(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "15 s", "-1s", "s", "1s1", "1d", "0s", "9" * 400 + "s"])
def test_an_invalid_duration_is_rejected(text: str) -> None:
    with pytest.raises(SettingError, match="isn't a duration"):
        parse_duration(text)


def test_seconds_are_a_plain_number() -> None:
    assert (parse_seconds("5"), parse_seconds("0"), parse_seconds("0.5")) == (5, 0, 0.5)
    for text in ("nan", "inf", "-1", "", "1e3", "5s", "9" * 400):
        with pytest.raises(SettingError, match="isn't a number of seconds"):
            parse_seconds(text)


def test_an_objects_name_has_a_namespace() -> None:
    assert parse_object_name("shop/beanscale-server") == ObjectName("shop", "beanscale-server")
    for text in ("shop", "shop/", "/x", "Shop/x", "a/b/c"):
        with pytest.raises(SettingError, match="isn't NAMESPACE/NAME"):
            parse_object_name(text)


def test_the_default_port_of_a_service_is_that_of_https() -> None:
    keda = ObjectName("keda", "metrics-apiserver")
    assert parse_service_port("keda/metrics-apiserver") == ServicePort(keda, 443)
    assert parse_service_port("keda/metrics-apiserver:6443") == ServicePort(keda, 6443)
    assert ServicePort(keda, 6443).host == "metrics-apiserver.keda.svc"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("metrics", "isn't NAMESPACE/SERVICE"),
        ("keda/", "isn't NAMESPACE/SERVICE"),
        ("/metrics", "isn't NAMESPACE/SERVICE"),
        ("keda/a.b", "isn't NAMESPACE/SERVICE"),
        ("https://keda/metrics", "isn't NAMESPACE/SERVICE"),
        ("keda/metrics:", "'' in 'keda/metrics:' isn't a port"),
        ("keda/metrics:0", "a number from 1 to 65535"),
        ("keda/metrics:443/x", "'443/x' in"),
    ],
)
def test_an_invalid_port_of_a_service_is_rejected(text: str, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        parse_service_port(text)


def test_the_host_bits_of_a_network_are_ignored() -> None:
    assert parse_networks("10.244.1.0/16, fd00::1/8,192.0.2.7") == parse_networks("10.244.0.0/16,fd00::/8,192.0.2.7/32")
    with pytest.raises(SettingError, match="expected addresses or CIDRs"):
        parse_networks("999.1.1.1")


@pytest.mark.parametrize(
    ("mapped", "network"),
    [("::ffff:10.0.0.7", "10.0.0.7"), ("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::/0", "::/0"), ("::fffe:0:0/95",) * 2],
)
def test_a_network_of_ipv4_in_ipv6_is_one_of_ipv4(mapped: str, network: str) -> None:
    """A client's address is read in the same way; otherwise such a proxy would never be trusted."""
    assert [str(each) for each in parse_networks(mapped)] == [str(each) for each in parse_networks(network)]


def test_names_are_those_that_dns_and_kubernetes_accept() -> None:
    assert parse_dns_subdomain("v1beta1.external.metrics.k8s.io") == "v1beta1.external.metrics.k8s.io"
    for text in ("", "a b", "../a", "exämple", "Upper", "a..b", "a.", f"{'a.' * 127}aa"):
        with pytest.raises(SettingError, match="isn't a valid name"):
            parse_dns_subdomain(text)
