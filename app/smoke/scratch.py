"""The smoke test's own tube and jobs, all deleted in the end; and the check that beanstalkd replies."""

import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from app.jobs.client import BeanstalkdError, Client, Job, JobLostError, connect, keep_reserved, peek, peek_ready
from app.kube.checks import CheckFailedError
from app.settings import Server


@dataclass(frozen=True, slots=True)
class Put:
    """One job that was put."""

    server: Server
    job_id: int


class ScratchTube:
    """Puts jobs with a body that no one can guess, and deletes only such jobs; at the latest when it is left."""

    def __init__(self, prefix: str, servers: Sequence[Server]) -> None:
        self.name = f"{prefix}{secrets.token_hex(5)}"
        self.put: list[Put] = []
        self.may_have_jobs = False
        """A put that failed may have arrived all the same."""
        self._body = f"beanscale smoke test {secrets.token_hex(16)}".encode()
        self._servers = servers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_reason: object) -> None:
        if self.may_have_jobs:
            with suppress(BeanstalkdError):  # reported already by the check that deletes them
                self.delete_jobs()

    def fill(self, jobs: int) -> None:
        """Put `jobs` jobs, spread over all servers. Raise BeanstalkdError."""
        self.may_have_jobs = True
        for position, server in enumerate(self._servers):
            with connect(server, use=self.name) as client:
                for _ in range(position, jobs, len(self._servers)):
                    self.put.append(Put(server, client.put(self._body)))

    def delete_jobs(self) -> int:
        """Delete the jobs on all servers, return their number. Raise the first BeanstalkdError if some may remain."""
        deleted = 0
        failures: list[BeanstalkdError] = []
        for server in self._servers:
            try:
                with connect(server, use=self.name) as client:
                    deleted += sum(
                        self._delete(client, peek(client, put.job_id)) for put in self.put if put.server == server
                    )
                    while self._delete(client, peek_ready(client)):  # a job whose id never arrived here
                        deleted += 1
            except BeanstalkdError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        self.may_have_jobs = False
        return deleted

    def _delete(self, client: Client, job: Job | None) -> bool:
        if job is None or job.body != self._body:  # after a restart of beanstalkd, an id may be of another job
            return False
        try:
            with keep_reserved(job):
                client.delete(job)
        except JobLostError as error:
            raise BeanstalkdError(f"job {job.id} of tube {self.name} is reserved by another client") from error
        return True


_HINTS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "check that there is a Service of that name: kubectl -n {namespace} get service"),
    (
        TimeoutError,
        "check that it is running, and that NetworkPolicies allow it: kubectl -n {namespace} get networkpolicy,pod",
    ),
    (
        OSError,
        "check that its StatefulSet isn't scaled to 0, and its pod has started:"
        " kubectl -n {namespace} get statefulset,pod",
    ),
    (Exception, "check that this is the address of a beanstalkd; see the option --beanstalkd"),
)
"""Cause of a failure → hint; the first that matches."""


def check_beanstalkd(servers: Sequence[Server], namespace: str) -> str:
    """Get `stats` of each server; `namespace` is for hints. Raise CheckFailedError."""
    found = []
    for server in servers:
        try:
            with connect(server) as client:
                stats = client.stats()
        except BeanstalkdError as error:
            hint = next(hint for kind, hint in _HINTS if isinstance(error.__cause__, kind))
            raise CheckFailedError(str(error), hint.format(namespace=namespace), final=True) from error
        if stats.get("draining") == "true":
            raise CheckFailedError(
                f"beanstalkd {server.address} is draining and accepts no jobs (it got SIGUSR1)",
                f"restart it, which ends draining: kubectl -n {namespace} delete pod",
                final=True,
            )
        found.append(f"{server.address} replies, version {stats.get('version', 'unknown')}")
    return "; ".join(found)
