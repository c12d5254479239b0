"""The authentication configuration of the cluster: ConfigMap kube-system/extension-apiserver-authentication.

kube-apiserver publishes there which CAs sign the certificates of users and of the front proxy, and which headers the
front proxy uses. A thread watches it and publishes each version as an immutable value, used by
`Components.tls_context` (serve.py) for each handshake and by api/authentication.py for each request.
Source: k8s.io/apiserver/pkg/server/options/authentication_dynamic_request_header.go and authentication.go.
"""

import hashlib
import json
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.ratelimit import backoff

_NAME = "extension-apiserver-authentication"
_PATH = "/api/v1/namespaces/kube-system/configmaps"
_ONLY_OURS: Mapping[str, str] = {"fieldSelector": f"metadata.name={_NAME}"}
_WATCH_S = 240.0
_FIRST_RETRY_S = 0.5
_MAX_RETRY_S = 30.0
_GONE = 410
"""The watch's version is too old: nothing to report, list again."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class AuthConfig:
    """Which client certificates are trusted, and which headers the front proxy uses."""

    client_ca_pem: str
    """CAs of the cluster's own users; empty: none."""
    requestheader_ca_pem: str
    """CAs of the front proxy (the aggregator); empty: no client can act as front proxy."""
    allowed_names: frozenset[str]
    """Common names that the front proxy's certificate may have; empty: any name that its CA signed."""
    username_headers: tuple[bytes, ...]
    """Header names in lower case, as all below; the first one present counts."""
    group_headers: tuple[bytes, ...]
    extra_header_prefixes: tuple[bytes, ...]
    uid_headers: tuple[bytes, ...]

    @cached_property
    def client_anchors(self) -> frozenset[bytes]:
        """The CAs of `client_ca_pem` as trust anchors."""
        return _anchors(self.client_ca_pem)

    @cached_property
    def proxy_anchors(self) -> frozenset[bytes]:
        """The CAs of `requestheader_ca_pem` as trust anchors."""
        return _anchors(self.requestheader_ca_pem)

    @cached_property
    def user_headers(self) -> frozenset[bytes]:
        """All headers in which the front proxy describes a part of the user, except the extra ones."""
        return frozenset((*self.username_headers, *self.group_headers, *self.uid_headers))


def anchor(authority: x509.Certificate) -> bytes:
    """Return what makes a CA the same CA: name and key (RFC 5280, 6.1.1). One renewed with its key stays the same."""
    key = authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(authority.subject.public_bytes() + key).digest()


def _anchors(pem: str) -> frozenset[bytes]:
    return frozenset(map(anchor, x509.load_pem_x509_certificates(pem.encode()) if pem else []))


def parse(configuration: Mapping[str, str]) -> AuthConfig:
    """Parse the ConfigMap's `data`; what is absent trusts no client. Raise KubernetesError.

    The CAs of what is returned can be used: by OpenSSL, and as anchors.
    """
    config = AuthConfig(
        client_ca_pem=_bundle(configuration, "client-ca-file"),
        requestheader_ca_pem=_bundle(configuration, "requestheader-client-ca-file"),
        allowed_names=frozenset(_names(configuration, "requestheader-allowed-names")),
        username_headers=_headers(configuration, "requestheader-username-headers"),
        group_headers=_headers(configuration, "requestheader-group-headers"),
        extra_header_prefixes=_headers(configuration, "requestheader-extra-headers-prefix"),
        uid_headers=_headers(configuration, "requestheader-uid-headers"),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for pem in filter(None, (config.client_ca_pem, config.requestheader_ca_pem)):
            context.load_verify_locations(cadata=pem)
        assert config.client_anchors is not None  # noqa: S101
        assert config.proxy_anchors is not None  # noqa: S101
    except (ValueError, UnsupportedAlgorithm, ssl.SSLError) as error:
        raise KubernetesError(
            f"a CA in ConfigMap kube-system/{_NAME} can't be used: {error}", reason="Invalid"
        ) from error
    return config


class AuthConfigWatcher(Collector):
    """Watches the ConfigMap in a thread, as long as the process lives.

    Each read replaces `current` as a whole; after a failure the last one stays, and it is read again with growing
    pauses.
    """

    def __init__(self) -> None:
        self.current: AuthConfig | None = None
        """None until it has been read once: no client certificate is trusted before."""
        self.error: str | None = "not read yet"
        """Why the last attempt failed; None: `current` is up to date."""

    def start(self, kubernetes: Kubernetes) -> threading.Thread:
        """Start the thread."""
        thread = threading.Thread(target=self._run, args=(kubernetes,), name="auth-config", daemon=True)
        thread.start()
        return thread

    def failure(self) -> str | None:
        """Return for /readyz why client certificates can't be verified at all."""
        return None if self.current else f"the authentication configuration can't be read: {self.error}"

    def warning(self) -> str | None:
        """Return for /readyz?verbose why `current` may be outdated."""
        return self.error

    def collect(self) -> Iterable[Metric]:
        """Return the metric for /metrics."""
        yield GaugeMetricFamily(
            "beanscale_access_configuration_up",
            "1 while kube-apiserver's authentication configuration can be read; the last version read stays in use.",
            value=float(self.error is None),
        )

    def _run(self, kubernetes: Kubernetes) -> None:
        delays = backoff(_FIRST_RETRY_S, _MAX_RETRY_S)
        while True:
            try:
                self._read_and_watch(kubernetes)
                delays = backoff(_FIRST_RETRY_S, _MAX_RETRY_S)
            except KubernetesError as error:
                if error.status != _GONE:
                    self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - if this thread ended, rotated CAs would never be trusted
                self._fail(f"internal error: {error!r}", error)
            time.sleep(next(delays))

    def _read_and_watch(self, kubernetes: Kubernetes) -> None:
        """Publish the present value, then each change until one watch ends."""
        config, version = _list(kubernetes)  # a list each time: it is one object, and misses nothing
        self._publish(config)
        query = {**_ONLY_OURS, "resourceVersion": version}
        for event in kubernetes.watch(_PATH, query=query, timeout_s=_WATCH_S):
            if event.get("type") in {"ADDED", "MODIFIED"}:
                self._publish(parse(_data(event.get("object"))))

    def _publish(self, config: AuthConfig) -> None:
        changed = config != self.current
        if changed:
            self.current = config
        if changed or self.error is not None:
            _log.info(
                "authentication configuration loaded",
                allowed_names=sorted(config.allowed_names),
                client_cas=len(config.client_anchors),
                front_proxy_cas=len(config.proxy_anchors),
            )
        self.error = None

    def _fail(self, message: str, traceback: Exception | None = None) -> None:
        if message != self.error:  # it is retried forever, and logged once
            _log.warning("authentication configuration can't be read", error=message, exc_info=traceback)
        self.error = message


def _list(kubernetes: Kubernetes) -> tuple[AuthConfig, str]:
    """Return the value, and the list's resourceVersion to watch from: a single object's may be too old for that."""
    listed = kubernetes.request("GET", _PATH, query=_ONLY_OURS)
    items, metadata = listed.get("items") or [], listed.get("metadata") or {}
    if not items:
        raise KubernetesError(
            f"{kubernetes.server} has no ConfigMap kube-system/{_NAME}, so client certificates can't be verified",
            "kube-apiserver creates it within a minute of its start",
            reason="NotFound",
        )
    if not isinstance(items, list) or not isinstance(metadata, dict):
        raise _nonsense("listed ConfigMaps by something that is not a list")
    return parse(_data(items[0])), str(metadata.get("resourceVersion", ""))


def _data(config_map: Any) -> Mapping[str, str]:
    data = (config_map.get("data") or {}) if isinstance(config_map, dict) else None
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise _nonsense(f"returned something else for ConfigMap kube-system/{_NAME}")
    return data


def _nonsense(what: str) -> KubernetesError:
    return KubernetesError(f"kube-apiserver {what}", "check that it is a kube-apiserver", reason="NotKubernetes")


def _bundle(configuration: Mapping[str, str], key: str) -> str:
    """Return only the certificates: OpenSSL accepts neither comments beyond ASCII nor a bundle of blanks."""
    pem = configuration.get(key, "")
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode()) if pem.strip() else []
    except (ValueError, x509.InvalidVersion) as error:
        raise _unreadable(key, f"has no readable certificates ({error})") from error
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def _headers(configuration: Mapping[str, str], key: str) -> tuple[bytes, ...]:
    return tuple(name.lower().encode("latin-1", "replace") for name in _names(configuration, key))


def _names(configuration: Mapping[str, str], key: str) -> list[str]:
    try:
        names = json.loads(configuration.get(key) or "[]")
    except ValueError as error:
        raise _unreadable(key, f"isn't JSON ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise _unreadable(key, "isn't a JSON list of names")
    return [name.strip() for name in names]


def _unreadable(key: str, why: str) -> KubernetesError:
    return KubernetesError(
        f"{key!r} of ConfigMap kube-system/{_NAME} {why}",
        "it mirrors kube-apiserver's --requestheader flags",
        reason="Invalid",
    )
