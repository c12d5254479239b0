"""What both HTTP servers of beanscale are: a port that is ours or a clear error, bounded connections, a polite end.

What the processes of both long-lived servers have in common: how they end, and what a chore that ends means.
"""

import asyncio
import ipaddress
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, NoReturn

import structlog
import uvicorn
from uvicorn.server import ServerState

from app.http.connection import PATIENCE_S, HttpConnection, Phase
from app.http.connections import MOST_CONNECTIONS, Connections
from app.ratelimit import RateLimitedWarning
from app.settings import SettingError

_log = structlog.get_logger()


async def end_with(serving: Awaitable[int]) -> NoReturn:
    """End the process with the status that `serving` comes to, or with 1 and a traceback where it raises."""
    try:
        status = await serving
    except Exception:  # noqa: BLE001 - the loop's edge, see below
        _log.exception("ended unexpectedly")
        status = 1
    sys.stderr.flush()
    # Threads may still wait for DNS or for kube-apiserver, up to a minute, and Python would wait for them.
    os._exit(status)


def tell_of_defect(chore: asyncio.Task[None]) -> None:
    """A chore never ends by itself. If one does, that's a defect: Kubernetes starts us anew, and the log says why."""
    _log.error(
        "ended unexpectedly",
        chore=repr(chore.get_coro()),
        exc_info=None if chore.cancelled() else chore.exception(),
    )


_accept_failed, _held_up = RateLimitedWarning(), RateLimitedWarning()

MOST_UNREAD = 1 << 15
"""Bytes that the system keeps for us of what a client sent; Linux doubles it. More are of use to nobody but a flood."""
MOST_UNTAKEN = 1 << 17
"""The same of what a client doesn't take from us. Left to itself Linux keeps 4 MiB of a stream that nobody reads."""
LOOK_S = 1.0
"""From one look at the deadlines to the next."""
CLOSE_NOTIFY_S = 2.0
"""How long a peer may take to take leave of TLS."""
LAST_GOODBYE_S = 0.5
"""The same, when the process waits for it."""
BACKLOG = 1024
"""Connections that the system takes for us until we come to them."""
ACCEPT_AGAIN_S = 0.1
OTHER_FILES = 100
"""Open files besides the connections: those to beanstalkd and kube-apiserver, look-ups, and the event loop's own."""


def listen(bind: str, port: int) -> socket.socket:
    """A listening socket on an IP address of this machine, or 0.0.0.0 or :: for all. Raises SettingError."""
    try:
        ipaddress.ip_address(bind)
    except ValueError as error:
        raise SettingError(
            f"can't listen on {bind!r}: --bind takes an IP address, and 0.0.0.0 or :: for all"
        ) from error
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        listener = socket.create_server((bind, port), family=family, dualstack_ipv6=bind == "::", backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise SettingError(f"can't listen on {bind} port {port}: {reason}; choose another --bind or --port") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MOST_UNREAD)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST_UNTAKEN)
    return listener


def most_connections() -> int:
    """As many as the system lets this process have, and MOST_CONNECTIONS at most; it asks for more where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MOST_CONNECTIONS, soft - OTHER_FILES))


def leave_at_signals(leave: Callable[[signal.Signals], None]) -> None:
    """Call back at the first SIGTERM or SIGINT, in the event loop; the second one ends the process."""
    loop = asyncio.get_running_loop()

    def heard(number: signal.Signals) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, _die, each)
        leave(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number)


def _die(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # a container's first process doesn't die of a signal


@dataclass(frozen=True, slots=True)
class Farewell:
    """How a server went."""

    finished: int
    """Requests under way when the last connection was accepted, that got their answer."""
    cut: int
    """Those that didn't in time."""


class HttpServer:
    """Serves an application until it is told to leave."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        tls: Callable[[], ssl.SSLContext] | None = None,
        protocol: Callable[[Connections, uvicorn.Config, ServerState], HttpConnection] = HttpConnection,
    ) -> None:
        config.load()
        self.connections = connections
        self._delay_s = 0.0
        self._config = config
        self._tls = tls
        self._protocol = protocol
        self._state = ServerState()
        self._told_to_leave = asyncio.Event()

    def leave(self, delay_s: float = 0.0) -> None:
        """From now on each answer closes its connection; who comes within `delay_s` is served yet."""
        self.connections.take_leave()
        self._delay_s = delay_s
        self._told_to_leave.set()

    async def serve(self, listener: socket.socket, drain_s: float) -> Farewell:
        """Until `leave` was called and nothing is under way any more, for which `drain_s` is the limit."""
        listener.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look_after_connections())
            self._hear(listener)
            await self._told_to_leave.wait()
            await asyncio.sleep(self._delay_s)
            asyncio.get_running_loop().remove_reader(listener)
            self._accept(listener, BACKLOG)  # who has waited until now is still served
            listener.close()
            farewell = await self._drain(drain_s)
            looking.cancel()
        await self.connections.close(LAST_GOODBYE_S)
        return farewell

    def _hear(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:  # not closed meanwhile
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket, at_once: int = 1) -> None:
        # Not left to uvloop: its servers stop listening for good when the process has no descriptor left for a moment.
        try:
            for _ in range(at_once):
                client, address = listener.accept()
                client.setblocking(False)
                self._welcome(client, address[0])
        except BlockingIOError:
            pass
        except OSError as error:  # no descriptor is left, or the client has gone already
            _accept_failed.warning("can't accept a connection", reason=error.strerror)
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(ACCEPT_AGAIN_S, self._hear, listener)

    def _welcome(self, client: socket.socket, peer: str) -> None:
        if not self.connections.make_room():
            client.close()
            return
        connection = self._protocol(self.connections, self._config, self._state)
        connection.handshake = asyncio.create_task(self._shake_hands(client, peer, connection))
        self.connections.remember(connection)

    async def _shake_hands(self, client: socket.socket, peer: str, connection: HttpConnection) -> None:
        patience: dict[str, Any] = {
            "ssl": self._tls and self._tls(),
            "ssl_handshake_timeout": PATIENCE_S[Phase.HANDSHAKE],
            "ssl_shutdown_timeout": CLOSE_NOTIFY_S,
        }
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, client, **patience if self._tls else {}
            )
        except ConnectionResetError:
            self.connections.count("handshake")  # who only looks whether the port is open, like some load balancers
        except OSError as error:
            self.connections.refused("handshake", peer, _in_words(error))
        finally:
            if connection.patience.phase is Phase.HANDSHAKE:
                self.connections.forget(connection)

    async def _look_after_connections(self) -> None:
        while True:
            self.connections.expire()
            date = formatdate(usegmt=True).encode()
            self._state.default_headers = [(b"date", date), *self._config.encoded_headers]
            await asyncio.sleep(LOOK_S)
            late_s = time.monotonic() - self.connections.now - LOOK_S
            if late_s > LOOK_S:
                _held_up.warning(
                    "nothing was answered for a while: the event loop was held up", seconds=round(late_s, 1)
                )

    async def _drain(self, within_s: float) -> Farewell:
        deadline = time.monotonic() + within_s
        under_way = self.connections.answering
        while self.connections.are_busy and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            self.connections.expire()
        cut = self.connections.answering
        return Farewell(max(0, under_way - cut), cut)


def _in_words(error: OSError) -> str:
    return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
