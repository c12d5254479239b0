"""scripts/demo from the chart on: install it, prove it, put jobs, and show a HorizontalPodAutoscaler at work."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from app.jobs.client import BeanstalkdError
from app.kube.client import connect
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from scripts.lib.demo_capture import svg
from scripts.lib.demo_cluster import Cluster, ForwardError, View, forwarded
from scripts.lib.demo_install import (
    NAMESPACE,
    RELEASE,
    StepError,
    Tools,
    install,
    make_namespace,
    prove,
    step,
    wait_until_available,
)
from scripts.lib.demo_pods import image_values
from scripts.lib.demo_screen import picture
from scripts.lib.demo_story import Observation, Scaling, at_rest, lost, milestones, quiet_s, scaling
from scripts.lib.demo_words import figures, lines, proven, stuck

JOBS = 20
LOOK_EVERY_S = 0.5
CAPTURE_SIZE = (100, 34)
HELLO_WORLD = ObjectName(NAMESPACE, f"{RELEASE}-hello-world")
BEANSTALKD = ObjectName(NAMESPACE, f"{RELEASE}-beanstalkd")


class StuckError(Exception):
    """What was put in motion came to nothing; `str()` is a sentence."""


type Show = Callable[[Sequence[Observation]], None]


def main() -> int:
    """Exit status 1 after one line that says which step failed, why, and what to look at; 130 after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        run(console, _arguments())
    except KeyboardInterrupt:
        return 130
    except StepError as error:
        print(f"scripts/demo: {error.step}: {error}\n  look at: {error.look}", file=sys.stderr)
        return 1
    except KubernetesError as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # and so by way of everything that is to be put back


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", add_help=False)
    parser.add_argument("--context")
    parser.add_argument("--image")
    parser.add_argument("--beanstalkd-image")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--capture", type=Path)
    return parser.parse_args()


def run(console: Console, arguments: argparse.Namespace) -> None:
    """The whole demo. Raises StepError and KubernetesError."""
    tools, kubernetes = _tools(arguments.context), connect(None, arguments.context)
    make_namespace(kubernetes, tools)
    install(console, kubernetes, tools, _values(arguments))
    wait_until_available(console, kubernetes)
    prove(console, tools)
    cluster = Cluster(kubernetes, HELLO_WORLD)
    told = scaling(cluster.autoscaler())
    with forwarded(tools.kubectl, BEANSTALKD) as beanstalkd:
        seen = scale(console, View(cluster, beanstalkd, told), tools)
    console.print(f"\nProven: {proven(told, JOBS, milestones(told, JOBS, seen))}")
    if arguments.capture:
        width, height = CAPTURE_SIZE
        drawn = svg(picture(told, JOBS, seen, width, height), width, "scripts/demo")
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
    """Put the jobs and watch until all is as before. Returns what was seen. Raises StepError."""
    title = "rest before the jobs"
    try:
        wait_for_rest(console, title, view)
        title = f"put {JOBS} jobs"
        deleted = put(view)
        title = "watch it scale"
        with _show(console, view.scaling) as show:
            return watch(show, view, deleted)
    except (BeanstalkdError, ForwardError, StuckError) as error:
        look = f"{tools.kubectl_in_words} -n {NAMESPACE} describe hpa,pods"
        raise StepError(title, str(error), look) from error


def wait_for_rest(console: Console, title: str, view: View) -> None:
    """Until an earlier demo's jobs are done and its pods gone: else this one would prove nothing. Raises StuckError."""
    begun = time.monotonic()
    seen: list[Observation] = []
    with step(console, title) as tell:
        while True:
            seen.append(view.look(time.monotonic() - begun))
            if at_rest(view.scaling, seen[-1]):
                return
            tell("; ".join(seen[-1].troubles) or figures(seen[-1]))
            if quiet_s(seen) > view.scaling.patience_s:
                raise StuckError("; ".join(seen[-1].troubles) or figures(seen[-1]))
            time.sleep(LOOK_EVERY_S)


def put(view: View) -> int:
    """All jobs at once. Returns how many of the tube were deleted before. Raises BeanstalkdError and ForwardError."""
    before = view.beanstalkd.counts(view.scaling.tube)
    view.beanstalkd.put(view.scaling.tube, JOBS)
    return before.deleted


def watch(show: Show, view: View, deleted_before: int) -> tuple[Observation, ...]:
    """Look until there are as few pods as before, and show it all the while. Raises StuckError."""
    begun = time.monotonic()
    seen: list[Observation] = []
    while True:
        seen.append(view.look(time.monotonic() - begun, deleted_before))
        show(seen)
        reached = milestones(view.scaling, JOBS, seen)
        if reached.back_s is not None:
            return tuple(seen)
        if reached.done_s is None and lost(JOBS, seen[-1]):
            raise StuckError(f"the tube is empty, but not all {JOBS} jobs were done: was beanstalkd restarted?")
        if quiet_s(seen) > view.scaling.patience_s:
            raise StuckError(stuck(view.scaling, JOBS, reached, seen[-1]))
        time.sleep(LOOK_EVERY_S)


def _show(console: Console, told: Scaling) -> AbstractContextManager[Show]:
    live = console.is_terminal and not console.is_dumb_terminal
    return _screen(console, told) if live else _lines(console)


@contextmanager
def _screen(console: Console, told: Scaling) -> Iterator[Show]:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda seen: live.update(picture(told, JOBS, seen, *console.size), refresh=True)


@contextmanager
def _lines(console: Console) -> Iterator[Show]:
    console.print(f"{0:6.1f} s  {JOBS} jobs put")

    def show(seen: Sequence[Observation]) -> None:
        for line in lines(seen[-2] if len(seen) > 1 else None, seen[-1]):
            console.print(line)

    yield show


if __name__ == "__main__":
    sys.exit(main())
