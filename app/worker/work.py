"""Take a job, work, delete it, again: one job at a time, over every restart of beanstalkd, until told to stop."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from app.clock import Instant
from app.jobs.client import BeanstalkdError, Client, Job, JobLostError, connect, keep_reserved, reserve
from app.ratelimit import backoff
from app.settings import Server

RESERVE_WAIT_S = 1
"""How long one reserve waits, whole seconds: the longest that an idle worker takes to notice that it shall stop."""
TOUCH_EVERY_S = 0.5
"""A job's time to run is at least 1 s (doc/protocol.txt, "put"): touched more often than that, it stays ours."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobInHand:
    """What is known of the job that is worked on; its payload is nobody's business."""

    id: int
    size_bytes: int
    taken: Instant


@dataclass(frozen=True, slots=True)
class Work:
    """What the worker is at: swapped whole by its thread, read by everybody."""

    started: Instant
    turned: Instant
    """The last sign of life of the worker's thread."""
    connected: bool = False
    trouble: str = ""
    """Why it isn't connected: a sentence; empty while it is, and before the first attempt ended."""
    job: JobInHand | None = None
    done: int = 0
    lost: int = 0
    """Jobs begun but not deleted by us: where beanstalkd still has them, they are done again."""


class Worker:
    """Runs in a thread of its own; `work` may be read, and `stop` set, from any."""

    def __init__(
        self, server: Server, tube: str, seconds_per_job: float, stop: threading.Event, clock: Callable[[], Instant]
    ) -> None:
        self.work = Work(started=clock(), turned=clock())
        self._server = server
        self._tube = tube
        self._seconds_per_job = seconds_per_job
        self._stop = stop
        self._clock = clock

    def run(self) -> None:
        """Work until `stop` is set and the job in hand is finished. Raises TubeNameError."""
        delays = backoff()
        while not self._stop.is_set():
            try:
                with connect(self._server, watch=self._tube) as client:
                    client.watching()  # any question will do: the port listens long before beanstalkd answers
                    self._connected()
                    while not self._stop.is_set():
                        self._take_one(client)
                        delays = backoff()
            except BeanstalkdError as error:
                self._disconnected(error)
                self._stop.wait(next(delays))

    def _take_one(self, client: Client) -> None:
        job = reserve(client, RESERVE_WAIT_S)
        self._publish(self.work)
        if job is None or self._stop.is_set():  # a job that comes after the bell goes back with the connection
            return
        taken = JobInHand(job.id, len(job.body), self._clock())
        self._publish(replace(self.work, job=taken))
        _log.info("took a job", job=taken.id, bytes=taken.size_bytes, tube=self._tube)
        try:
            self._work_on(job, taken.taken, client)
        except JobLostError as lost:
            self._lose(str(lost))

    def _work_on(self, job: Job, taken: Instant, client: Client) -> None:
        with keep_reserved(job):
            while (left_s := self._seconds_per_job - taken.age_s(self._clock())) > 0:
                time.sleep(min(left_s, TOUCH_EVERY_S))
                client.touch(job)
                self._publish(self.work)
            client.delete(job)
        self._publish(replace(self.work, job=None, done=self.work.done + 1))
        _log.info("finished a job", job=job.id, done=self.work.done)

    def _connected(self) -> None:
        _log.info("connected to beanstalkd", server=self._server.address, tube=self._tube)
        self._publish(replace(self.work, connected=True, trouble=""))

    def _disconnected(self, error: BeanstalkdError) -> None:
        if self.work.trouble != str(error):
            _log.warning("can't reach beanstalkd, trying again", reason=str(error))
        if self.work.job:
            self._lose(f"the connection ended in the middle of job {self.work.job.id}, so it couldn't be deleted")
        self._publish(replace(self.work, connected=False, trouble=str(error)))

    def _lose(self, reason: str) -> None:
        _log.warning("lost a job", reason=reason)
        self._publish(replace(self.work, job=None, lost=self.work.lost + 1))

    def _publish(self, work: Work) -> None:
        self.work = replace(work, turned=self._clock())
