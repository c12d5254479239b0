"""A request of an unauthenticated client costs at most 2 ms of CPU: otherwise a few clients keep all others waiting."""

import asyncio
import time
from collections.abc import Mapping

import pytest

from app.http.connection import LIMITS_WITHOUT_CERTIFICATE, MAX_HEAD, MAX_PARAMETERS
from app.http.server import HttpServer, listen
from tests.unit.api.test_app import DENYING

pytestmark = pytest.mark.anyio

MOST_S = 0.002
TRIALS = 50
TARGET = LIMITS_WITHOUT_CERTIFICATE.target - 200
METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/tube-a"


def head(target: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: beanscale", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def filled(text: str, size: int = TARGET) -> str:
    return text * (size // len(text))


def selecting(selector: str) -> bytes:
    return head(f"{METRIC}?labelSelector={selector}")


def accepting(accept: str) -> bytes:
    return head("/x", f"accept: {accept}")


YAML = "accept: application/yaml"
BODY = LIMITS_WITHOUT_CERTIFICATE.unread_body - 100
EXPENSIVE: Mapping[str, bytes] = {
    "many conditions": selecting(filled("a,") + "a"),
    "many negations": selecting(filled("!a,") + "a"),
    "many values": selecting(f"tube+in+({filled('a,')}a)"),
    "many different values": selecting(f"tube+in+({','.join(f'{number:x}' for number in range(1500))})"),
    "invalid values": selecting(f"tube+in+({filled('-,')}a)"),
    "escaped selector": selecting(filled("%41")),
    "field selector": head(f"{METRIC}?fieldSelector={filled('a,')}"),
    "parameters": head(f"{METRIC}?{'a=%61&' * (MAX_PARAMETERS - 3)}timeout=1s&pretty=1"),
    "long parameters": head(f"{METRIC}?{('a=' + '%61' * 9 + '&') * (MAX_PARAMETERS - 3)}timeout=1s&pretty=1"),
    "too many parameters": head(f"{METRIC}?{filled('a&')}timeout=1s&pretty=1"),
    "escaped path": head("/" + filled("%41")),
    "path that isn't UTF-8": head("/" + filled("%ff")),
    "bytes beyond ASCII": b"GET /" + b"\xff" * (MAX_HEAD - 100) + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "long path as YAML": head("/" + filled("a"), YAML),
    "quotes as YAML": head("/" + filled("%22"), YAML),
    "line ends as YAML": head("/" + filled("%0a"), YAML),
    "line separators as YAML": head("/" + filled("%e2%80%a8"), YAML),
    "slashes": head("/apis/" + filled("/")),
    "long namespace": head(METRIC.replace("shop", filled("a", TARGET - 100))),
    "media ranges": accepting(filled("a;b=c,", 30_000)),
    "parameters of a media range": accepting("a" + filled(";b=c", 30_000)),
    "parameters of media ranges": accepting(filled(";" * 110 + ",", 30_000)),
    "qualities": accepting(filled("a;q=0.5,", 30_000)),
    "encodings": head("/x", "accept-encoding: " + filled("a,", 30_000)),
    "headers": head("/x", *(f"a{number}: {filled('b', 290)}" for number in range(96))),
    "spaces before a token": head("/x", "authorization: " + filled(" ", 30_000) + "x"),
    "a token": head("/x", "authorization: Bearer " + filled("a", 30_000)),
    "other credentials": head("/x", "authorization: Basic " + filled("a ", 30_000)),
    "cookies": head("/x", "cookie: " + filled("a=b;", 30_000)),
    "entity tags": head("/openapi/v2", "if-none-match: " + filled('"a",', 30_000)),
    "impersonation": head("/x", *(f"impersonate-extra-{number}: a" for number in range(96))),
    "forwarded for": head("/x", *("x-forwarded-for: " + filled("1,", 280) for _ in range(96))),
    "audit ID": head("/x", "audit-id: " + filled("a", 30_000)),
    "body": head("/x", f"content-length: {BODY}", method="POST") + bytes(BODY),
    "chunks": head("/x", "transfer-encoding: chunked", method="POST")
    + filled("1\r\na\r\n", BODY).encode()
    + b"0\r\n\r\n",
    "trailers": head("/x", "transfer-encoding: chunked", method="POST") + b"0\r\n" + b"a: b\r\n" * 4000 + b"\r\n",
    "not found": head("/apis/" + filled("a/")),
    "version": head("/version"),
    "metrics": head("/metrics"),
    "discovery": head("/apis/external.metrics.k8s.io/v1beta1"),
    "OpenAPI": head("/openapi/v2"),
    "half a head": b"GET / HTTP/1.1\r\n" + filled("a: b\r\n", MAX_HEAD - 100).encode() + b"\x00\r\n\r\n",
    "not HTTP": b"\x16\x03\x01" + bytes(MAX_HEAD),
}


@pytest.mark.parametrize("name", EXPENSIVE)
async def test_an_unauthenticated_request_costs_at_most_two_milliseconds(name: str) -> None:
    server = HttpServer()
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(server.serve(DENYING, listener, drain_s=0))
        least_s = 1.0
        for _ in range(TRIALS):  # a busy machine has less cache for this process, but not all the time
            if least_s < MOST_S:
                break
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await asyncio.sleep(0)
            began_s = time.thread_time()  # this thread's alone: client and server
            writer.write(EXPENSIVE[name])
            line = await reader.readline()
            await asyncio.sleep(0)
            least_s = min(least_s, time.thread_time() - began_s)
            assert line[:10] in {b"HTTP/1.1 4", b""}
            writer.transport.abort()
        server.shut_down()
        await serving
    assert least_s < MOST_S
