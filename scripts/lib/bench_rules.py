"""Duration of a response by the number of tubes: three beanstalkds, a hundred rules."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from bench_report import Row, Threshold, at_most
from bench_results import TUBE, Bench, make_tubes, producer
from bench_servers import MOUNTED, RULES, VALUES, Program, Server, beanstalkd

SERVERS = 3
TUBES = (100, 1_000, 10_000)
"""On each server."""
MAX_MEMORY_MB = 150.0
MAX_GROWTH = 1.5
_SAMPLES = 300
_QUERIES = {
    f"tube-{TUBE}": f"tube-{TUBE}",
    "a glob's rule, tube selected": f"every-00?labelSelector=tube%3D{TUBE}-00001",
    "jobs by state, tube selected": f"beanstalkd_tube_jobs?labelSelector=tube%3D{TUBE}-00001",
    "a glob's rule, all its tubes summed": "all-00",
}
"""Title to query. The last one includes every tube."""


def rules_text() -> str:
    """Return the hundred rules: a quarter names tubes, the rest has globs; half have a value per tube."""
    kinds = (
        ("named", f"[{TUBE}-00001, {TUBE}-00002]", "[]"),
        ("every", f'["{TUBE}-*"]', "[tube]"),
        ("some", f'["{TUBE}-0000?", "other-*"]', "[tube, server]"),
        ("all", '["*"]', "[]"),
    )
    rule = "  - {{name: {}-{:02}, tubes: {}, per: {}, value: ready + reserved + 0.5 * delayed}}\n"
    return "metrics:\n" + "".join(rule.format(name, n, tubes, per) for n in range(25) for name, tubes, per in kinds)


def rules(bench: Bench) -> list[Row]:
    """See scripts/bench --help."""
    ours = bench.programs[0]
    measured = {
        title: [Row(f"{title}: p50 of {n:,} tubes on each of {SERVERS}", "ms", digits=2) for n in TUBES]
        for title in _QUERIES
    }
    for title in list(_QUERIES)[:-1]:
        measured[title][-1].threshold = _hardly_more_than(measured[title][0])
    memory = Row(
        f"resident memory, {TUBES[-1]:,} tubes on each of {SERVERS}, 100 rules",
        "MB",
        at_most(MAX_MEMORY_MB, "MB"),
        max,
    )
    for position, tubes in enumerate(TUBES):
        with _full_servers(tubes) as sources, bench.serving(_with_rules(ours, sources[1:]), sources[0]) as server:
            server.first_value(TUBE)
            time.sleep(40)  # the window of the rates is full then
            for title, query in _QUERIES.items():
                measured[title][position].add(ours.name, _p50_ms(server, query))
            if tubes == TUBES[-1]:
                memory.add(ours.name, server.max_resident_mb())
    return [*(row for rows in measured.values() for row in rows), memory]


def _hardly_more_than(first: Row) -> Threshold:
    return Threshold(
        f"≤ {MAX_GROWTH:g} times of {TUBES[0]}",
        lambda ours, _: ours <= MAX_GROWTH * (first.result("beanscale") or 0),
    )


@contextmanager
def _full_servers(tubes: int) -> Iterator[Sequence[tuple[str, int]]]:
    with ExitStack() as stack:
        sources = [stack.enter_context(beanstalkd()) for _ in range(SERVERS)]
        for source in sources:
            # stays open: the tube that its connection uses is one of them
            make_tubes(stack.enter_context(producer(source, TUBE)), tubes)
        yield sources


def _with_rules(ours: Program, others: Sequence[tuple[str, int]]) -> Program:
    more = [f"--beanstalkd=bench-{port}={host}:{port}" for host, port in others]
    return Program(ours.name, lambda port, tubes: [*ours.command(port, tubes), *more, f"--rules={MOUNTED}/{RULES}"])


def _p50_ms(server: Server, query: str) -> float:
    took_ms = []
    with server.connected() as get:
        for number in range(_SAMPLES):
            # a new query each time: repeated ones are cached until the next reading
            new = f"{query}{'&' if '?' in query else '?'}limit={number + 1}"
            began = time.perf_counter()
            get(f"{VALUES}/{new}")
            took_ms.append((time.perf_counter() - began) * 1000)
            time.sleep(0.01)
    return median(took_ms)
