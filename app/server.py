"""`beanscale serve`: puts the parts together, poller → snapshot → API, and runs them until told to stop."""

import asyncio
import gc
import os
import signal
import socket
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NoReturn

import structlog
import uvicorn
import uvloop

from app import clock
from app.api.application import Application
from app.api.audit import Audit
from app.api.authentication import Authenticator
from app.api.authorization import Authorizer
from app.api.client_trust import ClientTrustKeeper
from app.api.forwarding import Forwarding
from app.api.handler import Handler
from app.api.limits import DEADLINE_S, Deadline, Requests
from app.api.probes import Check, Probe
from app.api.telemetry import ReviewFigures, Telemetry
from app.api.tls import ServingTls, TlsHttpProtocol
from app.api.values import Values
from app.api.version import version_info
from app.clock import Instant
from app.cluster.client import KubeconfigError, Kubernetes, connect
from app.cluster.credentials import ReloadedCa
from app.cluster.identity import Identity, Registration, service_names
from app.cluster.incumbent import Address, Incumbent
from app.cluster.renewal import Lives
from app.cluster.reviews import review_access, review_token
from app.http.connections import Connections
from app.http.server import HttpServer, leave_at_signals, listen, most_connections
from app.logs import AuditLog
from app.metrics.demanded import Demanded, demanded_by_rules
from app.metrics.question import Evaluation
from app.metrics.rule import Rules
from app.settings import ObjectName, Server, ServicePort, SettingError
from app.tubes.demand import Demand
from app.tubes.poller import Poller

_log = structlog.get_logger()

TlsMode = Literal["self", "provided"]
"""Who makes the serving certificate: we, or somebody else who puts it into the Secret."""
DRAIN_S = DEADLINE_S + 1
"""How long requests under way may still take once we leave: as long as any request may."""


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


def run(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises SettingError."""
    try:
        kubernetes = connect(settings.kubeconfig, settings.context)
        forwarding = _forwarding(settings, kubernetes)
    except KubeconfigError as error:
        raise SettingError(str(error)) from error
    # What is loaded by now stays for good: walking through it takes the garbage collector 10 ms and more, each time.
    gc.freeze()
    with listen(settings.bind, settings.port) as listener:
        uvloop.run(_serve_and_leave(settings, kubernetes, forwarding, listener))
    return 0


async def _serve_and_leave(
    settings: ServeSettings, kubernetes: Kubernetes, forwarding: Forwarding | None, listener: socket.socket
) -> NoReturn:
    try:
        status = await _Server(settings, kubernetes, forwarding).serve(listener)
    except Exception:  # noqa: BLE001 - the loop's edge, see below
        _log.exception("ended unexpectedly")
        status = 1
    sys.stderr.flush()
    # Threads may still wait for DNS or for kube-apiserver, up to a minute, and Python would wait for them.
    os._exit(status)


class _Server:
    """The parts, and how they hang together."""

    def __init__(self, settings: ServeSettings, kubernetes: Kubernetes, forwarding: Forwarding | None) -> None:
        self._settings = settings
        self._kubernetes = kubernetes
        self._forwarding = forwarding
        self._forwardings = [forwarding] if forwarding is not None else []
        named = demanded_by_rules(settings.rules)
        self._poller = Poller(settings.servers, clock.now, Demand(named.tubes, named.ages))
        self._reviews = ReviewFigures()
        self._authenticator = Authenticator(partial(review_token, kubernetes), self._reviews.observe)
        self._authorizer = Authorizer(partial(review_access, kubernetes), self._reviews.observe)
        self._tls = ServingTls()
        self._client_trust = ClientTrustKeeper(self._authenticator, self._tls)
        self._connections = Connections(most_connections())
        self._requests = Requests()
        self._deadline = Deadline()
        self._defect = False
        self._identity = Identity(_names(settings), _registration(settings, kubernetes), _lives(settings))

    async def serve(self, listener: socket.socket) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        # There is a certificate from the first moment, so that the kubelet can ask how we are while the real one is
        # awaited; nobody else trusts it, and /readyz says so.
        await Identity(_names(self._settings)).check(self._tls.present, clock.now())
        self._client_trust.follow(self._kubernetes)
        http = HttpServer(self._http_config(), self._connections, lambda: self._tls.context, TlsHttpProtocol)
        leave_at_signals(partial(self._leave, http))
        chores = [
            asyncio.create_task(chore)
            for chore in (
                self._poller.run(),
                self._identity.keep(self._tls.present),
                self._deadline.keep(),
                *(each.keep() for each in self._forwardings),
            )
        ]
        for chore in chores:
            chore.add_done_callback(partial(self._leave_after_a_defect, http))
        _log.info("listening", address=listener.getsockname()[0], port=listener.getsockname()[1])
        farewell = await http.serve(listener, DRAIN_S)
        _log.info("stopped", requests_finished=farewell.finished, requests_cut=farewell.cut)
        return 1 if self._defect else 0

    def _leave(self, http: HttpServer, number: signal.Signals) -> None:
        # Ctrl-C is a person's, who doesn't want to wait; before SIGTERM, Kubernetes begins to send others elsewhere.
        delay_s = self._settings.shutdown_delay if number == signal.SIGTERM else 0.0
        _log.info("leaving", signal=number.name, serving_for_s=delay_s, requests=self._requests.under_way)
        self._identity.retire()
        http.leave(delay_s)

    def _leave_after_a_defect(self, http: HttpServer, chore: asyncio.Task[None]) -> None:
        # A chore never ends by itself. If one does, that's a defect: Kubernetes starts us anew, and the log says why.
        _log.error(
            "ended unexpectedly",
            chore=repr(chore.get_coro()),
            exc_info=None if chore.cancelled() else chore.exception(),
        )
        self._defect = True
        http.leave()

    def _http_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._application(),
            http="httptools",
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the source in the audit log is the peer's, not what anybody says
        )

    def _application(self) -> Application:
        live: dict[str, Check] = {"ping": lambda: None, "polling": self._polling}
        ready: dict[str, Check] = {
            "ping": lambda: None,
            "certificate": lambda: self._identity.failure(clock.now()),
            "access": self._client_trust.check,
            "first-poll": self._first_poll,
            "shutdown": self._shutdown,
        }
        remarks: dict[str, Check] = {
            "certificate": lambda: self._identity.remark(clock.now()),
            "access": self._client_trust.remark,
            "first-poll": self._outages,
        }
        for forwarding in self._forwardings:
            ready["forwarding"], remarks["forwarding"] = (lambda: None), forwarding.remark
        telemetry = Telemetry(
            self._poller,
            self._identity,
            self._requests,
            self._connections,
            clock.now,
            self._reviews,
            self._client_trust,
            *self._forwardings,
        )
        handler = Handler(
            livez=Probe("/livez", live),
            readyz=Probe("/readyz", ready, remarks),
            telemetry=telemetry,
            evaluation=self._evaluation,
            values=Values(self._want),
            version=version_info(version("beanscale")),
            port=self._settings.port,
            forwarding=self._forwarding,
        )
        return Application(
            self._requests,
            self._deadline,
            self._authenticator,
            self._authorizer,
            handler,
            telemetry,
            Audit(self._settings.audit_log),
        )

    def _evaluation(self) -> Evaluation:
        return Evaluation(self._poller.snapshot, clock.now(), self._settings.max_age, self._settings.rules)

    def _want(self, demanded: Demanded, now: Instant) -> None:
        self._poller.demand.want(demanded.tubes, now)
        self._poller.demand.want_ages(demanded.ages, now)

    def _polling(self) -> str | None:
        stuck = self._poller.stuck(clock.now())
        return f"the poll loop of {stuck!r} doesn't turn any more" if stuck else None

    def _first_poll(self) -> str | None:
        waiting = self._poller.awaited()
        return f"the first answer of {', '.join(waiting)} is awaited" if waiting else None

    def _outages(self) -> str | None:
        failed = [
            f"{state.server.name!r}{f' at {state.member}' if state.member else ''}: {state.failure.message}"
            for state in self._poller.snapshot.servers
            if state.failure
        ]
        return f"can't be read: {'; '.join(failed)}" if failed else None

    def _shutdown(self) -> str | None:
        return "process is shutting down" if self._connections.leaving else None


def _names(settings: ServeSettings) -> tuple[str, ...]:
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
    return Forwarding(incumbent, settings.rules.metrics)
