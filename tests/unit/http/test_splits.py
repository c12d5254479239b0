"""How a stream of requests is split into segments makes no difference to its responses."""

import asyncio
import re
import socket
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.http.connection import MAX_HEAD, HttpConnection
from app.http.server import HttpServer
from tests.linear_time import is_linear
from tests.unit.http.test_exchange import Wire

HOST = b"host: x\r\n"
GET = b"GET /read HTTP/1.1\r\n" + HOST + b"\r\n"
PARTS = (
    GET,
    b"FOO /unread HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /read HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\n",
    b"POST /unread HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\n",
    b"POST /read HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n",
    b"POST /unread HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n",
    b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\n\r\n",
    b"GET / HTTP/1.1\r\nx: " + b"y" * MAX_HEAD,
    "GET /é?ü HTTP/1.1\r\n".encode(),
    HOST,
    b"x: y\r\n",
    b"5\r\nhello\r\n",
    b"5\r\n\r\n\r\n\n\r\n",
    b"0\r\n\r\n",
    b"0\r\nx: y\r\n\r\n",
    b"hello",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    request, body = Request(scope, receive), b""
    if scope["path"] == "/slow":
        await asyncio.sleep(0)
    if scope["path"] == "/read":
        try:
            body = await request.body()
        except ClientDisconnect:
            return
    await PlainTextResponse(f"<{scope['method']} {scope['raw_path']!r} {body!r}>\n")(scope, receive, send)


class PausableWire(Wire):
    """Delivers nothing while paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def responses(segments: Sequence[bytes]) -> bytes:
    """What the server writes when a stream comes in these segments, `closed` at its end if it closes."""

    async def exchange() -> bytes:
        wire, server = PausableWire(), HttpServer()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(application, listener, drain_s=0))
            await asyncio.sleep(0)
            connection = HttpConnection(server)
            connection.connection_made(wire)
            for segment in segments:
                for _ in range(500):
                    if not wire.paused or wire.is_closing():
                        break
                    await asyncio.sleep(0)
                if wire.is_closing():
                    break
                connection.data_received(segment)
            for _ in range(50):
                await asyncio.sleep(0)
            written = b"".join(wire.written).replace(server.date_header, b"")
            connection.connection_lost(None)
            server.shut_down()
            await serving
        return written

    return asyncio.run(exchange())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS) | st.binary(max_size=4), max_size=6).map(b"".join),
    st.lists(st.floats(0, 1, exclude_max=True), max_size=8),
)
@example(b"FOO /read HTTP/1.1\r\n" + HOST + b"\r\n", [0.03])
@example(GET + b"FOO /read HTTP/1.1\r\n" + HOST + b"\r\n", [0.5])
@example(b"\r\n" + b"FOO /read HTTP/1.1\r\n" + HOST + b"\r\n", [0.01])
@example(b"a\x80" + GET, [])
@example(PARTS[4] + b"0\r\n\r\n" + GET, [0.55, 0.56, 0.57, 0.58])
def test_a_split_stream_gets_the_same_responses_as_the_whole(stream: bytes, cuts: list[float]) -> None:
    places = sorted({0, len(stream), *(int(cut * len(stream)) for cut in cuts)})
    segments = [stream[start:end] for start, end in pairwise(places)]
    assert responses(segments) == responses([stream] if stream else [])


REQUESTS = (
    b"GET /read?labelSelector=tube%3Da&timeout=10s HTTP/1.1\r\nHost: beanscale.shop.svc:443\r\nUser-Agent: curl/8\r\n"
    b"Accept: application/json;as=Table, */*;q=0.1\r\nAuthorization: Bearer abc.def\r\nConnection: keep-alive\r\n\r\n",
    b"POST /read HTTP/1.1\r\nHost: [::1]:8081\r\nCookie: beanscale-8081=a; b=c\r\nOrigin: http://[::1]:8081\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 19\r\n\r\npassword=a%20b&next=",
    b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n"
    b"a;b=c\r\n0123456789\r\n1\r\nx\r\n0\r\na: b\r\n\r\n",
)
positions = st.floats(0, 1, exclude_max=True)
mutations = st.tuples(positions, st.integers(0, 12), st.binary(max_size=3) | st.sampled_from(PARTS[-12:]))
"""Where, how many bytes go, and what comes instead."""


def mutated(stream: bytes, changes: Sequence[tuple[float, int, bytes]]) -> bytes:
    for position, gone, added in changes:
        at = int(position * len(stream))
        stream = stream[:at] + added + stream[at + gone :]
    return stream


@settings(max_examples=250, deadline=None)
@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3).map(b"".join),
    st.lists(mutations, max_size=3),
    st.lists(positions, max_size=6),
)
@example(REQUESTS[1], [(0.86, 2, b"18446744073709551616")], [])
@example(REQUESTS[2], [(0.5, 1, b"ffffffffffffffff")], [0.5])
@example(REQUESTS[0] * 3, [(0.99, 0, b"\0")], [0.3, 0.6])
def test_a_mutated_stream_gets_well_formed_responses_however_it_is_split(
    stream: bytes, changes: Sequence[tuple[float, int, bytes]], cuts: Sequence[float]
) -> None:
    stream = mutated(stream, changes)
    places = sorted({0, len(stream), *(int(cut * len(stream)) for cut in cuts)})
    with capture_logs() as logged:
        whole = responses([stream])
        assert responses([stream[start:end] for start, end in pairwise(places)]) == whole
    assert not [entry for entry in logged if entry["log_level"] == "error"]
    rest = whole.removesuffix(b"closed")
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 (200|400|414|417|431|501|505) ", head), head
        rest = rest[int(re.findall(rb"content-length: (\d+)", head)[0]) :]


@pytest.mark.parametrize(
    ("before", "piece", "after", "size"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n", b"a: b\r\n", b"\r\n", MAX_HEAD // 2 - 50, id="header fields"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\na: ", b"b", b"\r\n\r\n", MAX_HEAD // 2 - 50, id="long field"),
        pytest.param(b"", b"\r\n", GET, 1 << 15, id="empty lines"),
        pytest.param(PARTS[4], b"1\r\na\r\n", b"0\r\n\r\n", 1 << 14, id="chunks"),
        pytest.param(PARTS[4], b"4\r\n\r\n\r\n\r\n", b"0\r\n\r\n", 1 << 14, id="chunks of line ends"),
        pytest.param(PARTS[4] + b"1;a=", b"b", b"\r\na\r\n0\r\n\r\n", 1 << 13, id="extension of a chunk"),
        pytest.param(PARTS[4] + b"0\r\n", b"a: b\r\n", b"\r\n", 1 << 13, id="trailers"),
        pytest.param(PARTS[5], b"1\r\na\r\n", b"0\r\n\r\n" + GET, 1 << 13, id="unread chunks"),
        pytest.param(b"", GET, b"", 1 << 12, id="requests"),
    ],
)
@pytest.mark.parametrize("segment", [1, 7, 1 << 15])
def test_a_stream_takes_time_in_proportion_to_its_length(
    before: bytes, piece: bytes, after: bytes, size: int, segment: int
) -> None:
    def serve(most: int) -> None:
        stream = before + piece * (most // len(piece)) + after
        assert responses([stream[start : start + segment] for start in range(0, len(stream), segment)])

    assert is_linear(serve, size)


@pytest.mark.parametrize(
    "stream", [b"".join(PARTS[:6]), GET * 3, PARTS[4] + b"5\r\n\r\n\r\n\n\r\n0\r\nx: y\r\n\r\n" + GET]
)
def test_a_stream_sent_byte_by_byte_gets_the_same_responses(stream: bytes) -> None:
    assert responses([bytes([byte]) for byte in stream]) == responses([stream])


@pytest.mark.parametrize("before", [b"", GET, b"\r\n", b"\r\n\r\n"], ids=["first", "pipelined", "empty line", "two"])
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_an_unknown_method_reaches_the_application_however_it_is_split(before: bytes, cut: int) -> None:
    request = b"FOO /unread HTTP/1.1\r\n" + HOST + b"\r\n"
    for segments in ([before + request], [before + request[:cut], request[cut:]]):
        assert responses([each for each in segments if each]).endswith(b"<FOO b'/unread' b''>\n")
