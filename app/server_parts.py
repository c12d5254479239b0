"""What `beanscale serve` consists of, made from what it was told, and how the parts hang together."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from app import clock
from app.api.application import Application
from app.api.audit import Audit
from app.api.authentication import Authenticator
from app.api.authorization import Authorizer
from app.api.client_trust import ClientTrustKeeper
from app.api.forwarding import Forwarding
from app.api.handler import Handler
from app.api.limits import Deadline, Requests
from app.api.probes import Check, Probe
from app.api.reading_figures import ReadingFigures
from app.api.telemetry import ReviewFigures, Telemetry
from app.api.tls import ServingTls
from app.api.unnamed import UnnamedTubes
from app.api.values import Values
from app.api.version import version_info
from app.clock import Instant
from app.cluster.client import Kubernetes
from app.cluster.credentials import ReloadedCa
from app.cluster.identity import Identity, Registration, service_names
from app.cluster.incumbent import Address, Incumbent
from app.cluster.renewal import Lives
from app.cluster.reviews import review_access, review_token
from app.http.connections import Connections
from app.http.server import most_connections
from app.logs import AuditLog
from app.metrics.demanded import Demanded, demanded_by_rules
from app.metrics.freshness import outages
from app.metrics.question import Evaluation
from app.metrics.rule import Rules
from app.settings import ObjectName, Server, ServicePort
from app.tubes.demand import Demand
from app.tubes.poller import Poller

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
        named = demanded_by_rules(settings.rules)
        self.poller = Poller(settings.servers, clock.now, Demand(named.tubes, named.ages))
        self._reviews = ReviewFigures()
        self._authenticator = Authenticator(partial(review_token, kubernetes), self._reviews.observe)
        self._authorizer = Authorizer(partial(review_access, kubernetes), self._reviews.observe)
        self.tls = ServingTls()
        self.client_trust = ClientTrustKeeper(self._authenticator, self.tls)
        self.connections = Connections(most_connections())
        self.requests = Requests()
        self.deadline = Deadline()
        self.unnamed_tubes = UnnamedTubes(lambda: self.poller.snapshot, settings.rules)
        self.identity = Identity(names(settings), _registration(settings, kubernetes), _lives(settings))

    def application(self) -> Application:
        live: dict[str, Check] = {"ping": lambda: None, "polling": self._polling}
        ready: dict[str, Check] = {
            "ping": lambda: None,
            "certificate": lambda: self.identity.failure(clock.now()),
            "access": self.client_trust.check,
            "first-poll": self._first_poll,
            "shutdown": self._shutdown,
        }
        remarks: dict[str, Check] = {
            "certificate": lambda: self.identity.remark(clock.now()),
            "access": self.client_trust.remark,
            "first-poll": lambda: outages(self._evaluation()),
        }
        if self.forwarding is not None:
            ready["forwarding"], remarks["forwarding"] = (lambda: None), self.forwarding.remark
        telemetry = Telemetry(
            self.identity,
            self.requests,
            self.connections,
            ReadingFigures(lambda: self.poller.snapshot, clock.now, self._settings.max_age),
            self._reviews,
            self.client_trust,
            *([self.forwarding] if self.forwarding is not None else []),
        )
        handler = Handler(
            livez=Probe("/livez", live),
            readyz=Probe("/readyz", ready, remarks),
            telemetry=telemetry,
            evaluation=self._evaluation,
            values=Values(self._want),
            version=version_info(version("beanscale")),
            port=self._settings.port,
            forwarding=self.forwarding,
        )
        return Application(
            self.requests,
            self.deadline,
            self._authenticator,
            self._authorizer,
            handler,
            telemetry,
            Audit(self._settings.audit_log),
        )

    def _evaluation(self) -> Evaluation:
        return Evaluation(self.poller.snapshot, clock.now(), self._settings.max_age, self._settings.rules)

    def _want(self, demanded: Demanded, now: Instant) -> None:
        self.poller.demand.want(demanded.tubes, now)
        self.poller.demand.want_ages(demanded.ages, now)

    def _polling(self) -> str | None:
        stuck = self.poller.stuck(clock.now())
        return f"the poll loop of {stuck!r} doesn't turn any more" if stuck else None

    def _first_poll(self) -> str | None:
        waiting = self.poller.awaited()
        return f"the first answer of {', '.join(waiting)} is awaited" if waiting else None

    def _shutdown(self) -> str | None:
        return "process is shutting down" if self.connections.leaving else None


def names(settings: ServeSettings) -> tuple[str, ...]:
    local = ("localhost", "127.0.0.1", "::1")
    return (*service_names(settings.service, settings.cluster_domain), *local) if settings.service else local


def _lives(settings: ServeSettings) -> Lives:
    # Certificates count whole seconds.
    return Lives(timedelta(seconds=int(settings.tls_ca_duration)), timedelta(seconds=int(settings.tls_duration)))


def _registration(settings: ServeSettings, kubernetes: Kubernetes) -> Registration | None:
    if settings.service is None or settings.tls_secret is None:
        return None
    secret = ObjectName(settings.service.namespace, settings.tls_secret)
    return Registration(
        kubernetes, secret, settings.apiservice, settings.service, provided=settings.tls_mode == "provided"
    )


def _forwarding(settings: ServeSettings, kubernetes: Kubernetes) -> Forwarding | None:
    """Raises KubeconfigError where the CA can't be used."""
    to, ca = settings.forward_to, settings.forward_ca
    if to is None or ca is None:
        return None
    address = Address(str(to.service), to.host, to.port)
    incumbent = Incumbent(address, ReloadedCa(ca, f"--forward-ca {ca}"), kubernetes.authorization)
    return Forwarding(incumbent, settings.rules)
