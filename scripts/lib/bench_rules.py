"""Whether an answer costs more where there are more tubes: three beanstalkds, a hundred rules, more and more tubes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from bench_figures import TUBE, Bench, make_tubes, producer
from bench_report import Bar, Row, at_most
from bench_servers import MOUNTED, RULES, VALUES, Program, Server, beanstalkd

SERVERS = 3
TUBES = (100, 1_000, 10_000)
"""On each server."""
MOST_MEMORY_MB = 150.0
MOST_GROWTH = 1.5
_SAMPLES = 300
_QUESTIONS = {
    f"tube-{TUBE}": f"tube-{TUBE}",
    "a glob's rule, tube selected": f"every-00?labelSelector=tube%3D{TUBE}-00001",
    "jobs by state, tube selected": f"beanstalkd_tube_jobs?labelSelector=tube%3D{TUBE}-00001",
    "a glob's rule, all its tubes summed": "all-00",
}
"""Words → what is asked for. The last one has to look at every tube."""


def rules_text() -> str:
    """The hundred rules: a quarter names tubes, the rest has globs; half keep the tubes apart."""
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
    asked = {
        words: [Row(f"{words}: p50 of {n:,} tubes on each of {SERVERS}", "ms", digits=2) for n in TUBES]
        for words in _QUESTIONS
    }
    for words in list(_QUESTIONS)[:-1]:
        asked[words][-1].bar = _hardly_more_than(asked[words][0])
    memory = Row(
        f"resident memory, {TUBES[-1]:,} tubes on each of {SERVERS}, 100 rules",
        "MB",
        at_most(MOST_MEMORY_MB, "MB"),
        max,
    )
    for position, tubes in enumerate(TUBES):
        with _full_servers(tubes) as sources, bench.serving(_with_rules(ours, sources[1:]), sources[0]) as server:
            server.first_value(TUBE)
            time.sleep(40)  # the rates' window is full then
            for words, question in _QUESTIONS.items():
                asked[words][position].add(ours.name, _p50_ms(server, question))
            if tubes == TUBES[-1]:
                memory.add(ours.name, server.most_resident_mb())
    return [*(row for rows in asked.values() for row in rows), memory]


def _hardly_more_than(first: Row) -> Bar:
    return Bar(
        f"≤ {MOST_GROWTH:g} times of {TUBES[0]}",
        lambda ours, _: ours <= MOST_GROWTH * (first.figure("beanscale") or 0),
    )


@contextmanager
def _full_servers(tubes: int) -> Iterator[Sequence[tuple[str, int]]]:
    with ExitStack() as stack:
        sources = [stack.enter_context(beanstalkd()) for _ in range(SERVERS)]
        for source in sources:
            # not ended before: what its connection uses is one of the tubes
            make_tubes(stack.enter_context(producer(source, TUBE)), tubes)
        yield sources


def _with_rules(ours: Program, others: Sequence[tuple[str, int]]) -> Program:
    more = [f"--beanstalkd=bench-{port}={host}:{port}" for host, port in others]
    return Program(ours.name, lambda port, tubes: [*ours.command(port, tubes), *more, f"--rules={MOUNTED}/{RULES}"])


def _p50_ms(server: Server, question: str) -> float:
    took_ms = []
    with server.asking() as get:
        for number in range(_SAMPLES):
            # one that was never asked before: what was, is answered from memory until something new is read
            new = f"{question}{'&' if '?' in question else '?'}limit={number + 1}"
            began = time.perf_counter()
            get(f"{VALUES}/{new}")
            took_ms.append((time.perf_counter() - began) * 1000)
            time.sleep(0.01)
    return median(took_ms)
