"""Measure and print one table. scripts/bench runs it in the cluster's network; see its --help."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import click
from bench_report import Row, machine, show
from bench_results import BENCHMARKS, Bench
from bench_rules import rules, rules_text
from bench_scale import scale
from bench_servers import BenchError, beanscale, peer

ALL: Mapping[str, Callable[[Bench], list[Row]]] = {**BENCHMARKS, "rules": rules, "scale": scale}
"""Scaling last: its pods would affect the others."""


@click.command()
@click.option("--peer", "peer_binary", type=click.Path(exists=True, dir_okay=False, resolve_path=True))
@click.option("--seconds", type=click.IntRange(1, 600), default=8)
@click.option("--image", help="The image in containerd. Without it, only parse the options.")
@click.argument("benchmarks", nargs=-1, type=click.Choice(list(ALL)))
def bench(peer_binary: str | None, seconds: int, image: str | None, benchmarks: tuple[str, ...]) -> None:
    """Measure beanscale."""
    if image is None:
        return
    where = machine()
    *_, last_core = cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {last_core})  # and that of all child processes except the servers
    pki = Path(os.environ["BEANSCALE_PKI"])
    rows: list[Row] = []
    with ExitStack() as stack:
        programs = [stack.enter_context(beanscale(image, pki, rules_text()))]
        if peer_binary:
            programs.append(peer(peer_binary, stack.enter_context(tempfile.TemporaryDirectory())))
        try:
            for name in [name for name in ALL if name in (benchmarks or ALL)]:
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                rows += ALL[name](Bench(programs, pki, cores[0], seconds))
        except BenchError:
            show(rows, where)  # they took minutes
            raise
    sys.exit(0 if show(rows, where) else 1)


def main() -> None:
    """Measure; report a failure in one line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends all child processes too
    try:
        bench(prog_name="scripts/bench", standalone_mode=False)
    except click.ClickException as error:
        print(f"scripts/bench: {error.format_message().rstrip('.')}; see scripts/bench --help", file=sys.stderr)
        sys.exit(2)
    except BenchError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        sys.exit(1)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
