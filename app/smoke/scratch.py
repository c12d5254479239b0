"""A tube of our own with jobs of our own, and nothing left of them in the end.

The first link: every beanstalkd resolves, connects and answers.
"""

import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from app.jobs.client import BeanstalkdError, Client, Job, JobLostError, connect, in_hand, peek, peek_ready
from app.kube.checks import CheckFailedError
from app.settings import Server


@dataclass(frozen=True, slots=True)
class Put:
    """One job of ours."""

    server: Server
    job_id: int


class ScratchTube:
    """Puts jobs that carry a mark nobody can guess, and deletes only jobs that carry it; at the latest at its exit."""

    def __init__(self, prefix: str, servers: Sequence[Server]) -> None:
        token = secrets.token_hex(5)
        self.name = f"{prefix}{token}"
        self.put: list[Put] = []
        self.touched = False
        """Whether a job may be in there: a put that failed may have arrived all the same."""
        self._mark = f"beanscale smoke test {secrets.token_hex(16)}".encode()
        self._servers = servers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_reason: object) -> None:
        if self.touched:
            with suppress(BeanstalkdError):  # nobody listens any more: the link that takes away was to tell
                self.take_away()

    def fill(self, jobs: int) -> None:
        """Put `jobs` jobs, spread over all servers. Raises BeanstalkdError."""
        self.touched = True
        for position, server in enumerate(self._servers):
            with connect(server, use=self.name) as client:
                for _ in range(position, jobs, len(self._servers)):
                    self.put.append(Put(server, client.put(self._mark)))

    def take_away(self) -> int:
        """Delete our jobs and return how many there were.

        Raises BeanstalkdError when some may remain: after all servers were tried, with the first one's reason.
        """
        taken = 0
        failures: list[BeanstalkdError] = []
        for server in self._servers:
            try:
                taken += self._take_away_from(server)
            except BeanstalkdError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        self.touched = False
        return taken

    def _take_away_from(self, server: Server) -> int:
        with connect(server, use=self.name) as client:
            taken = sum(self._delete(client, peek(client, put.job_id)) for put in self.put if put.server == server)
            while self._delete(client, peek_ready(client)):  # one whose number never reached us
                taken += 1
        return taken

    def _delete(self, client: Client, job: Job | None) -> bool:
        # after a restart of beanstalkd a number may be somebody else's job
        if job is None or job.body != self._mark:
            return False
        try:
            with in_hand(job):
                client.delete(job)
        except JobLostError as error:
            raise BeanstalkdError(f"job {job.id} of tube {self.name} is reserved by somebody else") from error
        return True


_FIXES: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "is there a Service of that name? kubectl -n {namespace} get service"),
    (TimeoutError, "does a NetworkPolicy let us in, and does it run? kubectl -n {namespace} get networkpolicy,pod"),
    (OSError, "is its StatefulSet scaled to 0, or its pod starting? kubectl -n {namespace} get statefulset,pod"),
    (Exception, "is that address a beanstalkd's? see the option --beanstalkd"),
)
"""What failed underneath → what to do; the first that fits."""


def beanstalkds_answer(servers: Sequence[Server], namespace: str) -> str:
    """Ask each for its `stats`. Raises CheckFailedError, with advice about `namespace`."""
    return "; ".join(_answers(server, namespace) for server in servers)


def _answers(server: Server, namespace: str) -> str:
    try:
        with connect(server) as client:
            stats = client.stats()
    except BeanstalkdError as error:
        fix = next(fix for kind, fix in _FIXES if isinstance(error.__cause__, kind))
        raise CheckFailedError(str(error), fix.format(namespace=namespace), final=True) from error
    if stats.get("draining") == "true":
        raise CheckFailedError(
            f"beanstalkd {server.address} is draining and takes no job (somebody sent it SIGUSR1)",
            f"restart it, only that ends it: kubectl -n {namespace} delete pod",
            final=True,
        )
    return f"{server.address} answers, version {stats.get('version', 'unknown')}"
