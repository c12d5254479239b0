"""Floods, each run in a process of its own: threads of the test's process would keep its own probes waiting."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import islice, repeat
from multiprocessing import get_context

from tests.kubernetes.attackers import LIVEZ, Line, line
from tests.kubernetes.conftest import Beanscale, Pair

FLOOD_S = 4.0
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
    with ProcessPoolExecutor(1, get_context("spawn")) as attackers, line(server, aggregator) as kept:
        assert kept.get(query, **HPA).code == 200
        flooding = attackers.submit(flood, server.port, *arguments)
        while not flooding.done():
            began = time.monotonic()
            with line(server) as kubelet:
                assert kubelet.ask(LIVEZ).code == 200
            probes.append(time.monotonic() - began)
            with line(server, aggregator) as new:
                for forwarded in (kept, new):
                    began = time.monotonic()
                    assert forwarded.get(query, **HPA).code == 200
                    queries.append(time.monotonic() - began)
            time.sleep(0.03)
        return probes, queries, flooding.result()


def p99(took_s: Sequence[float]) -> float:
    """Return the time within which 99 of 100 are served."""
    return sorted(took_s)[(len(took_s) - 1) * 99 // 100]


def asking(port: int, connections: int, requests: Iterable[bytes], certificate: Pair | None = None) -> Counter[int]:
    """Send requests on many connections at once, for FLOOD_S or until there are no more."""
    codes, left = Counter[int](), iter(requests)
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(Line(port, certificate))) for _ in range(connections)]
        until = time.monotonic() + FLOOD_S
        while time.monotonic() < until and (batch := list(islice(left, connections))):
            asked = list(zip(lines, batch, strict=False))
            for each, request in asked:
                each.socket.sendall(request)
            for each, _ in asked:
                answer = each.next()
                codes[answer.code if answer else 0] += 1
    return codes


def numbered(
    port: int, connections: int, head: str, requests: int = 1_000_000, certificate: Pair | None = None
) -> Counter[int]:
    """Send requests of which no two are alike: `{}` in the head is a number."""
    heads = (f"{head.replace('{}', str(number))}\r\n\r\n".encode() for number in range(requests))
    return asking(port, connections, heads, certificate)


def one_request(port: int, connections: int, request: bytes) -> Counter[int]:
    """Send one request, as fast as it is answered."""
    return asking(port, connections, repeat(request))


def huge_bodies(port: int, connections: int) -> Counter[int]:
    """Send bodies in chunks, as long as they are taken."""
    chunked = b"POST /livez HTTP/1.1\r\nhost: beanscale\r\ntransfer-encoding: chunked\r\n\r\n"
    until = time.monotonic() + FLOOD_S
    while time.monotonic() < until:
        with ExitStack() as stack:
            for _ in range(connections):
                each = stack.enter_context(closing(Line(port)))
                with suppress(OSError):
                    each.socket.sendall(chunked + b"10000\r\n%s\r\n" % bytes(1 << 16) * 16)
    return Counter()


def unread_pipelines(port: int, connections: int, request: bytes) -> Counter[int]:
    """Pipeline requests on many connections, and read no response."""
    with ExitStack() as stack:
        for _ in range(connections):
            with suppress(OSError):
                opened = stack.enter_context(closing(Line(port)))
                opened.socket.settimeout(0.02)
                opened.socket.sendall(request * 24)
        time.sleep(FLOOD_S)
    return Counter()


def silent_connections(port: int, connections: int) -> Counter[int]:
    """Open many that send nothing, a tenth of them with TLS."""
    with ExitStack() as crowd:
        for _ in range(connections // 10):
            crowd.enter_context(closing(Line(port)))
        for _ in range(connections):
            crowd.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
        time.sleep(FLOOD_S)
    return Counter()
