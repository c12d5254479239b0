"""The authentication configuration of the cluster: ConfigMap kube-system/extension-apiserver-authentication.

kube-apiserver publishes there which CAs sign the certificates of users and of the front proxy, and which headers the
front proxy uses. A thread watches it and publishes each version as an immutable value, used by
`Components.tls_context` (serve.py) for each handshake and by api/authentication.py for each request.
Source: k8s.io/apiserver/pkg/server/options/authentication_dynamic_request_header.go and authentication.go.
"""

import hashlib
import json
import ssl
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

from app.kube.errors import KubernetesError, NotKubernetesError
from app.kube.watcher import Watcher

_NAME = "extension-apiserver-authentication"
_PATH = "/api/v1/namespaces/kube-system/configmaps"

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
    """Parse the ConfigMap's `data`; an absent key trusts no client.

    Raise KubernetesError, also if OpenSSL can't use one of the CAs, or `anchor` can't identify it.
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


class AuthConfigWatcher(Watcher[AuthConfig], Collector):
    """Watches the ConfigMap, and replaces `current` as a whole."""

    def __init__(self) -> None:
        super().__init__(_PATH, {"fieldSelector": f"metadata.name={_NAME}"})
        self.current: AuthConfig | None = None
        """None until it has been read once: no client certificate is trusted before."""

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

    def parse(self, found: Mapping[str, Any]) -> AuthConfig:
        """Return the configuration. Raises KubernetesError."""
        data = found.get("data") or {}
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise NotKubernetesError(f"kube-apiserver returned something else for ConfigMap kube-system/{_NAME}")
        return parse(data)

    def publish(self, values: Mapping[str, AuthConfig]) -> None:
        """Replace `current`. Raises KubernetesError if there is no ConfigMap; then the last one stays."""
        if not values:
            raise KubernetesError(
                f"there is no ConfigMap kube-system/{_NAME}, so client certificates can't be verified",
                "kube-apiserver creates it within a minute of its start",
                reason="NotFound",
            )
        (config,) = values.values()
        if config != self.current or self.error is not None:
            _log.info(
                "authentication configuration loaded",
                allowed_names=sorted(config.allowed_names),
                client_cas=len(config.client_anchors),
                front_proxy_cas=len(config.proxy_anchors),
            )
        self.current = config

    def log_failure(self, error: str, traceback: Exception | None) -> None:
        """Log that it can't be read."""
        _log.warning("authentication configuration can't be read", error=error, exc_info=traceback)


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
