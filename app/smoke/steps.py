"""`beanscale smoke`: checks the whole path from beanstalkd to the autoscaler, step by step; `helm test` runs it."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType

import click

from app.jobs.client import BeanstalkdError
from app.kube.checks import CheckFailedError
from app.kube.client import Kubernetes, connect
from app.settings import ObjectName, Server, SettingError
from app.smoke.hpa_status import check_hpa
from app.smoke.metrics_api import MetricsApi
from app.smoke.scratch import ScratchTube, check_beanstalkd
from app.text import listing

MIN_JOBS = 3
"""Jobs to put, or one for each beanstalkd if there are more."""
RETRY_S = 0.25
_PREFIX = re.compile(r"[a-z0-9][a-z0-9.-]{0,49}")


@dataclass(frozen=True, slots=True)
class SmokeSettings:
    """The options of `beanscale smoke`."""

    servers: tuple[Server, ...]
    service: ObjectName
    apiservice: str
    hpa: ObjectName | None
    tube_prefix: str
    timeout_s: float
    """Time limit per check."""
    kubeconfig: Path | None
    context: str | None


class Result(Enum):
    """How a check ended, by the mark that is printed."""

    PASSED = "✓"
    FAILED = "✗"
    SKIPPED = "-"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check."""

    name: str
    result: Result
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SmokeCheck:
    """One check: `run` returns what it found, or raises CheckFailedError."""

    name: str
    run: Callable[[], str]
    always: Callable[[], bool] = lambda: False
    """Returns whether to run it although a check before it has failed."""


class Stop:
    """A signal handler that notes that the process should end; jobs are still deleted."""

    requested = False

    def __call__(self, _signal_number: int, _frame: FrameType | None) -> None:
        """Note the signal."""
        self.requested = True


@dataclass(frozen=True, slots=True)
class Retrier:
    """Retries what takes some time to become true."""

    timeout_s: float
    stop: Stop

    def wait(self, check: Callable[[], str]) -> str:
        """Retry until the check passes. Raise the last CheckFailedError after `timeout_s`, or if it is final."""
        deadline_s = time.monotonic() + self.timeout_s
        if self.stop.requested:
            raise CheckFailedError("stopped before it was checked", "run it again", final=True)
        while True:
            try:
                return check()
            except CheckFailedError as error:
                if error.final:
                    raise
                if self.stop.requested:
                    raise CheckFailedError(f"{error} (stopped while waiting)", error.hint) from error
                if time.monotonic() >= deadline_s:
                    raise CheckFailedError(f"{error} (waited {self.timeout_s:g} s)", error.hint) from error
            time.sleep(RETRY_S)


def run(settings: SmokeSettings) -> int:
    """Run and print all checks. Return 0 if all passed, else 1. Raise KubeconfigError, SettingError."""
    check_tube_prefix(settings.tube_prefix)
    kubernetes = connect(settings.kubeconfig, settings.context)
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with ScratchTube(settings.tube_prefix, settings.servers) as scratch:
        checks = smoke_checks(settings, kubernetes, scratch, Retrier(settings.timeout_s, stop))
        try:
            return _print_outcomes(run_checks(checks, _announce))
        except BrokenPipeError:  # as in `beanscale smoke | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
            return 1


def check_tube_prefix(prefix: str) -> str:
    """Return `prefix` if a metric can have the name of a tube that begins so. Raise SettingError."""
    if not _PREFIX.fullmatch(prefix):
        raise SettingError(
            f"--tube-prefix {prefix[:60]!r} can't begin a metric's name: use 1 to 50 lower-case letters, digits, '-' or"
            " '.', and begin with a letter or digit"
        )
    return prefix


def smoke_checks(
    settings: SmokeSettings, kubernetes: Kubernetes, scratch: ScratchTube, retrier: Retrier
) -> tuple[SmokeCheck, ...]:
    """Return the checks in the order of the data flow."""
    api = MetricsApi(kubernetes, settings.apiservice, settings.service)
    metric, jobs = f"tube-{scratch.name}", max(MIN_JOBS, len(settings.servers))

    def jobs_counted() -> str:
        try:
            scratch.fill(jobs)
        except BeanstalkdError as error:
            raise CheckFailedError(
                f"can't put jobs into tube {scratch.name}: {error}", "check its log: kubectl logs", final=True
            ) from error
        by_state = f"tube={scratch.name},state=ready"
        by_tube = retrier.wait(lambda: api.check_value(metric, jobs))
        return f"{by_tube}, {retrier.wait(lambda: api.check_value('beanstalkd_tube_jobs', jobs, by_state))}"

    def jobs_deleted() -> str:
        try:
            deleted = scratch.delete_jobs()
        except BeanstalkdError as error:
            remaining = ", ".join(f"{put.job_id} ({put.server.address})" for put in scratch.put) or "unknown"
            raise CheckFailedError(
                f"jobs of tube {scratch.name} may remain: {error}",
                f"they are harmless while no worker watches that tube; delete them later: {remaining}",
            ) from error
        return f"{deleted} deleted from tube {scratch.name}"

    checks = [
        SmokeCheck("beanstalkd", lambda: check_beanstalkd(settings.servers, settings.service.namespace)),
        SmokeCheck("APIService", lambda: retrier.wait(api.check_api_service)),
        SmokeCheck("discovery", lambda: retrier.wait(api.check_discovery)),
        SmokeCheck("empty tube", lambda: retrier.wait(lambda: api.check_value(metric, 0))),
        SmokeCheck("jobs counted", jobs_counted),
    ]
    if (hpa := settings.hpa) is not None:
        checks.append(SmokeCheck("autoscaler", lambda: retrier.wait(lambda: check_hpa(kubernetes, hpa))))
    checks.append(SmokeCheck("jobs deleted", jobs_deleted, always=lambda: scratch.may_have_jobs))
    checks.append(SmokeCheck("empty again", lambda: retrier.wait(lambda: api.check_value(metric, 0))))
    return tuple(checks)


def run_checks(checks: Iterable[SmokeCheck], announce: Callable[[str], None]) -> Iterator[Outcome]:
    """Run each check; after the first failure only those that are due always. `announce` gets each name before."""
    has_failed = False
    for check in checks:
        if has_failed and not check.always():
            yield Outcome(check.name, Result.SKIPPED, "skipped")
            continue
        announce(check.name)
        try:
            yield Outcome(check.name, Result.PASSED, check.run())
        except CheckFailedError as error:
            has_failed = True
            yield Outcome(check.name, Result.FAILED, str(error), error.hint)


def _announce(name: str) -> None:
    if sys.stdout.isatty():  # the line with the outcome replaces it
        click.echo(f"… {name}\r", nl=False)


def _print_outcomes(outcomes: Iterable[Outcome]) -> int:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # some terminals have no ✓
    failed = []
    for outcome in outcomes:
        click.echo(f"{outcome.result.value} {outcome.name:<16} {outcome.message}")
        if outcome.result is Result.FAILED:
            click.echo(f"  {'':<16} hint: {outcome.hint}")
            failed.append(outcome.name)
    click.echo(f"Failed: {listing(failed)}." if failed else "All checks passed.")
    return 1 if failed else 0
