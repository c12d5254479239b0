"""What TLS is spoken, and whom it lets in: a front proxy that Kubernetes begins or ceases to trust counts at once."""

import json
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from app.kube.client import Kubernetes
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.attackers import LIVEZ, MASTER, Authority, Line, line
from tests.kubernetes.cluster_objects import MERGE, eventually, kubernetes
from tests.kubernetes.conftest import Beanscale, client_tls, serving
from tests.kubernetes.people import proxy_ca, unknown_ca
from tests.kubernetes.test_cluster_reviews import TRUST

__all__ = ["kubernetes", "proxy_ca", "unknown_ca"]

NAMES, BUNDLE = "requestheader-allowed-names", "requestheader-client-ca-file"


@pytest.fixture(scope="module")
def old(source: Beanstalkd) -> Iterator[Beanscale]:
    """A server that accepts TLS 1.2 too."""
    with serving("--beanstalkd", f"eu={source.host}:{source.port}", "--tls-min-version", "1.2") as server:
        yield server


@pytest.mark.parametrize(("server", "version"), [("attacked", "TLSv1_3"), ("old", "TLSv1_3"), ("old", "TLSv1_2")])
def test_tls_has_no_compression(request: pytest.FixtureRequest, server: str, version: str) -> None:
    with line(request.getfixturevalue(server), tls=speaking(version)) as opened:
        assert (opened.socket.version(), opened.socket.compression()) == (version.replace("_", "."), None)
        assert opened.ask(LIVEZ).code == 200


@pytest.mark.parametrize(
    ("server", "version"),
    [("attacked", "TLSv1_2"), ("attacked", "TLSv1_1"), ("old", "TLSv1_1"), ("old", "TLSv1")],
)
def test_old_versions_of_tls_are_rejected(request: pytest.FixtureRequest, server: str, version: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)) as ended:
        Line(request.getfixturevalue(server).port, tls=speaking(version))
    assert getattr(ended.value, "reason", None) != "NO_PROTOCOLS_AVAILABLE", "it was the client that didn't try"


def speaking(version: str) -> ssl.SSLContext:
    tls = client_tls(None)
    tls.set_ciphers("ALL:@SECLEVEL=0")  # the old ones need hashes that OpenSSL doesn't take otherwise
    with warnings.catch_warnings(action="ignore"):
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion[version]
    return tls


@pytest.mark.parametrize(
    ("ciphers", "accepted"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA256", False),
        ("ECDHE-ECDSA-AES256-SHA", False),
        ("ECDHE-ECDSA-CAMELLIA128-SHA256", False),
    ],
)
def test_only_ciphers_with_authenticated_encryption_are_accepted(old: Beanscale, ciphers: str, accepted: bool) -> None:
    tls = speaking("TLSv1_2")
    tls.set_ciphers(ciphers)
    with nullcontext() if accepted else pytest.raises(ssl.SSLError), line(old, tls=tls) as opened:
        assert opened.ask(LIVEZ).code == 200


def test_renegotiation_is_rejected(old: Beanscale) -> None:
    """It would cost us much, and them little."""
    client = ["timeout", "60", "openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{old.port}"]
    with subprocess.Popen(
        client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("R\n")
        process.stdin.flush()
        said = process.stdout.read()
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


def test_only_http_1_1_is_negotiated(attacked: Beanscale) -> None:
    tls = client_tls(None)
    tls.set_alpn_protocols(["h2", "http/1.1"])
    with line(attacked, tls=tls) as opened:
        assert opened.socket.selected_alpn_protocol() == "http/1.1"


@contextmanager
def also_trusted(kubernetes: Kubernetes, authority: Authority, name: str) -> Iterator[None]:
    """Beside what kube-apiserver has there of its own."""
    before = {key: kubernetes.request("GET", TRUST)["data"][key] for key in (NAMES, BUNDLE)}
    more = {NAMES: json.dumps([*json.loads(before[NAMES]), name]), BUNDLE: before[BUNDLE] + authority.pem}
    kubernetes.request("PATCH", TRUST, body={"data": more}, content_type=MERGE)
    try:
        yield
    finally:
        kubernetes.request("PATCH", TRUST, body={"data": before}, content_type=MERGE)


def test_a_front_proxy_is_accepted_while_kubernetes_trusts_it(
    attacked: Beanscale, kubernetes: Kubernetes, proxy_ca: Authority, unknown_ca: Authority
) -> None:
    """Without a restart, and on lines that are open already."""
    second = unknown_ca.issue("second-aggregator")
    with ExitStack() as lines:
        renamed = lines.enter_context(line(attacked, proxy_ca.issue("second-aggregator")))
        assert code(renamed) == 401
        with also_trusted(kubernetes, unknown_ca, "second-aggregator"):
            eventually(lambda: code(renamed) == 200, within_s=20)
            rotated = lines.enter_context(line(attacked, second))
            first = lines.enter_context(line(attacked, proxy_ca.issue("front-proxy-client")))
            assert (code(rotated), code(first)) == (200, 200)
            assert rotated.get("/metrics", x_remote_user="nobody").code == 403
        eventually(lambda: code(renamed) == 401, within_s=20)
        late = lines.enter_context(line(attacked, second))
        assert (code(rotated), code(late), code(first)) == (401, 401, 200)


def code(shared: Line) -> int:
    return shared.get("/metrics", **MASTER).code
