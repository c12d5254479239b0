"""Whom to trust as a client: what kube-apiserver publishes in kube-system/extension-apiserver-authentication.

Source: k8s.io/apiserver/pkg/server/options/authentication_dynamic_request_header.go and authentication.go.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError

_NAME = "extension-apiserver-authentication"
_PATH = "/api/v1/namespaces/kube-system/configmaps"
_ONLY_OURS: Mapping[str, str] = {"fieldSelector": f"metadata.name={_NAME}"}
_WATCH_S = 240.0
_SHORTEST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_GONE = 410
"""The watch's version is too old: nothing to report, list again."""


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Which client certificates count, and which headers the front proxy speaks in."""

    client_ca_pem: str
    """CAs of the cluster's own users; empty: none."""
    requestheader_ca_pem: str
    """CAs of the front proxy (the aggregator); empty: nobody may speak for others."""
    allowed_names: frozenset[str]
    """Common names that the front proxy's certificate may have; empty: any name that its CA signed."""
    username_headers: tuple[bytes, ...]
    """Header names in lower case, as all below; the first one present counts."""
    group_headers: tuple[bytes, ...]
    extra_header_prefixes: tuple[bytes, ...]
    uid_headers: tuple[bytes, ...]


def parse(configuration: Mapping[str, str]) -> AuthConfig:
    """Read the ConfigMap's `data`; what is absent trusts nobody. Raises KubernetesError."""
    return AuthConfig(
        client_ca_pem=_bundle(configuration, "client-ca-file"),
        requestheader_ca_pem=_bundle(configuration, "requestheader-client-ca-file"),
        allowed_names=frozenset(_names(configuration, "requestheader-allowed-names")),
        username_headers=_headers(configuration, "requestheader-username-headers"),
        group_headers=_headers(configuration, "requestheader-group-headers"),
        extra_header_prefixes=_headers(configuration, "requestheader-extra-headers-prefix"),
        uid_headers=_headers(configuration, "requestheader-uid-headers"),
    )


def follow(
    kubernetes: Kubernetes,
    on_change: Callable[[AuthConfig], None],
    on_error: Callable[[KubernetesError], None],
) -> threading.Thread:
    """Call back, in a thread of its own, with the present value and each time it changes, as long as the process lives.

    `on_error` hears of each failed attempt; the last value stays, the thread asks again with growing pauses, and tells
    the value as soon as there is one again, changed or not.
    """
    thread = threading.Thread(target=_Follower(kubernetes, on_change, on_error).run, name="client-trust", daemon=True)
    thread.start()
    return thread


class _Follower:
    def __init__(
        self,
        kubernetes: Kubernetes,
        on_change: Callable[[AuthConfig], None],
        on_error: Callable[[KubernetesError], None],
    ) -> None:
        self._kubernetes = kubernetes
        self._on_change = on_change
        self._on_error = on_error
        self._last: AuthConfig | None = None

    def run(self) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while True:
            try:
                self._tell_and_watch()
                pause_s = _SHORTEST_PAUSE_S
            except KubernetesError as error:
                if error.status != _GONE:
                    self._last = None
                    self._on_error(error)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            time.sleep(pause_s)

    def _tell_and_watch(self) -> None:
        """From the present value to the end of one watch. A list each time: it's one object, and misses nothing."""
        trust, version = _list(self._kubernetes)
        self._tell(trust)
        query = {**_ONLY_OURS, "resourceVersion": version}
        for event in self._kubernetes.watch(_PATH, query=query, timeout_s=_WATCH_S):
            if event.get("type") in {"ADDED", "MODIFIED"}:
                self._tell(parse(_data(event.get("object"))))

    def _tell(self, trust: AuthConfig) -> None:
        if trust != self._last:
            self._on_change(trust)
            self._last = trust


def _list(kubernetes: Kubernetes) -> tuple[AuthConfig, str]:
    """The value, and the resourceVersion to watch from: of the list, a single object's may be too old to start at."""
    listed = kubernetes.request("GET", _PATH, query=_ONLY_OURS)
    items, metadata = listed.get("items") or [], listed.get("metadata") or {}
    if not items:
        raise KubernetesError(
            f"{kubernetes.server} has no ConfigMap kube-system/{_NAME}, so nobody can be authenticated;"
            " kube-apiserver makes it within a minute of its start",
            reason="NotFound",
        )
    if not isinstance(items, list) or not isinstance(metadata, dict):
        raise _nonsense("listed ConfigMaps by something that is no list")
    return parse(_data(items[0])), str(metadata.get("resourceVersion", ""))


def _data(config_map: Any) -> Mapping[str, str]:
    data = (config_map.get("data") or {}) if isinstance(config_map, dict) else None
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise _nonsense(f"gave something else for ConfigMap kube-system/{_NAME}")
    return data


def _nonsense(what: str) -> KubernetesError:
    return KubernetesError(f"kube-apiserver {what}; is it a kube-apiserver?", reason="NotKubernetes")


def _bundle(configuration: Mapping[str, str], key: str) -> str:
    """Only the certificates, because OpenSSL takes neither remarks beyond ASCII nor a bundle of blanks."""
    pem = configuration.get(key, "")
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode()) if pem.strip() else []
    except (ValueError, x509.InvalidVersion) as error:
        raise _unreadable(key, f"holds no readable certificates ({error})") from error
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
        f"{key!r} of ConfigMap kube-system/{_NAME} {why}; it mirrors kube-apiserver's --requestheader flags",
        reason="Invalid",
    )
