"""Take a job, work, delete it, and so on: one job at a time, through restarts of beanstalkd, until stopped."""

import threading
import time
from dataclasses import dataclass, replace

import structlog

from app import clock
from app.clock import Instant
from app.jobs.client import BeanstalkdError, Client, JobLostError, connect, keep_reserved, reserve
from app.ratelimit import backoff
from app.settings import Server

RESERVE_WAIT_S = 1
"""How long one reserve waits, in whole seconds: the longest that an idle worker takes to notice that it should stop."""
TOUCH_PERIOD_S = 0.5
"""A job's time to run is at least 1 s (doc/protocol.txt, "put"): a job touched more often than that stays reserved."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """The job that is worked on."""

    id: int
    size_bytes: int
    reserved_at: Instant


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the worker does now: replaced as a whole by its thread, read by any."""

    started_at: Instant
    active_at: Instant
    """When the worker's thread last did something."""
    connected: bool = False
    error: str = ""
    """Why it isn't connected; empty while it is, and before the first attempt ended."""
    job: CurrentJob | None = None
    done: int = 0
    lost: int = 0
    """Jobs begun but not deleted here: if beanstalkd still has them, they are done again."""


class Worker:
    """Runs in its own thread; any thread may read `state` and set `stop`."""

    def __init__(self, server: Server, tube: str, seconds_per_job: float, stop: threading.Event) -> None:
        self.state = WorkerState(started_at=clock.now(), active_at=clock.now())
        self._server = server
        self._tube = tube
        self._seconds_per_job = seconds_per_job
        self._stop = stop

    def run(self) -> None:
        """Work until `stop` is set and the current job is finished. Raise TubeNameError."""
        delays = backoff()
        while not self._stop.is_set():
            try:
                with connect(self._server, watch=self._tube) as client:
                    client.watching()  # any command: the port accepts connections before beanstalkd replies
                    _log.info("connected to beanstalkd", server=self._server.address, tube=self._tube)
                    self._update(connected=True, error="")
                    while not self._stop.is_set():
                        self._do_one_job(client)
                        delays = backoff()
            except BeanstalkdError as error:
                if self.state.error != str(error):
                    _log.warning("beanstalkd can't be reached, retrying", error=str(error))
                if self.state.job:
                    job = self.state.job.id
                    self._lose(f"the connection ended while job {job} was in progress, so it was not deleted")
                self._update(connected=False, error=str(error))
                self._stop.wait(next(delays))

    def _do_one_job(self, client: Client) -> None:
        job = reserve(client, RESERVE_WAIT_S)
        self._update()
        if job is None or self._stop.is_set():  # a job reserved after the stop is released with the connection
            return
        current = CurrentJob(job.id, len(job.body), clock.now())
        self._update(job=current)
        _log.info("job reserved", job=current.id, bytes=current.size_bytes, tube=self._tube)
        try:
            with keep_reserved(job):
                while (left_s := self._seconds_per_job - current.reserved_at.age_s(clock.now())) > 0:
                    time.sleep(min(left_s, TOUCH_PERIOD_S))
                    client.touch(job)
                    self._update()
                client.delete(job)
        except JobLostError as error:
            self._lose(str(error))
            return
        self._update(job=None, done=self.state.done + 1)
        _log.info("job done", job=job.id, done=self.state.done)

    def _lose(self, error: str) -> None:
        _log.warning("job lost", error=error)
        self._update(job=None, lost=self.state.lost + 1)

    def _update(self, **changes: object) -> None:
        self.state = replace(self.state, active_at=clock.now(), **changes)  # type: ignore[arg-type]
