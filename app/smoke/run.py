"""`beanscale smoke`: the whole chain proven once, link by link; `helm test` runs it."""

import os
import re
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from app.jobs.client import BeanstalkdError
from app.kube.checks import CheckFailedError
from app.kube.client import Kubernetes, connect
from app.kube.errors import KubeconfigError
from app.settings import ObjectName, Server, SettingError
from app.smoke.aggregation import Aggregation
from app.smoke.autoscaler import scales
from app.smoke.check import Link, Outcome, Patience, State, walk
from app.smoke.scratch import ScratchTube, beanstalkds_answer

JOBS = 3
"""Jobs to put, or one for each beanstalkd where there are more."""
_PREFIX = re.compile(r"[a-z0-9][a-z0-9.-]{0,49}")


@dataclass(frozen=True, slots=True)
class SmokeSettings:
    """What `beanscale smoke` was told."""

    servers: tuple[Server, ...]
    service: ObjectName
    apiservice: str
    hpa: ObjectName | None
    tube_prefix: str
    timeout_s: float
    """How long each link may take to hold."""
    kubeconfig: Path | None
    context: str | None


class _Stop:
    """Notes that somebody wants us to leave; what was begun is still taken away."""

    wanted = False

    def __call__(self, _signal_number: int, _frame: FrameType | None) -> None:
        self.wanted = True


def run(settings: SmokeSettings) -> int:
    """Walk the chain and print each link. Returns 0 when all hold, else 1. Raises SettingError."""
    check_tube_prefix(settings.tube_prefix)
    try:
        kubernetes = connect(settings.kubeconfig, settings.context)
    except KubeconfigError as error:
        raise SettingError(str(error)) from error
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    patience = Patience(settings.timeout_s, lambda: stop.wanted)
    with ScratchTube(settings.tube_prefix, settings.servers) as scratch:
        try:
            return _tell(walk(chain(settings, kubernetes, scratch, patience), _announce))
        except BrokenPipeError:  # as in `beanscale smoke | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
            return 1


def check_tube_prefix(prefix: str) -> str:
    """Return `prefix` if a metric can be named by a tube that begins so. Raises SettingError."""
    if not _PREFIX.fullmatch(prefix):
        raise SettingError(
            f"--tube-prefix {prefix[:60]!r} can't begin a metric's name: use 1 to 50 lower-case letters, digits, '-' or"
            " '.', and begin with a letter or digit"
        )
    return prefix


def chain(
    settings: SmokeSettings, kubernetes: Kubernetes, scratch: ScratchTube, patience: Patience
) -> tuple[Link, ...]:
    """The links, in the order of a number's way."""
    api = Aggregation(kubernetes, settings.apiservice, settings.service)
    metric, jobs = f"tube-{scratch.name}", max(JOBS, len(settings.servers))
    by_state = f"tube={scratch.name},state=ready"

    def counted() -> str:
        _fill(scratch, jobs)
        seen = patience.wait(lambda: api.counts(metric, jobs))
        return f"{seen}, {patience.wait(lambda: api.counts('beanstalkd_tube_jobs', jobs, by_state))}"

    hpa = settings.hpa
    autoscaler = () if hpa is None else (Link("autoscaler", lambda: patience.wait(lambda: scales(kubernetes, hpa))),)
    return (
        Link("beanstalkd", lambda: beanstalkds_answer(settings.servers, settings.service.namespace)),
        Link("APIService", lambda: patience.wait(api.leads_to_us)),
        Link("discovery", lambda: patience.wait(api.is_discovered)),
        Link("empty tube", lambda: patience.wait(lambda: api.counts(metric, 0))),
        Link("jobs counted", counted),
        *autoscaler,
        Link("jobs taken away", lambda: _take_away(scratch), owed=lambda: scratch.touched),
        Link("empty again", lambda: patience.wait(lambda: api.counts(metric, 0))),
    )


def _fill(scratch: ScratchTube, jobs: int) -> None:
    try:
        scratch.fill(jobs)
    except BeanstalkdError as error:
        raise CheckFailedError(
            f"can't put jobs into tube {scratch.name}: {error}", "its log says more: kubectl logs", final=True
        ) from error


def _take_away(scratch: ScratchTube) -> str:
    try:
        taken = scratch.take_away()
    except BeanstalkdError as error:
        remaining = ", ".join(f"{put.job_id} ({put.server.address})" for put in scratch.put) or "unknown"
        raise CheckFailedError(
            f"jobs of tube {scratch.name} may remain: {error}",
            f"they do no harm where nobody watches that tube; delete them when it answers again: {remaining}",
        ) from error
    return f"{taken} deleted from tube {scratch.name}"


def _announce(name: str) -> None:
    if sys.stdout.isatty():  # the line that tells how it came out takes its place
        click.echo(f"… {name}\r", nl=False)


def _tell(outcomes: Iterable[Outcome]) -> int:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # a terminal without ✓ is no reason to fail
    broken = []
    for outcome in outcomes:
        click.echo(f"{outcome.state.value} {outcome.name:<16} {outcome.said}")
        if outcome.state is State.BROKEN:
            click.echo(f"  {'':<16} fix: {outcome.fix}")
            broken.append(outcome.name)
    click.echo(f"Broken: {', '.join(broken)}." if broken else "Every link holds.")
    return 1 if broken else 0
