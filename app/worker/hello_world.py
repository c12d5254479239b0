"""`beanscale worker`: the hello-world, a worker thread and a page that shows it."""

import asyncio
import os
import signal
import socket
import threading
from dataclasses import dataclass

import structlog

from app import clock
from app.beanstalkd.protocol import check_tube_name
from app.http.server import HttpServer, listen, max_connections, on_shutdown_signal
from app.settings import Server, host_port
from app.worker.loop import Worker
from app.worker.page import WorkerInfo, hello_app

CLOSE_TIMEOUT_S = 1
"""How long open requests to the page may still take after the worker has finished, in whole seconds."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The options of `beanscale worker`."""

    server: Server
    tube: str
    seconds_per_job: float
    bind: str
    """An IP address of this machine, or :: for all, or 0.0.0.0 for all of IPv4."""
    port: int
    """0: the system chooses one, which is logged."""


def run(settings: WorkerSettings) -> int:
    """Work until SIGTERM or SIGINT, then finish the current job. Return 0; raise SettingError."""
    check_tube_name(settings.tube)
    with listen(settings.bind, settings.port) as listener:
        asyncio.run(_work_and_serve(settings, listener))
    return 0


async def _work_and_serve(settings: WorkerSettings, listener: socket.socket) -> None:
    stop = threading.Event()
    worker = Worker(settings.server, settings.tube, settings.seconds_per_job, stop)
    name = os.environ.get("POD_NAME") or socket.gethostname()
    info = WorkerInfo(name, settings.tube, settings.server.address, settings.seconds_per_job)
    page = HttpServer(max_connections())

    # The current job is finished first, and the page shows it until then. A second Ctrl-C ends the process at once: the
    # connection closes, and beanstalkd gives the job to another worker.
    def shut_down(number: signal.Signals) -> None:
        job = worker.state.job
        _log.info("shutting down", signal=number.name, finishing_job=job.id if job else None)
        stop.set()

    on_shutdown_signal(shut_down)
    url = f"http://{host_port(*listener.getsockname()[:2])}/"
    _log.info("worker started", page=url, tube=settings.tube, server=settings.server.address)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(page.serve(hello_app(info, lambda: worker.state, clock.now), listener, CLOSE_TIMEOUT_S))
        await asyncio.to_thread(worker.run)
        page.shut_down()
    _log.info("worker stopped", done=worker.state.done, lost=worker.state.lost)
