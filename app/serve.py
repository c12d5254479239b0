"""What `beanscale serve` consists of, made from what it was told, and how the parts hang together.

`beanscale serve`: runs the parts, poller → snapshot → API, until told to stop.
"""

import gc
import socket
import ssl
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import structlog
import uvloop
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
from app.kube.auth_config import AuthConfig, AuthConfigWatcher
from app.kube.certificates.controller import CertificateController, CertificateTargets, service_names
from app.kube.certificates.renewal import Lifetimes
from app.kube.client import Kubernetes, connect
from app.kube.credentials import ReloadedCa
from app.kube.errors import KubeconfigError
from app.kube.reviews import review_access, review_token
from app.kube.upstream import Address, UpstreamAdapter
from app.logs import AuditLog
from app.metrics.query import EvaluationContext, WantedTubes
from app.metrics.resolve import wanted_by_rules
from app.metrics.rules import Rules
from app.metrics.tenancy import outages
from app.settings import ObjectName, Server, ServicePort, SettingError

TlsMode = Literal["self", "provided"]
"""Who makes the serving certificate: we, or somebody else who puts it into the Secret."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `beanscale serve` was told."""

    servers: tuple[Server, ...]
    bind: str
    port: int
    max_age: float
    """Seconds."""
    rules: Rules
    shutdown_delay: float
    """Seconds."""
    service: ObjectName | None
    tls_secret: str | None
    tls_mode: TlsMode
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


class Parts:
    """The parts. What runs them is server.py."""

    def __init__(self, settings: ServeSettings, kubernetes: Kubernetes) -> None:
        """Raises KubeconfigError where the CA to forward by can't be used."""
        self._settings = settings
        self.kubernetes = kubernetes
        self.forwarding = _forwarding(settings, kubernetes)
        named = wanted_by_rules(settings.rules)
        self.poller = Poller(settings.servers, clock.now, Demand(named.tubes, named.ages))
        self._reviews = ReviewCollector()
        self.auth_config = AuthConfigWatcher()
        authenticator = Authenticator(self.auth_config, partial(review_token, kubernetes), self._reviews.observe)
        self._authenticator = authenticator
        self._authorizer = Authorizer(partial(review_access, kubernetes), self._reviews.observe)
        self.tls = ServingTls()
        self._trusted: AuthConfig | None = None
        self.http = HttpServer(max_connections(), self.tls_context, ClientCertificate)
        self.limits = Limits(authenticator)
        self.tubes_without_metric = TubesWithoutMetric(lambda: self.poller.snapshot, settings.rules)
        self.identity = CertificateController(names(settings), _registration(settings, kubernetes), _lives(settings))

    def application(self) -> Router:
        live: dict[str, Check] = {"ping": lambda: None, "polling": self._polling}
        ready: dict[str, Check] = {
            "ping": lambda: None,
            "certificate": lambda: self.identity.failure(clock.now()),
            "access": self.auth_config.failure,
            "first-poll": self._first_poll,
            "shutdown": self._shutdown,
        }
        remarks: dict[str, Check] = {
            "certificate": lambda: self.identity.warning(clock.now()),
            "access": self.auth_config.warning,
            "first-poll": lambda: outages(self._evaluation()),
        }
        if self.forwarding is not None:
            ready["forwarding"], remarks["forwarding"] = (lambda: None), self.forwarding.warning
        telemetry = Telemetry(
            self.identity,
            self.limits,
            self.http,
            PollCollector(lambda: self.poller.snapshot, clock.now, self._settings.max_age),
            self._reviews,
            self.auth_config,
            *([self.forwarding] if self.forwarding is not None else []),
        )
        return Api(
            audit=Audit(self._settings.audit_log, telemetry.observe),
            limits=self.limits,
            authenticator=self._authenticator,
            authorizer=self._authorizer,
            probes=(Probe("/healthz", live), Probe("/livez", live), Probe("/readyz", ready, remarks)),
            telemetry=telemetry,
            context=self._evaluation,
            external_metrics=ExternalMetrics(self._want),
            version=version_info(version("beanscale")),
            port=self._settings.port,
            forwarding=self.forwarding,
        ).application()

    def tls_context(self) -> ssl.SSLContext:
        """Return the context of the next handshake, which accepts clients of the CAs published last.

        A CA is only added here; whether it is still trusted is decided at each request.
        """
        config = self.auth_config.current
        if config is not None and config is not self._trusted:
            self.tls.trust(*filter(None, (config.client_ca_pem, config.requestheader_ca_pem)))
            self._trusted = config
        return self.tls.context

    def _evaluation(self) -> EvaluationContext:
        return EvaluationContext(self.poller.snapshot, clock.now(), self._settings.max_age, self._settings.rules)

    def _want(self, wanted: WantedTubes, now: Instant) -> None:
        self.poller.demand.request(wanted.tubes, now)
        self.poller.demand.request_ages(wanted.ages, now)

    def _polling(self) -> str | None:
        stuck = self.poller.stuck(clock.now())
        return f"the poll loop of {stuck!r} doesn't turn any more" if stuck else None

    def _first_poll(self) -> str | None:
        waiting = self.poller.awaited()
        return f"the first answer of {', '.join(waiting)} is awaited" if waiting else None

    def _shutdown(self) -> str | None:
        return "process is shutting down" if self.http.shutting_down else None


def names(settings: ServeSettings) -> tuple[str, ...]:
    local = ("localhost", "127.0.0.1", "::1")
    return (*service_names(settings.service, settings.cluster_domain), *local) if settings.service else local


def _lives(settings: ServeSettings) -> Lifetimes:
    # Certificates count whole seconds.
    return Lifetimes(timedelta(seconds=int(settings.tls_ca_duration)), timedelta(seconds=int(settings.tls_duration)))


def _registration(settings: ServeSettings, kubernetes: Kubernetes) -> CertificateTargets | None:
    if settings.service is None or settings.tls_secret is None:
        return None
    secret = ObjectName(settings.service.namespace, settings.tls_secret)
    return CertificateTargets(
        kubernetes, secret, settings.apiservice, settings.service, provided=settings.tls_mode == "provided"
    )


def _forwarding(settings: ServeSettings, kubernetes: Kubernetes) -> Forwarding | None:
    """Raises KubeconfigError where the CA can't be used."""
    to, ca = settings.forward_to, settings.forward_ca
    if to is None or ca is None:
        return None
    address = Address(str(to.service), to.host, to.port)
    incumbent = UpstreamAdapter(address, ReloadedCa(ca, f"--forward-ca {ca}"), kubernetes.authorization)
    return Forwarding(incumbent, settings.rules)


_log = structlog.get_logger()

DRAIN_S = DEADLINE_S + 1
"""How long requests under way may still take once we leave: as long as any request may."""


def run(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises SettingError."""
    try:
        parts = Parts(settings, connect(settings.kubeconfig, settings.context))
    except KubeconfigError as error:
        raise SettingError(str(error)) from error
    # What is loaded by now stays for good: walking through it takes the garbage collector 10 ms and more, each time.
    gc.freeze()
    with listen(settings.bind, settings.port) as listener:
        uvloop.run(run_and_exit(_Server(settings, parts).serve(listener)))
    return 0


class _Server:
    """The life of the parts."""

    def __init__(self, settings: ServeSettings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts

    async def serve(self, listener: socket.socket) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        # There is a certificate from the first moment, so that the kubelet can ask how we are while the real one is
        # awaited; nobody else trusts it, and /readyz says so.
        await CertificateController(names(self._settings)).check(self._parts.tls.present, clock.now())
        self._parts.auth_config.start(self._parts.kubernetes)
        _log.info("listening", address=listener.getsockname()[0], port=listener.getsockname()[1])
        return await self._parts.http.serve_until_stopped(
            self._parts.application(),
            listener,
            DRAIN_S,
            delay_s=self._settings.shutdown_delay,
            background=self._background_tasks(),
            on_shutdown=self._parts.identity.stop,
        )

    def _background_tasks(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield self._parts.poller.run()
        yield self._parts.identity.run(self._parts.tls.present)
        yield self._parts.limits.run()
        yield self._parts.tubes_without_metric.run()
        if self._parts.forwarding is not None:
            yield self._parts.forwarding.run()
