"""The part of scripts/demo in the cluster: install and test the chart, put jobs, and show how the HPA scales."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from app.kube.client import connect
from app.kube.errors import KubernetesError
from scripts.lib.demo_cluster import Beanstalkd, BeanstalkdError, Cluster, View
from scripts.lib.demo_install import (
    NAMESPACE,
    RELEASE,
    StepError,
    Tools,
    create_namespace,
    helm_test,
    image_values,
    install,
    step,
    wait_until_available,
)
from scripts.lib.demo_progress import (
    Observation,
    Scaling,
    changes,
    is_idle,
    jobs_lost,
    milestones,
    parse_scaling,
    proof,
    stuck,
    unchanged_s,
)
from scripts.lib.demo_screen import picture, svg

JOBS = 20
OBSERVE_EVERY_S = 0.25
CAPTURE_SIZE = (100, 35)


class StuckError(Exception):
    """No progress; `str()` is a sentence with the cause."""


type Show = Callable[[Sequence[Observation]], None]


def main() -> int:
    """Run the demo. Return 1 after a line with the failed step, its cause and a hint; 130 after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        run(console, _arguments())
    except KeyboardInterrupt:
        return 130
    except StepError as error:
        print(f"scripts/demo: {error.step}: {error}\n  next: {error.hint}", file=sys.stderr)
        return 1
    except KubernetesError as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    return 0


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # runs all `finally` blocks


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", add_help=False)
    parser.add_argument("--context")
    parser.add_argument("--image")
    parser.add_argument("--beanstalkd-image")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--capture", type=Path)
    return parser.parse_args()


def run(console: Console, arguments: argparse.Namespace) -> None:
    """Run all steps. Raises StepError and KubernetesError."""
    tools, kubernetes = _tools(arguments.context), connect(None, arguments.context)
    create_namespace(kubernetes, tools)
    install(console, kubernetes, tools, _values(arguments))
    wait_until_available(console, kubernetes, tools)
    helm_test(console, tools)
    cluster = Cluster(kubernetes, NAMESPACE, f"{RELEASE}-hello-world")
    scaling = parse_scaling(cluster.hpa())
    with closing(Beanstalkd(tools.kubectl, NAMESPACE, f"{RELEASE}-beanstalkd")) as beanstalkd:
        before = cluster.scalings()
        seen = scale(console, View(cluster, beanstalkd, scaling), tools)
    console.print(f"\nProven: {proof(scaling, JOBS, milestones(scaling, JOBS, seen))}")
    for message in (message for uid, message in cluster.scalings().items() if uid not in before):
        console.print(f"Event of the HPA: {message}")
    if arguments.capture:
        width, height = CAPTURE_SIZE
        drawn = svg(picture(scaling, JOBS, seen, width, height), width, "scripts/demo")
        arguments.capture.write_text(drawn, encoding="utf-8")


def _tools(context: str | None) -> Tools:
    if context is None:
        return Tools(("kubectl",), ("helm",), "scripts/cluster kubectl")
    return Tools(("kubectl", "--context", context), ("helm", "--kube-context", context), f"kubectl --context {context}")


def _values(arguments: argparse.Namespace) -> list[str]:
    images = (("image", arguments.image), ("beanstalkd.image", arguments.beanstalkd_image))
    try:
        of_images = [value for key, image in images if image for value in image_values(key, image)]
    except ValueError as error:
        raise StepError("images", str(error), "scripts/demo --help") from error
    return [*of_images, *(f"--set={value}" for value in arguments.set)]


def scale(console: Console, view: View, tools: Tools) -> tuple[Observation, ...]:
    """Put the jobs and wait until all are done and the pods are removed. Return the run. Raises StepError."""
    title = "idle before the jobs"
    try:
        wait_until_idle(console, title, view)
        title = f"put {JOBS} jobs"
        deleted_before = view.beanstalkd.tube(view.scaling.tube).deleted
        before = view.observe(0, deleted_before)
        view.beanstalkd.put(view.scaling.tube, JOBS)
        title = "watch it scale"
        with _show(console, view.scaling) as show:
            return watch(show, view, before, deleted_before)
    except (BeanstalkdError, StuckError) as error:
        hint = f"{tools.typed_kubectl} -n {NAMESPACE} describe hpa,pods"
        raise StepError(title, str(error), hint) from error


def wait_until_idle(console: Console, title: str, view: View) -> None:
    """Wait until the jobs of an earlier demo are done and its pods removed. Raises StuckError."""
    start = time.monotonic()
    seen: list[Observation] = []
    with step(console, title) as show:
        while True:
            seen.append(view.observe(time.monotonic() - start))
            if is_idle(view.scaling, seen[-1]):
                return
            state = "; ".join(seen[-1].errors) or str(seen[-1])
            show(state)
            if unchanged_s(seen) > view.scaling.timeout_s:
                raise StuckError(state)
            time.sleep(OBSERVE_EVERY_S)


def watch(show: Show, view: View, before: Observation, deleted_before: int) -> tuple[Observation, ...]:
    """Observe and show the state until the minimum number of pods is left. Raises StuckError."""
    start = time.monotonic()
    seen = [before]
    while True:
        seen.append(view.observe(time.monotonic() - start, deleted_before))
        show(seen)
        reached = milestones(view.scaling, JOBS, seen)
        if reached.back_s is not None:
            return tuple(seen)
        if reached.done_s is None and jobs_lost(JOBS, seen[-1]):
            raise StuckError(f"the tube is empty, but fewer than {JOBS} jobs were done: check if beanstalkd restarted")
        if unchanged_s(seen) > view.scaling.timeout_s:
            raise StuckError(stuck(view.scaling, JOBS, reached, seen[-1]))
        time.sleep(OBSERVE_EVERY_S)


def _show(console: Console, scaling: Scaling) -> AbstractContextManager[Show]:
    live = console.is_terminal and not console.is_dumb_terminal
    return _screen(console, scaling) if live else _lines(console)


@contextmanager
def _screen(console: Console, scaling: Scaling) -> Iterator[Show]:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda seen: live.update(picture(scaling, JOBS, seen, *console.size), refresh=True)


@contextmanager
def _lines(console: Console) -> Iterator[Show]:
    console.print(f"{0:6.1f} s  {JOBS} jobs put")

    def show(seen: Sequence[Observation]) -> None:
        for line in changes(seen[-2] if len(seen) > 1 else None, seen[-1]):
            console.print(line)

    yield show


if __name__ == "__main__":
    sys.exit(main())
