"""The authentication configuration is read exactly; an invalid one adds no trusted client."""

import json
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.kube import watcher as watching
from app.kube.auth_config import AuthConfig, AuthConfigWatcher, parse
from app.kube.certificates.renewal import KeyRing, next_key_ring
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from app.kube.errors import KubernetesError
from tests.unit.kube.apiserver import Answer, serving

CA = next_key_ring(None, ["localhost"], datetime.now(UTC)).bundle.decode()
USUAL = {
    "client-ca-file": CA,
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-client-ca-file": CA,
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-username-headers": '["X-Remote-User", " X-Other-User "]',
}
BLANKS = {"client-ca-file": " \n", "requestheader-client-ca-file": "\n"}


def test_every_value_is_read() -> None:
    assert parse(USUAL) == AuthConfig(
        client_ca_pem=CA,
        requestheader_ca_pem=CA,
        allowed_names=frozenset({"front-proxy-client"}),
        username_headers=(b"x-remote-user", b"x-other-user"),
        group_headers=(b"x-remote-group",),
        extra_header_prefixes=(b"x-remote-extra-",),
        uid_headers=(b"x-remote-uid",),
    )


def test_comments_in_a_bundle_are_omitted() -> None:
    """OpenSSL rejects a bundle that isn't ASCII or has no certificate; then no client could authenticate."""
    remarked = parse(USUAL | {"client-ca-file": f"# the CA of Zoë\n{CA}\n# fin\n"})
    assert remarked == parse(USUAL)
    ssl.create_default_context(cadata=remarked.client_ca_pem)


@pytest.mark.parametrize("configuration", [{}, dict.fromkeys(USUAL, ""), dict.fromkeys(USUAL, "") | BLANKS])
def test_absent_configuration_trusts_no_client(configuration: dict[str, str]) -> None:
    assert parse(configuration) == AuthConfig("", "", frozenset(), (), (), (), ())


@pytest.mark.parametrize(
    ("key", "garbage", "why"),
    [
        ("client-ca-file", "garbage", "no readable certificates"),
        ("requestheader-client-ca-file", CA[:300], "no readable certificates"),
        ("requestheader-allowed-names", "front-proxy-client", "isn't JSON"),
        ("requestheader-allowed-names", '"front-proxy-client"', "isn't a JSON list"),
        ("requestheader-username-headers", "[1]", "isn't a JSON list of names"),
        ("requestheader-group-headers", '[" "]', "isn't a JSON list of names"),
    ],
)
def test_an_invalid_value_is_named(key: str, garbage: str, why: str) -> None:
    with pytest.raises(KubernetesError, match=f"{key}.*{why}"):
        parse(USUAL | {key: garbage})


@pytest.mark.parametrize(
    ("nonsense", "error"),
    [
        ({"items": {"a": "b"}}, "check that it is a kube-apiserver"),
        ({"items": ["a"]}, "check that it is a kube-apiserver"),
        ({"items": [{"data": ["a"]}]}, "check that it is a kube-apiserver"),
        ({"items": [{"data": {"client-ca-file": 7}}]}, "check that it is a kube-apiserver"),
        ({"items": [{"data": USUAL}], "metadata": "a"}, "check that it is a kube-apiserver"),
        (
            {"items": [{"data": USUAL | {"requestheader-allowed-names": "[" * 100_000}}]},
            "internal error: RecursionError",
        ),
    ],
)
def test_after_an_invalid_response_it_is_read_again(
    nonsense: dict[str, object],
    error: str,
    cluster: KeyRing,
    service_account: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something between us and kube-apiserver may answer in its place for a while."""
    monkeypatch.setattr(watching, "_FIRST_RETRY_S", 0.01)
    watcher = AuthConfigWatcher()
    assert watcher.failure() == "the authentication configuration can't be read: not read yet"
    with serving(cluster.serving) as apiserver:  # of its own: the thread runs as long as the process lives
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(apiserver.port))
        apiserver.answer = Answer(body=json.dumps({"items": [{"data": BLANKS}]}).encode())
        thread = watcher.start(Kubernetes(find_credentials(None, None, service_account)))
        until(lambda: watcher.current == parse(BLANKS))
        assert (watcher.failure(), up(watcher)) == (None, 1)
        apiserver.answer = Answer(body=json.dumps(nonsense).encode())
        until(lambda: error in (watcher.warning() or ""))
        assert (watcher.current, watcher.failure(), up(watcher)) == (parse(BLANKS), None, 0)
        apiserver.answer = Answer(body=json.dumps({"items": [{"data": USUAL}]}).encode())
        until(lambda: watcher.current == parse(USUAL))
    assert thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def up(watcher: AuthConfigWatcher) -> float:
    (metric,) = watcher.collect()
    return metric.samples[0].value
