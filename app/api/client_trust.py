"""Keeps what the server knows of whom to trust as a client: live, for connections that are open already too."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.authentication import Authenticator, Trust
from app.api.tls import ServingTls
from app.kube import auth_config
from app.kube.auth_config import AuthConfig
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError

_log = structlog.get_logger()


class ClientTrustKeeper(Collector):
    """Hands the cluster's authentication configuration to those who judge by it."""

    def __init__(self, authenticator: Authenticator, tls: ServingTls) -> None:
        self._authenticator = authenticator
        self._tls = tls
        self._failure: str | None = "it hasn't been read yet"

    def follow(self, kubernetes: Kubernetes) -> None:
        """Begin, for the running event loop."""
        loop = asyncio.get_running_loop()

        def in_loop[Value](do: Callable[[Value], None]) -> Callable[[Value], None]:
            def call(value: Value) -> None:
                with suppress(RuntimeError):  # the loop is closed: we are leaving
                    loop.call_soon_threadsafe(do, value)

            return call

        auth_config.follow(kubernetes, in_loop(self._trust), in_loop(self._cant_read))

    def check(self) -> str | None:
        """For /readyz: what was read once counts until it can be read again."""
        if self._authenticator.trust is not None:
            return None
        return f"whom to trust as a client isn't known: {self._failure}"

    def remark(self) -> str | None:
        """For /readyz?verbose: what was told last counts, and may be old."""
        return self._failure

    def collect(self) -> Iterable[Metric]:
        """For /metrics."""
        yield GaugeMetricFamily(
            "beanscale_access_configuration_up",
            "1 while kube-apiserver tells whom to trust as a client; the last that it told counts.",
            value=float(self._failure is None),
        )

    def _trust(self, told: AuthConfig) -> None:
        try:
            trust = Trust.of(told)
            # A CA is only ever added to what TLS accepts; whether it still counts is decided at each request.
            self._tls.trust(*filter(None, (told.client_ca_pem, told.requestheader_ca_pem)))
        except (ValueError, UnsupportedAlgorithm, ssl.SSLError) as error:
            self._fail(f"a CA in it can't be used: {error}")
            return
        changed = self._authenticator.trust is None or self._authenticator.trust.headers != told
        self._authenticator.trust, was_away, self._failure = trust, self._failure, None
        if changed or was_away:
            _log.info(
                "reading who may ask",
                allowed_names=sorted(told.allowed_names),
                client_cas=len(trust.clients),
                front_proxy_cas=len(trust.proxies),
            )

    def _cant_read(self, error: KubernetesError) -> None:
        self._fail(str(error))

    def _fail(self, why: str) -> None:
        if why != self._failure:  # it is tried again for ever, and told once
            _log.warning("can't read who may ask", reason=why)
        self._failure = why
