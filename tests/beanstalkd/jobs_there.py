"""What a real beanstalkd holds, looked at with plain commands."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import greenstalk

from app.settings import Server


class Tubes:
    """Puts and looks."""

    def __init__(self, server: Server) -> None:
        self._address = (server.host, server.port)
        self._client: greenstalk.Client[bytes] = greenstalk.Client(self._address, encoding=None)
        self._workers: list[greenstalk.Client[bytes]] = []
        self._pool = ThreadPoolExecutor(4)

    def close(self) -> None:
        self._pool.shutdown()
        for client in (self._client, *self._workers):
            client.close()

    def put(
        self, tube: str, body: bytes = b"job", state: str = "ready", pri: int = 77, ttr: int = 50, delay: int = 0
    ) -> int:
        """A job in that state; delayed ones by 100 s."""
        self._client.use(tube)
        job_id = self._client.put(body, priority=pri, ttr=ttr, delay=100 if state == "delayed" else delay)
        if state in {"buried", "reserved"}:
            job = self._client.reserve_job(job_id)
            if state == "buried":
                self._client.bury(job, pri)
        self._client.use("default")
        return job_id

    def pause(self, tube: str) -> None:
        """For long."""
        self._client.pause_tube(tube, 1000)

    def waiting_worker(self, tube: str) -> Future[int]:
        """The id of the next job, which it keeps."""
        worker: greenstalk.Client[bytes] = greenstalk.Client(self._address, encoding=None, watch=tube)
        self._workers.append(worker)
        future = self._pool.submit(lambda: int(worker.reserve(timeout=60).id))
        with greenstalk.Client(self._address) as looking:
            while not looking.stats_tube(tube)["current-waiting"]:
                time.sleep(0.01)
        return future

    def counts(self, tube: str) -> Mapping[str, int]:
        """Jobs by state, those only that there are."""
        try:
            stats: Any = self._client.stats_tube(tube)
        except greenstalk.NotFoundError:
            return {}
        states = ("ready", "reserved", "delayed", "buried")
        return {state: stats[f"current-jobs-{state}"] for state in states if stats[f"current-jobs-{state}"]}

    def settled(self, tube: str) -> Mapping[str, int]:
        """The counts once beanstalkd has seen that all others' connections ended: then nothing is reserved."""
        deadline_s = time.monotonic() + 60
        while "reserved" in self.counts(tube) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return self.counts(tube)

    def job(self, job_id: int) -> Any:
        """stats-job, or None."""
        try:
            return self._client.stats_job(job_id)
        except greenstalk.NotFoundError:
            return None

    def body(self, job_id: int) -> bytes:
        return self._client.peek(job_id).body

    def next_id(self, tube: str, state: str) -> int:
        self._client.use(tube)
        job = getattr(self._client, f"peek_{state}")()
        self._client.use("default")
        return int(job.id)

    def stats(self) -> Any:
        return self._client.stats()

    def tube(self, tube: str) -> Any:
        return self._client.stats_tube(tube)

    def names(self) -> list[str]:
        return self._client.tubes()
