"""Floods, each run in a process of its own: threads of the test's process would keep its own probes waiting."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, suppress
from multiprocessing import get_context

from tests.kubernetes.attackers import LIVEZ, Line, line
from tests.kubernetes.conftest import Beanscale, Pair

FLOOD_S = 8.0
HPA = {
    "x_remote_user": "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    "x_remote_group": "system:serviceaccounts",
}
"""The headers with which kube-apiserver forwards the HPA controller's queries."""


def latencies(
    server: Beanscale, aggregator: Pair, query: str, flood: Callable[..., Counter[int]], *arguments: object
) -> tuple[list[float], list[float], Counter[int]]:
    """Return the seconds of probes, those of an HPA's queries, and the status codes that the flood got."""
    probes, queries = list[float](), list[float]()
    with ProcessPoolExecutor(1, get_context("spawn")) as attackers, line(server, aggregator) as forwarded:
        assert forwarded.get(query, **HPA).code == 200
        flooding = attackers.submit(flood, server.port, *arguments)
        while not flooding.done():
            began = time.monotonic()
            with line(server) as kubelet:
                assert kubelet.ask(LIVEZ).code == 200
            probed = time.monotonic()
            assert forwarded.get(query, **HPA).code == 200
            probes.append(probed - began)
            queries.append(time.monotonic() - probed)
            time.sleep(0.03)
        return probes, queries, flooding.result()


def p99(took_s: Sequence[float]) -> float:
    """Return the time within which 99 of 100 are served."""
    return sorted(took_s)[(len(took_s) - 1) * 99 // 100]


def asking(port: int, connections: int, requests: Iterator[bytes]) -> Counter[int]:
    """Send requests on many connections at once, for FLOOD_S."""
    codes, until = Counter[int](), time.monotonic() + FLOOD_S
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(Line(port))) for _ in range(connections)]
        while time.monotonic() < until:
            for each in lines:
                each.socket.sendall(next(requests))
            for each in lines:
                answer = each.next()
                codes[answer.code if answer else 0] += 1
    return codes


def metrics_by_token(port: int, token: str, path: str) -> Counter[int]:
    """Query 300 different metrics at once, again and again."""
    head = f"HTTP/1.1\r\nhost: beanscale\r\nauthorization: Bearer {token}\r\n\r\n"
    return asking(port, 300, (f"GET {path}-{number} {head}".encode() for number in range(1_000_000)))


def expensive_requests(port: int, request: bytes) -> Counter[int]:
    """Send one request, as fast as it is answered."""
    return asking(port, 40, iter(lambda: request, b""))


def made_up_tokens(port: int, path: str) -> Counter[int]:
    """Try another token each time."""
    head = f"GET {path} HTTP/1.1\r\nhost: beanscale\r\nauthorization: Bearer made-up"
    return asking(port, 300, (f"{head}-{number}\r\n\r\n".encode() for number in range(1_000_000)))


def unread_pipelines(port: int, request: bytes, connections: int) -> Counter[int]:
    """Pipeline requests on many connections, and read no response."""
    with ExitStack() as stack:
        for _ in range(connections):
            with suppress(OSError):
                opened = stack.enter_context(closing(Line(port)))
                opened.socket.settimeout(0.1)
                opened.socket.sendall(request * 24)
        time.sleep(FLOOD_S)
    return Counter()
