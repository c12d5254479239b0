"""`beanscale worker`: the hello-world, a worker thread beside a page that shows it."""

import asyncio
import os
import signal
import socket
import threading
from dataclasses import dataclass
from functools import partial

import structlog

from app import clock
from app.beanstalkd.protocol import check_tube_name
from app.http.server import HttpServer, listen, max_connections, on_shutdown_signal
from app.settings import Server
from app.worker.page import Who, hello_app
from app.worker.work import Worker

GOODBYE_S = 1
"""How long open requests to the page may still take once the worker has finished, whole seconds."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What `beanscale worker` was told."""

    server: Server
    tube: str
    seconds_per_job: float
    bind: str
    """An IP address of this machine, or 0.0.0.0 or :: for all."""
    port: int
    """0 lets the system choose one; the log tells which."""


def run(settings: WorkerSettings) -> int:
    """Work until SIGTERM or SIGINT, then finish the job in hand. Returns 0; raises SettingError."""
    check_tube_name(settings.tube)
    with listen(settings.bind, settings.port) as listener:
        asyncio.run(_work_and_show(settings, listener))
    return 0


async def _work_and_show(settings: WorkerSettings, listener: socket.socket) -> None:
    stop = threading.Event()
    worker = Worker(settings.server, settings.tube, settings.seconds_per_job, stop, clock.now)
    application = hello_app(_who(settings), lambda: worker.work, clock.now)
    page = HttpServer(max_connections())
    # the job in hand is finished first, and the page shows it till the end; a second Ctrl-C means now: the connection
    # closes and beanstalkd gives the job to another worker
    on_shutdown_signal(partial(_leave, stop, worker))
    _log.info("hello", page=_url(listener), tube=settings.tube, server=settings.server.address)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(page.serve(application, listener, GOODBYE_S))
        await asyncio.to_thread(worker.run)
        page.shut_down()
    _log.info("goodbye", done=worker.work.done, lost=worker.work.lost)


def _leave(stop: threading.Event, worker: Worker, number: signal.Signals) -> None:
    job = worker.work.job
    _log.info("leaving", signal=number.name, finishing_job=job.id if job else None)
    stop.set()


def _who(settings: WorkerSettings) -> Who:
    name = os.environ.get("POD_NAME") or socket.gethostname()
    return Who(name, settings.tube, settings.server.address, settings.seconds_per_job)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
