"""`beanscale serve`: runs the parts, poller → snapshot → API, until told to stop."""

import asyncio
import gc
import signal
import socket
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import structlog
import uvicorn
import uvloop

from app import clock
from app.api.limits import DEADLINE_S
from app.api.tls import TlsHttpProtocol
from app.cluster.client import connect
from app.cluster.errors import KubeconfigError
from app.cluster.identity import Identity
from app.http.process import end_with, tell_of_defect
from app.http.server import HttpServer, leave_at_signals, listen
from app.server_parts import Parts, ServeSettings, names
from app.settings import SettingError

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
        uvloop.run(end_with(_Server(settings, parts).serve(listener)))
    return 0


class _Server:
    """The life of the parts."""

    def __init__(self, settings: ServeSettings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._defect = False

    async def serve(self, listener: socket.socket) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        # There is a certificate from the first moment, so that the kubelet can ask how we are while the real one is
        # awaited; nobody else trusts it, and /readyz says so.
        await Identity(names(self._settings)).check(self._parts.tls.present, clock.now())
        self._parts.client_trust.follow(self._parts.kubernetes)
        http = HttpServer(
            self._http_config(), self._parts.connections, lambda: self._parts.tls.context, TlsHttpProtocol
        )
        leave_at_signals(partial(self._leave, http))
        chores = [asyncio.create_task(chore) for chore in self._chores()]
        for chore in chores:
            chore.add_done_callback(partial(self._leave_after_a_defect, http))
        _log.info("listening", address=listener.getsockname()[0], port=listener.getsockname()[1])
        farewell = await http.serve(listener, DRAIN_S)
        _log.info("stopped", requests_finished=farewell.finished, requests_cut=farewell.cut)
        return 1 if self._defect else 0

    def _chores(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield self._parts.poller.run()
        yield self._parts.identity.keep(self._parts.tls.present)
        yield self._parts.deadline.keep()
        yield self._parts.unnamed_tubes.keep()
        if self._parts.forwarding is not None:
            yield self._parts.forwarding.keep()

    def _leave(self, http: HttpServer, number: signal.Signals) -> None:
        # Ctrl-C is a person's, who doesn't want to wait; before SIGTERM, Kubernetes begins to send others elsewhere.
        delay_s = self._settings.shutdown_delay if number == signal.SIGTERM else 0.0
        _log.info("leaving", signal=number.name, serving_for_s=delay_s, requests=self._parts.requests.under_way)
        self._parts.identity.retire()
        http.leave(delay_s)

    def _leave_after_a_defect(self, http: HttpServer, chore: asyncio.Task[None]) -> None:
        tell_of_defect(chore)
        self._defect = True
        http.leave()

    def _http_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._parts.application(),
            http="httptools",
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the source in the audit log is the peer's, not what anybody says
        )
