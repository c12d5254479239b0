"""However many come, and as however many users: memory has bounds, and the kubelet is answered meanwhile."""

import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import batched
from pathlib import Path

import pytest

from app.api.limits import MAX_FORWARDED
from app.http.server import MAX_CONNECTIONS
from app.kube.client import Kubernetes
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes import floods
from tests.kubernetes.attackers import LIVEZ, MASTER, Line, figure, line, resident_bytes, vanish
from tests.kubernetes.cluster_objects import eventually
from tests.kubernetes.conftest import VALUES, Beanscale, Pair, serving
from tests.kubernetes.interruptible import InterruptibleProxy, interruptible
from tests.kubernetes.people import aggregator, kubernetes, namespace

__all__ = ["aggregator", "kubernetes", "namespace"]

METRIC = f"{VALUES}/tube-default"
MIB = 1 << 20
LINES = 8


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[InterruptibleProxy, Path]]:
    with interruptible(tmp_path_factory.mktemp("wire")) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def many_files() -> Iterator[None]:
    """A crowd needs more of them than a shell usually gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(autouse=True)
def little_memory(flooded: Beanscale) -> Iterator[None]:
    """Far from the pod's limit of 256 MiB after each flood."""
    yield
    assert resident_bytes(flooded, "VmHWM") < 200 * MIB


@pytest.fixture(scope="module")
def flooded(source: Beanstalkd, wire: tuple[InterruptibleProxy, Path]) -> Iterator[Beanscale]:
    """One that reaches kube-apiserver through the wire, and is warm."""
    options = ("--beanstalkd", f"eu={source.host}:{source.port}", "--kubeconfig", str(wire[1]))
    with serving(*options) as server:
        yield server


def loses_nothing(took_s: list[float]) -> bool:
    """As the kubelet judges by the chart's probes: three answers in a row that take two seconds are too many."""
    return not any(min(three) > 2 for three in zip(took_s, took_s[1:], took_s[2:], strict=False))


@contextmanager
def answered_meanwhile(server: Beanscale) -> Iterator[list[float]]:
    """Probe as the kubelet does, on a new connection each time; the seconds that each answer took."""
    took_s: list[float] = []
    running = True

    def probe() -> None:
        while running:
            began = time.monotonic()
            with line(server) as kubelet:
                assert kubelet.ask(LIVEZ).code == 200
            took_s.append(time.monotonic() - began)
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as kubelet:
        probing = kubelet.submit(probe)
        try:
            yield took_s
        finally:
            running = False
        probing.result()


def flood(server: Beanscale, certificate: Pair | None, head: Callable[[int], str], requests: int) -> list[int]:
    """The codes of so many requests, no two alike, over a few lines at once."""

    def ask(numbers: tuple[int, ...]) -> list[int]:
        with line(server, certificate) as own:
            return [own.ask(f"{head(number)}\r\n\r\n".encode()).code for number in numbers]

    with ThreadPoolExecutor(LINES) as attackers:
        batches = batched(range(requests), requests // LINES, strict=True)
        return [code for codes in attackers.map(ask, batches) for code in codes]


def test_ten_thousand_users_and_tokens_use_little_memory(flooded: Beanscale, aggregator: Pair) -> None:
    def token(number: int) -> str:
        return f"GET {METRIC} HTTP/1.1\r\nhost: beanscale\r\nauthorization: Bearer made-up-{number}"

    def user(number: int) -> str:
        return f"GET {METRIC} HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: user-{number}"

    def user_with_a_long_name(number: int) -> str:  # /livez needs no review, so there can be more of them
        return f"GET /livez HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: {number:01900}"

    flood(flooded, aggregator, user_with_a_long_name, LINES)
    before = resident_bytes(flooded)
    with answered_meanwhile(flooded) as took_s:
        assert set(flood(flooded, None, token, 800)) == {401}
        assert set(flood(flooded, aggregator, user, 800)) == {403}
        assert set(flood(flooded, aggregator, user_with_a_long_name, 8400)) == {200}
    assert resident_bytes(flooded) - before < 16 * MIB
    assert loses_nothing(took_s)


def test_at_the_connection_limit_the_aggregator_keeps_its_connection(flooded: Beanscale, aggregator: Pair) -> None:
    before = resident_bytes(flooded)
    with line(flooded, aggregator) as shared, ExitStack() as crowd:
        shared.get("/livez", **MASTER)
        for _ in range(200):
            crowd.enter_context(line(flooded))
        with answered_meanwhile(flooded) as took_s:
            for _ in range(2 * MAX_CONNECTIONS):  # silent from the first moment
                crowd.enter_context(closing(socket.create_connection(("127.0.0.1", flooded.port))))
            assert shared.get("/metrics", **MASTER).code == 200
            with line(flooded, aggregator) as late:
                assert late.get("/metrics", **MASTER).code == 200
        assert figure(shared, "beanscale_connections") <= MAX_CONNECTIONS
        assert figure(shared, 'beanscale_connections_ended_total{reason="room"}') > MAX_CONNECTIONS
    assert resident_bytes(flooded) - before < MAX_CONNECTIONS * 100_000
    assert loses_nothing(took_s)


def test_a_client_that_vanishes_leaves_nothing_open(flooded: Beanscale, aggregator: Pair) -> None:
    for _ in range(50):
        opened = Line(flooded.port)
        opened.socket.sendall(b"GET /metrics HTTP/1.1\r\nhost: beanscale\r\n\r\n" * 3)
        vanish(opened)
    with line(flooded, aggregator) as shared:
        eventually(lambda: figure(shared, "beanscale_connections") == 1, within_s=30)


def test_a_huge_body_uses_no_memory(flooded: Beanscale, aggregator: Pair) -> None:
    before = resident_bytes(flooded)
    chunked = b"transfer-encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % bytes(1 << 16) * 64
    for body in (b"content-length: 1000000000000\r\n\r\n" + bytes(4 * MIB), chunked, b"content-length: 9\r\n\r\n"):
        for method in (b"GET", b"POST"):
            with line(flooded, aggregator) as shared:
                head = method + b" /livez HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: nobody\r\n"
                answers = shared.all(head + body, silence_s=0.2)
                assert [answer.code for answer in answers] in ([200], [])  # a client without a response was reset
    assert resident_bytes(flooded) - before < 8 * MIB


def test_with_too_many_in_flight_the_others_get_retry_after(
    flooded: Beanscale, wire: tuple[InterruptibleProxy, Path], aggregator: Pair
) -> None:
    def ask(user: int) -> bytes:
        return f"GET {METRIC} HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: crowd-{user}\r\n\r\n".encode()

    with ExitStack() as stack:
        crowd = [stack.enter_context(line(flooded, aggregator)) for _ in range(MAX_FORWARDED)]
        shared, anonymous = stack.enter_context(line(flooded, aggregator)), stack.enter_context(line(flooded))
        wire[0].hold()
        for number, each in enumerate(crowd):
            each.socket.sendall(ask(number % 2))
        eventually(lambda: figure(shared, "beanscale_requests_in_flight") == MAX_FORWARDED + 1, within_s=9)
        for user in (0, 2):
            refused = shared.ask(ask(user))
            assert (refused.code, refused.headers["retry-after"]) == (429, "1")
            assert refused.body == b"Too many requests, please try again later.\n"
        for path in ("/livez", "/readyz", "/healthz"):
            assert anonymous.get(path).code == 200
        assert shared.get(METRIC, **MASTER).code == 200
        wire[0].mend()
        assert {answer.code for each in crowd if (answer := each.next())} == {403}
        assert shared.ask(ask(0)).code == 403


@pytest.fixture(scope="module")
def token(kubernetes: Kubernetes, namespace: str) -> str:
    """Of a ServiceAccount without any rights."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kubernetes.request("POST", accounts, body={"metadata": {"name": "eve"}})
    return str(kubernetes.request("POST", f"{accounts}/eve/token", body={"spec": {}})["status"]["token"])


@pytest.fixture(scope="module")
def direct(source: Beanstalkd) -> Iterator[Beanscale]:
    with serving("--beanstalkd", f"eu={source.host}:{source.port}") as server:
        yield server


def request(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "host: beanscale", *headers, "", ""]).encode()


LONG_QUERY = request(f"{METRIC}?labelSelector=tube+in+({'a,' * 3800}b)&timeout=1s")


@pytest.mark.parametrize("name", ["metrics by token", "expensive requests", "made-up tokens", "unread pipelines"])
def test_hpas_and_probes_are_served_during_a_flood(direct: Beanscale, aggregator: Pair, token: str, name: str) -> None:
    flood, *arguments = {
        "metrics by token": (floods.metrics_by_token, token, METRIC),
        "expensive requests": (floods.expensive_requests, LONG_QUERY),
        "made-up tokens": (floods.made_up_tokens, METRIC),
        "unread pipelines": (floods.unread_pipelines, request(f"/{'a' * 7900}"), MAX_CONNECTIONS - 50),
    }[name]
    probes_s, queries_s, codes = floods.latencies(direct, aggregator, METRIC, flood, *arguments)
    assert not codes.keys() - {401, 403, 429}
    assert floods.p99(probes_s) < 0.5
    assert floods.p99(queries_s) < 1
    assert resident_bytes(direct, "VmHWM") < 200 * MIB
