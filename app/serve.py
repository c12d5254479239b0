"""`beanscale serve`: the composition root. Creates all components and runs them until the process is stopped."""

import gc
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import structlog
import uvloop
from prometheus_client.registry import Collector
from starlette.routing import Router

from app import clock
from app.api.app import Api
from app.api.audit import Audit
from app.api.authentication import Authenticator
from app.api.authorization import Authorizer
from app.api.discovery import version_info
from app.api.external_metrics import ExternalMetrics
from app.api.forwarding import Forwarding
from app.api.limits import DEADLINE_S, Limits
from app.api.probes import Check, Probe
from app.api.telemetry import PollCollector, ReviewCollector, Telemetry, TubesWithoutMetric
from app.api.tls import ClientCertificate, ServingTls
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.clock import Instant
from app.http.server import HttpServer, listen, max_connections, run_and_exit
from app.http.tls import TlsVersion
from app.kube.account_token import AccountToken
from app.kube.auth_config import AuthConfig, AuthConfigWatcher
from app.kube.certificates.controller import CertificateController, CertificateTargets, service_names
from app.kube.certificates.renewal import Lifetimes
from app.kube.client import Kubernetes, connect
from app.kube.credentials import ReloadedCa
from app.kube.reviews import review_access, review_token
from app.kube.upstream import Address, UpstreamAdapter
from app.logs import AuditLog
from app.metrics.query import EvaluationContext, WantedTubes
from app.metrics.resolve import wanted_by_rules
from app.metrics.rules import Rules
from app.metrics.tenancy import outages
from app.scaler.scaler import Scaler
from app.settings import ObjectName, Server, ServicePort
from app.text import listing

TlsMode = Literal["self", "provided"]
"""Source of the serving certificate: beanscale itself, or another program that writes it into the Secret."""
DRAIN_S = DEADLINE_S + 1
"""How long requests in progress may still take at shutdown: as long as any request may."""

_MAX_FAILURES = 100
"""HPAs of a namespace in an explanation."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The options of `beanscale serve`."""

    servers: tuple[Server, ...]
    bind: str
    port: int
    max_age: float
    """Seconds."""
    rules: Rules
    discovery_tubes: bool
    """If false, discovery and OpenAPI list no tubes."""
    shutdown_delay: float
    """Seconds."""
    service: ObjectName | None
    tls_secret: str | None
    ca_configmap: str | None
    tls_mode: TlsMode
    tls_min_version: TlsVersion
    tls_duration: float
    """Seconds."""
    tls_ca_duration: float
    """Seconds."""
    apiservice: str
    cluster_domain: str
    kubeconfig: Path | None
    context: str | None
    audit_log: AuditLog
    forward_to: ServicePort | None
    forward_ca: Path | None
    forward_account: ObjectName | None
    scaler: bool
    """If true, workloads of annotated HPAs are scaled."""


def run(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. Raise KubeconfigError, SettingError."""
    components = Components(settings, connect(settings.kubeconfig, settings.context))
    # What is loaded by now is never freed: without this, each garbage collection takes 10 ms and more to scan it.
    gc.freeze()
    with listen(settings.bind, settings.port) as listener:
        uvloop.run(run_and_exit(_serve(settings, components, listener)))
    return 0


async def _serve(settings: ServeSettings, components: "Components", listener: socket.socket) -> int:
    # A temporary certificate, so that the kubelet can query probes until the real one is there; no client trusts it,
    # and /readyz says so.
    await CertificateController(components.names).check(components.tls.present, clock.now())
    components.auth_config.start(components.kubernetes)
    background = [
        components.poller.run(),
        components.certificate.run(components.tls.present),
        components.limits.run(),
        components.tubes_without_metric.run(),
    ]
    if components.forwarding is not None:
        background.append(components.forwarding.run())
    if components.scaler is not None:
        background.append(components.scaler.run())
    _log.info("listening", address=listener.getsockname()[0], port=listener.getsockname()[1])
    return await components.http.serve_until_stopped(
        components.application(),
        listener,
        DRAIN_S,
        delay_s=settings.shutdown_delay,
        background=background,
        on_shutdown=components.certificate.stop,
    )


class Components:
    """All that the server consists of, in the order of the data flow: beanstalkd → snapshot → metrics → API."""

    def __init__(self, settings: ServeSettings, kubernetes: Kubernetes) -> None:
        """Raise KubeconfigError if the CA of --forward-ca can't be used."""
        self._settings = settings
        self.kubernetes = kubernetes

        by_rules = wanted_by_rules(settings.rules)
        self.poller = Poller(settings.servers, clock.now, Demand(by_rules.tubes, by_rules.ages))
        self.tubes_without_metric = TubesWithoutMetric(lambda: self.poller.snapshot, settings.rules)

        self.auth_config = AuthConfigWatcher()
        self.reviews = ReviewCollector()
        self.authenticator = Authenticator(self.auth_config, partial(review_token, kubernetes), self.reviews.observe)
        self.authorizer = Authorizer(partial(review_access, kubernetes), self.reviews.observe)
        self.limits = Limits()

        self.forwarding: Forwarding | None = None
        to, ca, account = settings.forward_to, settings.forward_ca, settings.forward_account
        if to is not None and ca is not None and account is not None:
            address, token = Address(str(to.service), to.host, to.port), AccountToken(kubernetes, account)
            upstream = UpstreamAdapter(address, ReloadedCa(ca, f"--forward-ca {ca}"), token)
            self.forwarding = Forwarding(upstream, settings.rules)

        self.scaler: Scaler | None = None
        if settings.scaler:
            age_s = settings.max_age
            self.scaler = Scaler(kubernetes, self.poller, settings.rules, max_age_s=age_s, clock=clock.now)

        self.names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
        """The names that the serving certificate is for; kube-apiserver verifies the first one."""
        targets = None
        if settings.service is not None:
            self.names = (*service_names(settings.service, settings.cluster_domain), *self.names)
            if settings.tls_secret is not None:
                secret = ObjectName(settings.service.namespace, settings.tls_secret)
                provided = settings.tls_mode == "provided"
                config_map = settings.ca_configmap and ObjectName(settings.service.namespace, settings.ca_configmap)
                targets = CertificateTargets(
                    kubernetes, secret, settings.apiservice, settings.service, config_map or None, provided=provided
                )
        # Certificates have whole seconds.
        ca_lifetime, lifetime = (timedelta(seconds=int(s)) for s in (settings.tls_ca_duration, settings.tls_duration))
        self.certificate = CertificateController(self.names, targets, Lifetimes(ca_lifetime, lifetime))
        self.tls = ServingTls(settings.tls_min_version)
        self._trusted: AuthConfig | None = None
        self.http = HttpServer(max_connections(), self.tls_context, ClientCertificate)

    def tls_context(self) -> ssl.SSLContext:
        """Return the context of the next handshake, which accepts clients of the CAs published last.

        A CA is only added here; whether it is still trusted is decided at each request.
        """
        config = self.auth_config.current
        if config is not None and config is not self._trusted:
            self.tls.trust(*filter(None, (config.client_ca_pem, config.requestheader_ca_pem)))
            self._trusted = config
        return self.tls.context

    def application(self) -> Router:
        """Return the API with its probes and metrics."""
        live: dict[str, Check] = {"ping": lambda: None, "polling": self._stuck}
        ready: dict[str, Check] = {
            "ping": lambda: None,
            "certificate": lambda: self.certificate.failure(clock.now()),
            "access": self.auth_config.failure,
            "first-poll": self._first_poll,
            "shutdown": lambda: "process is shutting down" if self.http.shutting_down else None,
        }
        warnings: dict[str, Check] = {
            "certificate": lambda: self.certificate.warning(clock.now()),
            "access": self.auth_config.warning,
            "first-poll": lambda: outages(self._context()),
        }
        collectors: list[Collector] = [
            PollCollector(lambda: self.poller.snapshot, clock.now, self._settings.max_age),
            self.reviews,
            self.auth_config,
        ]
        if self.forwarding is not None:
            ready["forwarding"], warnings["forwarding"] = (lambda: None), self.forwarding.warning
            collectors.append(self.forwarding)
        if self.scaler is not None:
            ready["scaling"], warnings["scaling"] = (lambda: None), self.scaler.warning
            collectors.append(self.scaler)
        telemetry = Telemetry(self.certificate, self.limits, self.http, *collectors)
        return Api(
            audit=Audit(self._settings.audit_log, telemetry.observe),
            limits=self.limits,
            authenticator=self.authenticator,
            authorizer=self.authorizer,
            probes=(Probe("/healthz", live), Probe("/livez", live), Probe("/readyz", ready, warnings)),
            telemetry=telemetry,
            context=self._context,
            external_metrics=ExternalMetrics(self._request_tubes, self._scaling),
            version=version_info(version("beanscale")),
            port=self._settings.port,
            discovery_tubes=self._settings.discovery_tubes,
            forwarding=self.forwarding,
        ).application()

    def _context(self) -> EvaluationContext:
        return EvaluationContext(self.poller.snapshot, clock.now(), self._settings.max_age, self._settings.rules)

    def _request_tubes(self, namespace: str, wanted: WantedTubes, now: Instant) -> None:
        self.poller.demand.request(wanted.tubes, now, namespace)
        self.poller.demand.request_ages(wanted.ages, now, namespace)

    def _scaling(self, namespace: str) -> Mapping[str, Any]:
        """Return what explanations show of the scaler."""
        failures = self.scaler.failures(namespace) if self.scaler else {}
        return {
            "enabled": self.scaler is not None,
            "failures": [
                {"autoscaler": name, "reason": each.reason, "sentence": each.sentence}
                for name, each in islice(failures.items(), _MAX_FAILURES)
            ],
        }

    def _stuck(self) -> str | None:
        stuck = self.poller.stuck(clock.now())
        return f"the poll loop of {stuck!r} is stuck" if stuck else None

    def _first_poll(self) -> str | None:
        waiting = self.poller.awaited()
        return f"waiting for the first poll of {listing(waiting)}" if waiting else None
