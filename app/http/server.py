"""The HTTP server under the API, the console, and the worker's page: it listens, accepts, limits and shuts down."""

import asyncio
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from itertools import chain
from typing import Any, NoReturn

import structlog
from starlette.types import ASGIApp

from app.http.connection import HttpConnection, without_mapping
from app.http.exchange import Exchange
from app.ratelimit import FairQueue, RateLimitedWarning
from app.settings import SettingError, is_ip

MAX_CONNECTIONS = 1000
"""Each takes about 60 kB over TLS. kube-apiserver keeps at most 25 idle ones."""
OTHER_FILES = 100
"""Open files besides the connections: those to beanstalkd and kube-apiserver, DNS, and the event loop's own."""
BACKLOG = 1024
"""Connections that the system accepts before the server does. It drops more, and clients retry only after a second."""
ACCEPT_AT_ONCE = 16
"""Connections in one iteration of the event loop: about as many handshakes as a slice has time for. More would
displace each other before their turn."""
SOCKET_RECEIVE_BUFFER = 1 << 15
"""Bytes that the system keeps of what a client sent; Linux doubles it. More would only help a flood."""
SOCKET_SEND_BUFFER = 1 << 15
"""Bytes that the system keeps of what a client doesn't read. Linux' default is 4 MiB for a stream."""
EXPIRE_EVERY_S = 1.0
"""Timeouts are checked once a second for all connections: a timer for each request would cost more than its parsing."""
SLICE_S = 0.01
"""Of turns, until the event loop serves connections with a certificate again."""
ACCEPT_AGAIN_S = 0.1
CLOSE_TIMEOUT_S = 0.5
"""How long clients may take to close when the process ends."""

_log = structlog.get_logger()


def listen(bind: str, port: int) -> socket.socket:
    """Return a socket that listens on an IP address of this machine. Raises SettingError.

    `::` is all addresses, IPv6 and IPv4; where the system has no IPv6, all IPv4 addresses, as 0.0.0.0 is.
    """
    if not is_ip(bind):
        raise SettingError(
            f"can't listen on {bind!r}: --bind takes an IP address (:: for all, 0.0.0.0 for all of IPv4)"
        )
    dual = bind == "::" and socket.has_dualstack_ipv6()
    address = "0.0.0.0" if bind == "::" and not dual else bind  # noqa: S104 - the caller wants all
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, dualstack_ipv6=dual, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise SettingError(f"can't listen on {bind} port {port}: {reason}; choose another --bind or --port") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_RECEIVE_BUFFER)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BUFFER)
    return listener


def max_connections() -> int:
    """Return how many connections the process may open, at most MAX_CONNECTIONS. Raises its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MAX_CONNECTIONS, soft - OTHER_FILES))


def on_shutdown_signal(shut_down: Callable[[signal.Signals], None]) -> None:
    """Call `shut_down` in the event loop at the first SIGTERM or SIGINT. The second one ends the process."""
    loop = asyncio.get_running_loop()

    def die(number: signal.Signals) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        os._exit(128 + number)  # a container's first process ignores the default action

    def first(number: signal.Signals) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, die, each)
        shut_down(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first, number)


async def run_and_exit(serving: Awaitable[int]) -> NoReturn:
    """Exit the process with the status that `serving` returns, or with 1 if it raises."""
    try:
        status = await serving
    except Exception:  # noqa: BLE001 - the event loop's edge
        _log.exception("process failed")
        status = 1
    with suppress(OSError):  # nothing reads the log any more
        sys.stderr.flush()
    # Threads may still wait for DNS or kube-apiserver, up to a minute, and Python would wait for them.
    os._exit(status)


@dataclass(frozen=True, slots=True)
class ShutdownStats:
    """What became of the requests in progress when the last connection was accepted."""

    finished: int
    cut: int
    """Not finished in time."""


class HttpServer:
    """Serves an application until it is shut down, and keeps what its connections share."""

    def __init__(
        self,
        limit: int = MAX_CONNECTIONS,
        tls_context: Callable[[], ssl.SSLContext] | None = None,
        client_certificate: Callable[[tuple[bytes, ...]], object] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tls_context = tls_context
        """Returns the context for the next handshake. None: plain HTTP."""
        self.client_certificate = client_certificate
        """Returns what requests find in their scope, for a verified chain of certificates (DER, leaf first)."""
        self.connections: OrderedDict[HttpConnection, None] = OrderedDict()
        """From the moment when they are accepted on, in the order in which they last sent something."""
        self.ended: Counter[str] = Counter()
        """How many connections the server ended, by reason."""
        self.shutting_down = False
        """True if each response is its connection's last."""
        self.now = clock()
        """Seconds of the clock for all timeouts. Advances with each `expire`."""
        self.date_header = b""
        self._clock = clock
        self._limit = limit
        self._stop = asyncio.Event()
        self._delay_s = 0.0
        self._application: ASGIApp | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_peer = Counter[str]()  # connections of each address
        self._turns = FairQueue[Callable[[], None]]()
        self._taking_turns = False
        self._warnings: defaultdict[str, RateLimitedWarning] = defaultdict(RateLimitedWarning)

    # for the process

    async def serve_until_stopped(  # noqa: PLR0913 - what differs between the servers
        self,
        application: ASGIApp,
        listener: socket.socket,
        drain_s: float,
        *,
        delay_s: float = 0.0,
        background: Iterable[Coroutine[Any, Any, None]] = (),
        on_shutdown: Callable[[], None] = lambda: None,
    ) -> int:
        """Serve until SIGTERM or SIGINT, or until a background task ends; return the exit status.

        Background tasks run forever: if one ends, that is a bug, and Kubernetes restarts the process. `delay_s` applies
        to SIGTERM: Kubernetes sends it while it still routes clients here. A person who presses Ctrl-C shouldn't wait.
        """
        status = 0

        def signaled(number: signal.Signals) -> None:
            delay = delay_s if number is signal.SIGTERM else 0.0
            _log.info("shutting down", signal=number.name, serving_for_s=delay, requests=self._in_progress())
            on_shutdown()
            self.shut_down(delay)

        def ended(task: asyncio.Task[None]) -> None:
            nonlocal status
            status = 1
            error = None if task.cancelled() else task.exception()
            _log.error("background task failed", task=repr(task.get_coro()), exc_info=error)
            on_shutdown()
            self.shut_down()

        on_shutdown_signal(signaled)
        tasks = [asyncio.create_task(each) for each in background]
        for task in tasks:
            task.add_done_callback(ended)
        stats = await self.serve(application, listener, drain_s)
        _log.info("stopped", requests_finished=stats.finished, requests_cut=stats.cut)
        return status

    def shut_down(self, delay_s: float = 0.0) -> None:
        """Let each response close its connection from now on; stop accepting connections after `delay_s`."""
        self.shutting_down = True
        self._delay_s = delay_s
        for connection in self.connections:
            if connection.in_progress:
                connection.shut_down()
        self._stop.set()

    async def serve(self, application: ASGIApp, listener: socket.socket, drain_s: float) -> ShutdownStats:
        """Serve until `shut_down` is called and no request is in progress, for which `drain_s` is the limit."""
        self._application = application
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        if self.tls_context is not None:  # what comes at once waits for its turn in memory
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 13)
        async with asyncio.TaskGroup() as tasks:
            expiring = tasks.create_task(self._expire_every_second())
            self._start_accepting(listener)
            await self._stop.wait()
            await asyncio.sleep(self._delay_s)
            loop.remove_reader(listener)
            self._accept(listener, BACKLOG)  # clients that the system has accepted are still served
            listener.close()
            in_progress, deadline = self._in_progress(), time.monotonic() + drain_s
            while time.monotonic() < deadline and any(each.in_progress or each.is_fresh for each in self.connections):
                await asyncio.sleep(0.02)
                self.expire()
            cut = self._in_progress()
            expiring.cancel()
        for connection in tuple(self.connections):
            connection.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                while self.connections:  # noqa: ASYNC110 - an event would cost each connection that ends
                    await asyncio.sleep(0.01)
        for connection in tuple(self.connections):
            connection.abort()
        return ShutdownStats(max(0, in_progress - cut), cut)

    def _in_progress(self) -> int:
        return sum(connection.in_progress for connection in self.connections)

    async def _expire_every_second(self) -> None:
        warning = RateLimitedWarning()
        while True:
            self.expire()
            await asyncio.sleep(EXPIRE_EVERY_S)
            late_s = time.monotonic() - self.now - EXPIRE_EVERY_S
            if late_s > EXPIRE_EVERY_S:
                warning.warning("event loop blocked", seconds=round(late_s, 1))

    def expire(self) -> None:
        """End connections whose clients exceeded a timeout. Called about once a second."""
        self.now = self._clock()
        self.date_header = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        for connection in tuple(self.connections):
            connection.expire()

    def in_turn(self, client: Hashable, call: Callable[[], None], *, first: bool) -> None:
        """Call as soon as it is the client's turn; `first`: before its other calls."""
        self._turns.put(client, call, first=first)
        if not self._taking_turns:
            self._taking_turns = True
            asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        until = time.perf_counter() + SLICE_S
        try:
            while self._turns and time.perf_counter() < until:
                self._turns.take()()
        finally:
            self._taking_turns = bool(self._turns)
            if self._taking_turns:
                asyncio.get_running_loop().call_soon(self._take_turns)

    def _accept(self, listener: socket.socket, at_once: int = ACCEPT_AT_ONCE) -> None:
        # Not uvloop's server: it stops listening permanently after one EMFILE.
        loop = asyncio.get_running_loop()
        try:
            for _ in range(at_once):
                client, address = listener.accept()
                client.setblocking(False)
                if not self.make_room():
                    client.close()
                    continue
                connection = HttpConnection(self, without_mapping(address)[0])
                self.connections[connection] = None
                self._of_peer[connection.peer] += 1
                connection.start(client)
        except BlockingIOError:
            pass
        except OSError as error:  # no file descriptor is left, or the client is gone
            self._warnings["accept"].warning("can't accept a connection", error=error.strerror)
            loop.remove_reader(listener)
            loop.call_later(ACCEPT_AGAIN_S, self._start_accepting, listener)

    def _start_accepting(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:  # not closed meanwhile
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def make_room(self) -> bool:
        """Return whether another connection may come. At the limit, the one that is idle for longest is ended first.

        The address with the most connections goes before others, and clients with a certificate go last. False if a
        request is in progress on each.
        """
        if len(self.connections) < self._limit:
            return True
        greedy = max(self._of_peer, key=lambda peer: self._of_peer[peer])
        last = next(
            chain(
                (each for each in self.connections if each.may_be_ended and each.peer == greedy),
                (each for each in self.connections if each.may_be_ended),
                (each for each in self.connections if not each.in_progress),
            ),
            None,
        )
        if last is None:
            self.count("full")
            return False
        self.forget(last)
        self.count("room")
        last.abort()
        return True

    # for connections

    def run(self, exchange: Exchange) -> None:
        """Call the application. Most responses need no waiting, and are complete when this returns."""
        assert self._application  # noqa: S101 - connections come from `serve`
        task = asyncio.Task(exchange.run(self._application), loop=asyncio.get_running_loop(), eager_start=True)
        if not task.done():
            self._tasks.add(task)  # asyncio itself keeps no strong reference
            task.add_done_callback(self._tasks.discard)

    def forget(self, connection: HttpConnection) -> None:
        """Stop counting a connection that ended."""
        if connection in self.connections:
            del self.connections[connection]
            self._of_peer[connection.peer] -= 1
            if not self._of_peer[connection.peer]:
                del self._of_peer[connection.peer]

    def count(self, reason: str) -> None:
        """Count a connection that the server ends."""
        self.ended[reason] += 1

    def reject(self, reason: str, peer: str | None, error: str) -> None:
        """Count a connection that the server ends because of what the client sent, and log some of them."""
        self.count(reason)
        self._warnings[reason].warning("client connection rejected", reason=reason, peer=peer, error=error)
