"""No client gets another user's identity by headers or by untrusted certificates."""

import ssl
import time
from contextlib import suppress

import pytest

from app.kube.client import Kubernetes
from tests.kubernetes.attackers import MASTER, Authority, Line, line
from tests.kubernetes.conftest import VALUES, Beanscale, Pair
from tests.kubernetes.people import aggregator, cluster_ca, kubernetes, namespace, proxy_ca, shopper, unknown_ca

__all__ = ["aggregator", "cluster_ca", "kubernetes", "namespace", "proxy_ca", "shopper", "unknown_ca"]

METRIC = f"{VALUES}/tube-default"
GET = b"GET /metrics HTTP/1.1\r\nhost: beanscale\r\n"
MASTERS = b": system:masters\r\n"

NO_HEADERS = {
    "an underscore for a dash": b"x_remote_group" + MASTERS,
    "a prefix": b"x-x-remote-group" + MASTERS,
    "a letter more": b"x-remote-groups" + MASTERS,
    "behind a body": b"transfer-encoding: chunked\r\n\r\n0\r\nx-remote-group" + MASTERS,
    "in the value before": b"x-remote-extra-a: b, x-remote-group" + MASTERS,
    "in the query": b"referer: /?x-remote-group=system:masters\r\n",
    "named in Connection": b"connection: x-remote-user\r\n",
    "as an extra": b"x-remote-extra-groups" + MASTERS,
}
"""Parsed, and ignored as groups."""

NOT_HTTP = {
    "a blank before the colon": b"x-remote-group " + MASTERS,
    "a tab before the colon": b"x-remote-group\t" + MASTERS,
    "a NUL in the name": b"x-remote-group\0" + MASTERS,
    "a NUL in the value": b"x-remote-group: system:masters\0\r\n",
    "a bare CR in the value": b"x: y\rx-remote-group" + MASTERS,
    "a bare LF in the value": b"x: y\nx-remote-group" + MASTERS,
    "folded": b"x: y\r\n x-remote-group" + MASTERS,
    "folded, the value": b"x-remote-group:\r\n system:masters\r\n",
    "a letter beyond ASCII in the name": b"x-remote-gro\xc3\xbcp" + MASTERS,
    "a control character in the value": b"x-remote-group: system:masters\x0b\r\n",
    "no colon": b"x-remote-group system:masters\r\n",
    "no name": MASTERS,
}
"""Refused as a whole."""


def test_without_the_certificate_headers_are_ignored(attacked: Beanscale) -> None:
    with line(attacked) as anonymous:
        for headers in (MASTER, {"X_REMOTE_USER": "me", "X_Remote_Group": "system:masters"}):
            assert anonymous.get("/metrics", **headers).code == 403


def test_a_certificate_of_another_ca_with_the_same_name_fails_the_handshake(
    attacked: Beanscale, unknown_ca: Authority
) -> None:
    assert not shakes_hands(attacked, unknown_ca.issue("front-proxy-client"))


def test_a_name_that_isnt_allowed_cant_act_as_front_proxy(attacked: Beanscale, proxy_ca: Authority) -> None:
    for name in ("not-the-aggregator", "Front-Proxy-Client", "front-proxy-client ", "*", "system:masters"):
        with line(attacked, proxy_ca.issue(name, "system:masters")) as anonymous:
            assert anonymous.get("/metrics", **MASTER).code == 401


def test_a_client_certificate_with_the_aggregators_name_cant_act_as_front_proxy(
    attacked: Beanscale, cluster_ca: Authority
) -> None:
    with line(attacked, cluster_ca.issue("front-proxy-client")) as user:
        refused = user.get("/metrics", **MASTER)
    assert refused.code == 403
    assert b'User \\"front-proxy-client\\" cannot get' in refused.body


@pytest.mark.parametrize("header", NO_HEADERS.values(), ids=NO_HEADERS)
def test_a_user_of_the_aggregator_cant_add_headers(attacked: Beanscale, aggregator: Pair, header: bytes) -> None:
    with line(attacked, aggregator) as shared:
        assert shared.ask(GET + b"x-remote-user: nobody\r\n" + header + b"\r\n").code == 403


@pytest.mark.parametrize("header", NOT_HTTP.values(), ids=NOT_HTTP)
def test_a_malformed_header_rejects_the_request(attacked: Beanscale, aggregator: Pair, header: bytes) -> None:
    with line(attacked, aggregator) as shared:
        assert [each.code for each in shared.all(GET + b"x-remote-user: nobody\r\n" + header + b"\r\n")] == [400]


def test_the_first_of_two_users_applies_and_groups_are_combined(attacked: Beanscale, aggregator: Pair) -> None:
    with line(attacked, aggregator) as shared:
        twice = shared.ask(GET + b"X-Remote-User: nobody\r\nx-remote-user: kubernetes-admin\r\n\r\n")
        assert b'User \\"nobody\\" cannot get' in twice.body
        both = shared.ask(GET + b"x-REMOTE-user: me\r\nX-REMOTE-GROUP: a\r\nx-remote-group" + MASTERS + b"\r\n")
        assert both.code == 200
        for other in (b"system:masters,a", b"a, system:masters", b"System:Masters", b"\xa0system:masters"):
            assert shared.ask(GET + b"x-remote-user: me\r\nx-remote-group: " + other + b"\r\n\r\n").code == 403


def test_an_earlier_request_on_a_connection_adds_no_permissions(attacked: Beanscale, aggregator: Pair) -> None:
    with line(attacked, aggregator) as shared:
        for _ in range(3):
            assert shared.get("/metrics", **MASTER).code == 200
            assert shared.get("/metrics", x_remote_user="nobody").code == 403
            assert shared.get("/metrics").code == 401


def test_a_token_adds_nothing_to_the_next_request_on_its_connection(
    attacked: Beanscale, kubernetes: Kubernetes, namespace: str
) -> None:
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kubernetes.request("POST", accounts, body={"metadata": {"name": "pod"}})
    token = kubernetes.request("POST", f"{accounts}/pod/token", body={})["status"]["token"]
    whose = f'User \\"system:serviceaccount:{namespace}:pod\\"'.encode()
    with line(attacked) as shared:
        for _ in range(2):
            assert whose in shared.get(METRIC, authorization=f"Bearer {token}").body
            assert shared.get(METRIC, authorization="Bearer made-up").code == 401
            assert b'User \\"system:anonymous\\"' in shared.get(METRIC).body


def test_a_certificate_outside_its_validity_fails_the_handshake(attacked: Beanscale, proxy_ca: Authority) -> None:
    expired = proxy_ca.issue("front-proxy-client", life_s=(-3600, -5))
    early = proxy_ca.issue("front-proxy-client", life_s=(60, 3600))
    assert not shakes_hands(attacked, expired)
    assert not shakes_hands(attacked, early)
    assert shakes_hands(attacked, proxy_ca.issue("front-proxy-client"))


def test_a_certificate_that_expires_on_an_open_connection_is_no_longer_trusted(
    attacked: Beanscale, proxy_ca: Authority, cluster_ca: Authority
) -> None:
    codes = (codes_before_and_after_its_end(attacked, proxy_ca, cluster_ca, life_s) for life_s in (3, 10, 30))
    assert next(each for each in codes if each) == ([200, 200], [401, 401])


def codes_before_and_after_its_end(
    attacked: Beanscale, proxy_ca: Authority, cluster_ca: Authority, life_s: float
) -> tuple[list[int], list[int]] | None:
    """None where the machine was too slow for so short a life."""
    began = time.time()
    proxy = proxy_ca.issue("front-proxy-client", life_s=(-60, life_s))
    user = cluster_ca.issue("me", "system:masters", life_s=(-60, life_s))
    ends_at = time.time() + life_s
    with suppress(OSError), line(attacked, proxy) as shared, line(attacked, user) as own:
        lines: tuple[tuple[Line, dict[str, str]], ...] = ((shared, MASTER), (own, {}))
        before = [each.get("/metrics", **headers).code for each, headers in lines]
        if time.time() < began + life_s - 1:  # a certificate's times are whole seconds
            time.sleep(max(0, ends_at - time.time()))
            return before, [each.get("/metrics", **headers).code for each, headers in lines]
    return None


def test_an_earlier_audit_id_is_no_credential(attacked: Beanscale, aggregator: Pair) -> None:
    with line(attacked, aggregator) as shared, line(attacked) as anonymous:
        known = shared.get("/metrics", audit_id="11111111-2222", **MASTER)
        again = anonymous.get("/metrics", audit_id="11111111-2222")
        split = anonymous.ask(GET + b"audit-id: a\r\naudit-id: b\r\n\r\n")
    assert (known.code, again.code) == (200, 403)
    assert known.headers["audit-id"] == again.headers["audit-id"] == "11111111-2222"
    assert split.headers["audit-id"] == "a"


def test_no_client_can_impersonate(attacked: Beanscale, aggregator: Pair, shopper: Pair) -> None:
    master = {"impersonate_user": "me", "impersonate_group": "system:masters"}
    with line(attacked, shopper) as user:
        refused = user.get("/metrics", **master)
        assert refused.code == 403
        assert b"impersonation is not supported here" in refused.body
        assert user.get("/metrics", impersonate_group="system:masters").code == 403
    with line(attacked) as anonymous:
        assert anonymous.get("/livez", **master).code == 403
    with line(attacked, aggregator) as shared:
        assert shared.get("/metrics", x_remote_user="nobody", **master).code == 403
        assert shared.get("/metrics", impersonate_user="nobody", **MASTER).code == 403
        assert shared.get("/metrics", **master).code == 401
        assert shared.get("/metrics", **MASTER, **master).code == 403


def shakes_hands(server: Beanscale, certificate: Pair) -> bool:
    """With TLS 1.3 a client only learns it when it reads."""
    with line(server, certificate) as opened:
        try:
            opened.socket.sendall(GET + b"\r\n")
            return opened.socket.recv(1) != b""
        except (ssl.SSLError, ConnectionError):
            return False
