"""Slow requests time out, and while reviews fail no new client gets access. All waits here run concurrently."""

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice

import pytest

from app.api.limits import DEADLINE_S
from app.api.review_cache import CACHED_S
from app.http.connection import PHASES, Phase
from app.http.server import EXPIRE_EVERY_S
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.attackers import MASTER, Answer, Line, figure, line, vanish
from tests.kubernetes.cluster_objects import eventually
from tests.kubernetes.conftest import Beanscale, Pair, serving
from tests.kubernetes.interruptible import InterruptibleProxy, interruptible
from tests.kubernetes.people import aggregator, cluster_ca, kubernetes, namespace, shopper

__all__ = ["aggregator", "cluster_ca", "kubernetes", "namespace", "shopper"]

METRICS = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}"
HEAD = b"GET /livez HTTP/1.1\r\nhost: beanscale\r\n"
NO_REVIEW = r"can't be reviewed now; retry later"
"""What clients get, without the address of kube-apiserver."""
UNREACHABLE = r"can't be reached for POST|succeeded within"
"""What the log says: at once, or by the deadline where the machine stood still meanwhile."""
SLOW_S = 4.0
"""How long kube-apiserver takes for each answer: not too long for one."""
SLOWLY: Mapping[str, tuple[Phase, bytes, bytes]] = {
    "nothing of a handshake": (Phase.HANDSHAKE, b"", b""),
    "a part of a handshake": (Phase.HANDSHAKE, b"\x16\x03\x01\x02\x00\x01", bytes(100)),
    "a part of a head": (Phase.HEAD, HEAD + b"x: ", b"a" * 100),
    "a part of a body": (Phase.BODY, HEAD + b"content-length: 200\r\n\r\n", b"a" * 100),
    "a part of a chunk": (Phase.BODY, HEAD + b"transfer-encoding: chunked\r\n\r\n99\r\n", b"a" * 100),
    "tiny chunks": (Phase.BODY, HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 16),
    "a part of the trailers": (Phase.BODY, HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx: ", b"a" * 100),
}
"""When a client is slow, what it says at once, and what slowly."""


@pytest.fixture(scope="module")
def at_once() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


@contextmanager
def far_from_kubernetes(
    source: Beanstalkd, folder: pytest.TempPathFactory
) -> Iterator[tuple[Beanscale, InterruptibleProxy]]:
    with interruptible(folder.mktemp("wire")) as (wire, kubeconfig):
        options = ("--beanstalkd", f"eu={source.host}:{source.port}", "--kubeconfig", str(kubeconfig))
        with serving(*options) as server:
            yield server, wire


@pytest.fixture(scope="module")
def cut_off(
    source: Beanstalkd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Beanscale, InterruptibleProxy]]:
    with far_from_kubernetes(source, tmp_path_factory) as far:
        yield far


@pytest.fixture(scope="module", autouse=True)
def ends(
    at_once: ThreadPoolExecutor, cut_off: tuple[Beanscale, InterruptibleProxy]
) -> Mapping[str, Future[tuple[float, float]]]:
    """After how many seconds the server hung up on each who is slow: at most these, and at least those."""
    gone = Line(cut_off[0].port)
    gone.socket.sendall(HEAD)
    time.sleep(0.3)  # until the server's kernel has acknowledged it and sends nothing more
    vanish(gone)
    return {name: at_once.submit(hung_up_after, cut_off[0], *slowly) for name, slowly in SLOWLY.items()}


def hung_up_after(server: Beanscale, phase: Phase, first: bytes, then: bytes) -> tuple[float, float]:
    plain, came = phase is Phase.HANDSHAKE, time.monotonic()
    slow = socket.create_connection(("127.0.0.1", server.port)) if plain else Line(server.port).socket
    with closing(slow):
        slow.settimeout(0.2)
        slow.sendall(first)
        began = time.monotonic()
        following = iter(then)
        while time.monotonic() < began + 3 * PHASES[phase].timeout_s:
            try:
                if not slow.recv(1 << 16):
                    break
            except TimeoutError:
                slow.sendall(bytes(islice(following, 1)))
            except OSError:
                break
        return time.monotonic() - came, time.monotonic() - began


@pytest.fixture(scope="module", autouse=True)
def slow(
    at_once: ThreadPoolExecutor, source: Beanstalkd, tmp_path_factory: pytest.TempPathFactory, aggregator: Pair
) -> Iterator[Future[tuple[Answer, float]]]:
    """The answer to a request whose review by kube-apiserver takes long, and in how many seconds it came."""
    with far_from_kubernetes(source, tmp_path_factory) as (server, wire):
        yield at_once.submit(asked_slowly, server, wire, aggregator)


def asked_slowly(server: Beanscale, wire: InterruptibleProxy, aggregator: Pair) -> tuple[Answer, float]:
    with line(server, aggregator) as shared:
        assert shared.get("/metrics", x_remote_user="nobody").code == 403  # its connection to kube-apiserver stays open
        wire.delay_s = SLOW_S
        began = time.monotonic()
        answer = shared.get("/nope", x_remote_user="nobody")
        return answer, time.monotonic() - began


def test_while_reviews_fail_only_recently_allowed_requests_are_served(
    at_once: ThreadPoolExecutor,
    cut_off: tuple[Beanscale, InterruptibleProxy],
    aggregator: Pair,
    shopper: Pair,
    namespace: str,
) -> None:
    (server, wire), path = cut_off, METRICS.format(namespace)
    known, other = f"{path}/tube-default", f"{path}/tube-other"

    def ask(certificate: Pair | None, path: str, **headers: str) -> tuple[int, str]:
        with line(server, certificate) as own:
            answer = own.get(path, **headers)
            return answer.code, str(json.loads(answer.body).get("message", ""))

    assert ask(shopper, known) == (200, "")
    allowed_at = time.monotonic()
    wire.cut()
    anonymous = at_once.submit(ask, None, other)
    token = at_once.submit(ask, None, known, authorization="Bearer made-up")
    user = at_once.submit(ask, shopper, other)
    assert ask(shopper, known) == (200, "")
    assert ask(aggregator, other, **MASTER) == (200, "")
    for answer, code in ((anonymous, 500), (token, 503), (user, 500)):
        assert answer.result()[0] == code
        assert re.search(NO_REVIEW, answer.result()[1])
    wire.hold()
    time.sleep(max(0, allowed_at + CACHED_S + 0.2 - time.monotonic()))
    code, message = ask(shopper, known)
    assert code == 500
    assert re.search(NO_REVIEW, message)
    assert re.search(UNREACHABLE, server.log.read_text())
    wire.mend()
    eventually(lambda: ask(shopper, known) == (200, ""))


@pytest.mark.parametrize("name", SLOWLY)
def test_a_slowly_sent_request_gets_no_more_time(ends: Mapping[str, Future[tuple[float, float]]], name: str) -> None:
    patience_s = PHASES[SLOWLY[name][0]].timeout_s
    at_most_s, at_least_s = ends[name].result()
    assert at_most_s > patience_s - EXPIRE_EVERY_S - 0.5
    assert at_least_s < 2 * patience_s, "it ends by itself after three times as long"


def test_a_client_that_vanished_within_a_head_is_disconnected(
    ends: Mapping[str, Future[tuple[float, float]]], cut_off: tuple[Beanscale, InterruptibleProxy], aggregator: Pair
) -> None:
    for end in ends.values():
        end.result()
    with line(cut_off[0], aggregator) as shared:
        assert figure(shared, 'beanscale_connections_ended_total{reason="head"}') == 2
        eventually(lambda: figure(shared, "beanscale_connections") == 1)


def test_a_slow_kubernetes_delays_a_response_until_the_deadline(slow: Future[tuple[Answer, float]]) -> None:
    answer, took_s = slow.result()
    assert answer.code == 403
    assert SLOW_S <= took_s < DEADLINE_S
