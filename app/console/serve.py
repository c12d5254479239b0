"""`beanscale console`: connects poller, history, autoscaler poller and routes, and serves until a signal."""

import socket
import sys
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import structlog
import uvloop

from app import clock
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.console.actions import Actions
from app.console.autoscalers import AutoscalerPoller, AutoscalerStore
from app.console.feed import Feeds
from app.console.history import Recorder
from app.console.jobs import JobRoutes
from app.console.load_test import LoadTest
from app.console.login import LoginLimiter, LoginRoutes, Session, Sessions
from app.console.middleware import SecurityMiddleware, is_loopback_address
from app.console.overview import View
from app.console.own_changes import OwnChanges
from app.console.page_data import PageData
from app.console.passwords import Password, ReadPassword, from_file, from_secret, make_password
from app.console.rendering import Rendering, StaticFiles
from app.console.routes import Routes
from app.console.threads import Threads
from app.http.server import HttpServer, listen, max_connections, run_and_exit
from app.http.tls import CertificateFiles
from app.kube.client import Kubernetes, connect
from app.kube.errors import KubeconfigError
from app.metrics.resolve import wanted_by_rules
from app.metrics.rules import Rules
from app.settings import Network, ObjectName, Server, SettingError, host_port

SHUTDOWN_S = 2.0
"""Seconds that requests in flight may still take after a signal."""
_MAX_ACTIONS = 8

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """The options of `beanscale console`."""

    servers: tuple[Server, ...]
    bind: str
    """An IP address of this machine, or :: for all, or 0.0.0.0 for all of IPv4."""
    port: int
    auth: Literal["password", "none"]
    force_open: bool
    """Allow auth "none" on a non-loopback address."""
    trusted_proxies: tuple[Network, ...]
    """Proxies whose X-Forwarded-For is believed."""
    password_secret: ObjectName | None
    password_file: Path | None
    read_only: bool
    tls_cert: Path | None
    """PEM file with the certificate, and tls_key with its key; None: plain HTTP."""
    tls_key: Path | None
    path_prefix: str
    """Empty, or `/x`: the path of the pages on their host."""
    rules: Rules
    max_age: float
    """Seconds; older values are shown as unknown."""
    kubernetes: bool
    kubeconfig: Path | None
    context: str | None
    namespaces: tuple[str, ...]
    """Namespaces of the autoscalers to show; empty: all."""


def run(settings: ConsoleSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. Raise SettingError, KubeconfigError if one was named."""
    check(settings)
    sys.setswitchinterval(0.001)  # the pages' thread must not keep the event loop waiting for the default of 5 ms
    pair = settings.tls_cert, settings.tls_key
    certificate = CertificateFiles(pair[0], pair[1]) if pair[0] and pair[1] else None
    kubernetes, reason = None, "the console runs without Kubernetes (--no-kubernetes)"
    if settings.kubernetes:
        try:
            kubernetes = connect(settings.kubeconfig, settings.context)
            reason = "waiting for the first reply of kube-apiserver"
        except KubeconfigError as error:
            if settings.kubeconfig or settings.context or settings.password_secret:
                raise
            reason = str(error)
    with listen(settings.bind, settings.port) as listener:
        # For each TLS connection, of which clients may open a thousand, asyncio's own loop takes 275 kB, uvloop 38 kB.
        uvloop.run(run_and_exit(_serve(settings, kubernetes, reason, listener, certificate)))
    return 0


def check(settings: ConsoleSettings) -> None:
    """Raise SettingError if the settings let anyone in by oversight, or contradict each other."""
    local = is_loopback_address(settings.bind)
    if settings.auth == "none" and not local and not settings.force_open:
        raise SettingError(
            f"--auth none on {settings.bind} lets anyone change every queue; use --bind 127.0.0.1, or --force-open"
            " behind an authenticating proxy"
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingError("TLS needs a certificate and its key: use --tls-cert and --tls-key together")
    stored = settings.password_secret is not None or settings.password_file is not None
    if settings.auth == "password" and not stored and not local:
        raise SettingError(
            f"--bind {settings.bind} requires --password-file or --password-secret: a generated password would be"
            " logged"
        )
    if settings.password_secret is not None and not settings.kubernetes:
        raise SettingError("--password-secret needs a cluster: remove --no-kubernetes")
    if settings.password_secret is not None and settings.password_file is not None:
        raise SettingError("there is one password: use --password-file or --password-secret, not both")


def _password_reader(settings: ConsoleSettings, kubernetes: Kubernetes | None) -> ReadPassword:
    if settings.password_file is not None:
        return from_file(settings.password_file)
    if settings.password_secret is not None and kubernetes is not None:
        return from_secret(kubernetes, settings.password_secret)
    password = make_password()  # logged, as Jupyter does
    _log.info("password generated for this run", password=password.decode(), hint="--password-file keeps one")
    return lambda: password


async def _serve(
    settings: ConsoleSettings,
    kubernetes: Kubernetes | None,
    reason: str,
    listener: socket.socket,
    certificate: CertificateFiles | None,
) -> int:
    rules = wanted_by_rules(settings.rules)
    poller = Poller(settings.servers, clock.now, Demand(rules.tubes, rules.ages))
    thread = ThreadPoolExecutor(1, thread_name_prefix="pages")
    own_changes = OwnChanges()
    recorder = Recorder(poller, settings.max_age, clock.now, thread)

    store, add_events = AutoscalerStore(reason), recorder.events.add

    def view() -> View:
        known = recorder.history, recorder.events, recorder.past, store.result.links, settings.rules
        return View(poller.snapshot, clock.now(), settings.max_age, *known, own_changes)

    autoscalers: AutoscalerPoller | None = None
    if kubernetes:
        context, namespaces = (lambda: view().evaluation), settings.namespaces
        autoscalers = AutoscalerPoller(
            kubernetes, namespaces, store, context, poller.demand, add_events, clock.now, thread
        )
    sessions, load_test = Sessions(), LoadTest(clock.now, view, store)
    reader = _password_reader(settings, kubernetes) if settings.auth == "password" else None
    password = Password(reader, sessions.end_all) if reader else None
    static = StaticFiles()
    rendering = Rendering(settings.path_prefix, static, read_only=settings.read_only, version=version("beanscale"))
    limiter = LoginLimiter(clock.now().monotonic_s)
    login = LoginRoutes(password, sessions, limiter, rendering, settings.path_prefix, clock.now)
    threads = Threads(_MAX_ACTIONS, "action")
    servers = {server.name: server for server in settings.servers}
    actions = Actions(servers, load_test, threads, add_events, clock.now, own_changes)
    more = [*actions.routes(), *JobRoutes(servers).routes()]
    data = PageData(view, poller.demand, thread, store, autoscalers, load_test.to_json)
    feeds = Feeds(data, clock.now)
    application = SecurityMiddleware(
        Routes(data, feeds, rendering, static, login).application(more),
        sessions,
        Session(float("inf"), "everyone") if password is None else None,
        only_loopback=settings.auth == "none" and not settings.force_open,
        read_only=settings.read_only,
        prefix=settings.path_prefix,
        clock=clock.now,
        trusted_proxies=settings.trusted_proxies,
    )

    def end_streams() -> None:
        load_test.shut_down()
        feeds.shut_down()

    async def record() -> None:
        async for _ in recorder.run():
            feeds.wake()

    background: list[Coroutine[Any, Any, None]] = [poller.run(), record()]
    background += [password.run()] if password else []
    background += [autoscalers.run()] if autoscalers else []
    background += [certificate.run()] if certificate else []
    scheme, address = "https" if certificate else "http", host_port(*listener.getsockname()[:2])
    page = f"{scheme}://{address}{settings.path_prefix}/"
    _log.info("listening", page=page, read_only=settings.read_only)
    server = HttpServer(max_connections(), (lambda: certificate.context) if certificate else None)
    return await server.serve_until_stopped(
        application, listener, SHUTDOWN_S, background=background, on_shutdown=end_streams
    )
