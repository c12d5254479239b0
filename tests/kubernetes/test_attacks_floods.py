"""However many come, and as however many users: memory has bounds, and the kubelet is answered meanwhile."""

import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.api.limits import MAX_FORWARDED
from app.http.server import MAX_CONNECTIONS
from app.kube.client import Kubernetes
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes import floods
from tests.kubernetes.attackers import MASTER, Line, figure, line, resident_bytes, vanish
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


def served(server: Beanscale, aggregator: Pair, flood: Callable[..., Counter[int]], *arguments: object) -> set[int]:
    """Assert that HPAs and the kubelet are served during a flood; return the codes of its own responses."""
    probes_s, queries_s, codes = floods.latencies(server, aggregator, METRIC, flood, *arguments)
    assert floods.p99(probes_s) < 0.5
    assert floods.p99(queries_s) < 1
    return set(codes)


def test_ten_thousand_users_and_tokens_use_little_memory(flooded: Beanscale, aggregator: Pair) -> None:
    token = f"GET {METRIC} HTTP/1.1\r\nhost: beanscale\r\nauthorization: Bearer made-up-{{}}"
    user = f"GET {METRIC} HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: user-{{}}"
    # /livez needs no review, so there can be more of them
    long_name = f"GET /livez HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: {'0' * 1900}{{}}"
    floods.numbered(flooded.port, LINES, long_name, LINES, aggregator)
    before = resident_bytes(flooded)
    assert served(flooded, aggregator, floods.numbered, LINES, token, 800) == {401}
    assert served(flooded, aggregator, floods.numbered, LINES, user, 800, aggregator) == {403}
    assert served(flooded, aggregator, floods.numbered, 50, long_name, 8400, aggregator) == {200}
    assert resident_bytes(flooded) - before < 16 * MIB


def test_at_the_connection_limit_the_aggregator_keeps_its_connection(flooded: Beanscale, aggregator: Pair) -> None:
    before = resident_bytes(flooded)
    assert served(flooded, aggregator, floods.silent_connections, 2 * MAX_CONNECTIONS) == set()
    with line(flooded, aggregator) as shared:
        assert figure(shared, "beanscale_connections") <= MAX_CONNECTIONS
        assert figure(shared, 'beanscale_connections_ended_total{reason="room"}') > MAX_CONNECTIONS
    assert resident_bytes(flooded) - before < MAX_CONNECTIONS * 100_000


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


def selecting(values: str) -> str:
    return f"{METRIC}?labelSelector=tube+in+({values})&timeout=1s"


DIFFERENT = ",".join(f"{number:x}" for number in range(1500))
EXPENSIVE = request("/" + "%22" * 990, "accept: application/yaml")


@pytest.mark.parametrize(
    "name",
    [
        "metrics by token",
        "selectors by token",
        "long selectors",
        "responses in YAML",
        "made-up tokens",
        "huge bodies",
        "unread pipelines",
    ],
)
def test_hpas_and_probes_are_served_during_a_flood(direct: Beanscale, aggregator: Pair, token: str, name: str) -> None:
    bearer, most = f"authorization: Bearer {token}", MAX_CONNECTIONS - 50
    flood, *arguments = {
        "metrics by token": (floods.numbered, 300, f"GET {METRIC}-{{}} HTTP/1.1\r\nhost: beanscale\r\n{bearer}"),
        "selectors by token": (floods.one_request, 500, request(selecting(DIFFERENT), bearer)),
        "long selectors": (floods.one_request, 40, request(selecting("a," * 3800))),
        "responses in YAML": (floods.one_request, most, EXPENSIVE),
        "made-up tokens": (
            floods.numbered,
            300,
            f"GET {METRIC} HTTP/1.1\r\nhost: beanscale\r\nauthorization: Bearer made-up-{{}}",
        ),
        "huge bodies": (floods.huge_bodies, 40),
        "unread pipelines": (floods.unread_pipelines, most, request(f"/{'a' * 7900}")),
    }[name]
    assert not served(direct, aggregator, flood, *arguments) - {401, 403, 429}
    assert resident_bytes(direct, "VmHWM") < 200 * MIB
