"""`beanscale console`: puts the parts together, poller and watcher → history → pages, until told to stop."""

import asyncio
import signal
import socket
from functools import partial
from importlib.metadata import version

import structlog
import uvicorn
from starlette.routing import BaseRoute

from app import clock
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.beanstalkd.reading import ServerState
from app.console.actions import Actions
from app.console.autoscalers import Known, Watcher
from app.console.feed import Feeds
from app.console.jobs import Looks, Searches
from app.console.load_test import Lab, Labs
from app.console.login import SigningIn
from app.console.middleware import Guard, is_loopback_address
from app.console.overview import View
from app.console.page_data import PageAnswers
from app.console.passwords import Password, ReadPassword, from_file, from_secret, make_password
from app.console.rendering import Rendering, static_files
from app.console.routes import Pages
from app.console.sampling import Sampler
from app.console.sessions import Attempts, Session, Sessions
from app.console.settings import ConsoleSettings
from app.console.threads import Threads
from app.http.connection import BodyConnection
from app.http.connections import Connections
from app.http.server import HttpServer, end_with, leave_at_signals, listen, most_connections, tell_of_defect
from app.kube.client import Kubernetes, connect
from app.kube.errors import KubeconfigError
from app.metrics.metric import Evaluation
from app.metrics.resolve import demanded_by_rules
from app.settings import SettingError

GOODBYE_S = 2.0
"""How long requests under way may still take once we leave."""
_ACTIONS_AT_ONCE = 8

_log = structlog.get_logger()


def run(settings: ConsoleSettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises SettingError."""
    check(settings)
    kubernetes, why = _cluster(settings)
    with listen(settings.bind, settings.port) as listener:
        asyncio.run(end_with(_serve(settings, kubernetes, why, listener)))
    return 0


def check(settings: ConsoleSettings) -> None:
    """Whether nobody gets in by oversight. Raises SettingError."""
    at_home = is_loopback_address(settings.bind)
    if settings.auth == "none" and not at_home and not settings.force_open:
        raise SettingError(
            f"--auth none on {settings.bind} lets everybody who reaches it change every queue; listen on 127.0.0.1, or"
            " give --force-open if something else before it asks who comes"
        )
    given = settings.password_secret is not None or settings.password_file is not None
    if settings.auth == "password" and not given and not at_home:
        raise SettingError(
            f"listening on {settings.bind} needs a password that others can't read in the log: give --password-file or"
            " --password-secret"
        )
    if settings.password_secret is not None and not settings.kubernetes:
        raise SettingError("--password-secret needs a cluster: leave out --no-kubernetes")
    if settings.password_secret is not None and settings.password_file is not None:
        raise SettingError("there is one password: give --password-file or --password-secret, not both")


def _cluster(settings: ConsoleSettings) -> tuple[Kubernetes | None, str | None]:
    """The cluster, or why there is none. Raises SettingError where one was asked for and can't be used."""
    if not settings.kubernetes:
        return None, "the console was told to leave Kubernetes alone (--no-kubernetes)"
    try:
        return connect(settings.kubeconfig, settings.context), "the autoscalers are being looked for"
    except KubeconfigError as error:
        if settings.kubeconfig or settings.context or settings.password_secret:
            raise SettingError(str(error)) from error
        return None, str(error)


async def _serve(
    settings: ConsoleSettings, kubernetes: Kubernetes | None, why: str | None, listener: socket.socket
) -> int:
    return await _Console(settings, kubernetes, why).serve(listener)


class _Console:
    """The parts, and how they hang together."""

    def __init__(self, settings: ConsoleSettings, kubernetes: Kubernetes | None, why: str | None) -> None:
        self._settings = settings
        named = demanded_by_rules(settings.rules)
        self._poller = Poller(settings.servers, clock.now, Demand(named.tubes, named.ages))
        self._sampler = Sampler(self._poller, settings.max_age, clock.now)
        self._watcher = Watcher(
            kubernetes, settings.namespaces, Known(why), self._evaluation, self._sampler.events.add, clock.now
        )
        self._sessions = Sessions()
        self._password = self._choose_password(kubernetes)
        self._everybody = Session(float("inf"), "everybody") if settings.auth == "none" else None
        self._feeds = Feeds(clock.now)
        self._lab = Lab(clock.now)
        self._connections = Connections(most_connections())
        self._defect = False

    async def serve(self, listener: socket.socket) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        http = HttpServer(self._http_config(), self._connections, protocol=BodyConnection)
        leave_at_signals(partial(self._leave, http))
        loops = [self._poller.run(), self._sampler.run()]
        loops += [self._password.keep()] if self._password else []
        loops += [self._watcher.run()] if self._watcher.kubernetes else []
        chores = [asyncio.create_task(loop) for loop in loops]
        for chore in chores:
            chore.add_done_callback(partial(self._leave_after_a_defect, http))
        _log.info("listening", page=self._url(listener), read_only=self._settings.read_only)
        farewell = await http.serve(listener, GOODBYE_S)
        _log.info("stopped", requests_finished=farewell.finished, requests_cut=farewell.cut)
        return 1 if self._defect else 0

    def _leave(self, http: HttpServer, number: signal.Signals) -> None:
        _log.info("leaving", signal=number.name, pages=len(self._feeds))
        self._lab.leave()
        self._feeds.leave()
        http.leave()

    def _leave_after_a_defect(self, http: HttpServer, chore: asyncio.Task[None]) -> None:
        tell_of_defect(chore)
        self._defect = True
        self._lab.leave()
        self._feeds.leave()
        http.leave()

    def _choose_password(self, kubernetes: Kubernetes | None) -> Password | None:
        if self._settings.auth == "none":
            return None
        return Password(_reading_password(self._settings, kubernetes), self._sessions.end_all)

    def _http_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._guard(),
            http="httptools",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the source in the audit log is the peer's, not what anybody says
        )

    def _guard(self) -> Guard:
        settings, static = self._settings, static_files()
        rendering = Rendering(settings.path_prefix, static, read_only=settings.read_only, version=version("beanscale"))
        signing_in = SigningIn(
            self._password,
            self._sessions,
            Attempts(clock.now().monotonic_s),
            rendering,
            settings.path_prefix,
            clock.now,
        )
        answers = PageAnswers(self._view, self._poller.demand, self._watcher, clock.now, self._lab.told)
        return Guard(
            Pages(answers, self._feeds, rendering, static, signing_in).application(self._more_routes()),
            self._sessions,
            self._everybody,
            only_loopback=settings.auth == "none" and not settings.force_open,
            read_only=settings.read_only,
            prefix=settings.path_prefix,
            clock=clock.now,
        )

    def _more_routes(self) -> list[BaseRoute]:
        def find(server: str, member: str | None) -> ServerState | None:
            return self._view().state(server, member)

        threads = Threads(_ACTIONS_AT_ONCE, "action")
        labs = Labs(self._lab, self._view, self._watcher.known, threads)
        actions = Actions(find, labs, threads, self._sampler.events.add, clock.now)
        return [*actions.routes(), *Looks(find).routes(), *Searches(find).routes()]

    def _view(self) -> View:
        sampler = self._sampler
        return View(
            self._poller.snapshot,
            clock.now(),
            self._settings.max_age,
            sampler.history,
            sampler.events,
            sampler.seen,
            self._watcher.known.look.links,
            self._settings.rules,
        )

    def _evaluation(self) -> Evaluation:
        return Evaluation(self._poller.snapshot, clock.now(), self._settings.max_age, self._settings.rules)

    def _url(self, listener: socket.socket) -> str:
        host, port = listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self._settings.path_prefix}/"


def _reading_password(settings: ConsoleSettings, kubernetes: Kubernetes | None) -> ReadPassword:
    """Where the password comes from. Without any, one is made for this run and told in the log, as Jupyter does."""
    if settings.password_file is not None:
        return from_file(settings.password_file)
    if settings.password_secret is not None and kubernetes is not None:
        return from_secret(kubernetes, settings.password_secret)
    password = make_password()
    _log.info("made a password for this run; --password-file keeps one", password=password.decode())
    return lambda: password
