"""What a stranger can send before anybody knows who they are: it gives no rights, and costs little time and memory."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.api.limits import Requests
from app.http.connection import MOST_BODY, MOST_HEAD, MOST_TARGET, PATIENCE_S, HttpConnection, Phase
from app.http.connections import MOST_HEADS, Connections

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Place:
    """A server on loopback whose clock we set, and a client of it."""

    now: float = 1000.0
    connections: Connections = field(init=False)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers below /held wait for it."""
    requests: Requests = field(default_factory=Requests)

    def __post_init__(self) -> None:
        self.connections = Connections(most=4, clock=lambda: self.now)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stream":
            await StreamingResponse(self.stream())(scope, receive, send)
            return
        if scope["path"].startswith("/held"):
            await self.hold.wait()
        names = ",".join(name.decode() for name, _ in scope["headers"] if name != b"host")
        response = Response(b"x" * (1 << 24)) if scope["path"] == "/large" else PlainTextResponse(f"<{names}>")
        await self.requests.send(response, send)

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"<>"
        await self.hold.wait()
        yield b"x" * (1 << 24)
        yield b">"

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        self.connections.expire()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, end: bytes = b">") -> str:
        self.writer.write(request)
        async with asyncio.timeout(60):
            return (await self.reader.readuntil(end)).decode()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(60):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"reset"

    @property
    def is_open(self) -> bool:
        return not self.reader.at_eof()


GET = b"GET / HTTP/1.1\r\nhost: x\r\nx-next: 1\r\n\r\n"
LARGE = b"".join(
    [b"host: x\r\n", *(b"x-%d: %b\r\n" % (each, bytes(8000).replace(b"\0", b"y")) for each in range(120)), b"\r\n"]
)
"""Headers of nearly as many bytes as may be."""


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
async def connect(place: Place) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    config = uvicorn.Config(
        place.answer, interface="asgi3", proxy_headers=False, ws="none", lifespan="off", log_config=None
    )
    state = ServerState()
    clients: list[Client] = []

    def connection() -> HttpConnection:
        made = HttpConnection(place.connections, config, state)
        place.connections.remember(made)
        return made

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_connection(*server.sockets[0].getsockname())))
        return clients[-1]

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1")
    async with server:
        yield connect
        for client in clients:
            client.writer.transport.abort()
        for left in place.connections:
            left.abort()
        await settled()


@pytest.fixture
async def client(connect: Callable[[], Awaitable[Client]]) -> Client:
    return await connect()


async def test_a_header_behind_the_body_is_no_header(client: Client) -> None:
    """kube-apiserver's users choose what comes behind a body; X-Remote-Group there would make anybody a master."""
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx-remote-user: me\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await client.ask(head + b"1\r\na\r\n0\r\nx-remote-group: system:masters\r\nx-last: 1\r\n\r\n")
    assert answer.endswith("<x-remote-user,transfer-encoding>")
    assert (await client.ask(GET)).endswith("<x-next>")


@pytest.mark.parametrize("beginning", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
async def test_a_head_without_end_is_refused(client: Client, beginning: bytes) -> None:
    client.writer.write(beginning + b"a" * MOST_HEAD)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_a_head_of_very_many_tiny_headers_is_refused(client: Client) -> None:
    """Each takes Python fifty times its bytes."""
    client.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 10_000)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_an_idle_connection_holds_nothing_of_what_was_asked_on_it(connect: Callable) -> None:
    clients = [await connect() for _ in range(4)]
    question = b"GET / HTTP/1.1\r\n" + LARGE
    tracemalloc.start()
    try:
        for client in clients:
            await client.ask(question)
        await settled()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < len(question) / 2


async def test_large_heads_under_way_have_a_bound_and_small_ones_are_answered_meanwhile(
    place: Place, connect: Callable
) -> None:
    crowd: list[Client] = []
    weight = 0
    while place.connections.under_way + weight <= MOST_HEADS:
        crowd.append(await connect())
        before = place.connections.under_way
        crowd[-1].writer.write(b"GET /held HTTP/1.1\r\n" + LARGE)
        async with asyncio.timeout(5):
            while (weight := place.connections.under_way - before) == 0:
                await settled()
    crowd[0].writer.transport.abort()  # whoever looks for its answer holds its head all the same
    await settled()
    one_more = await connect()
    assert "431 Request Header Fields Too Large" in await one_more.ask(b"GET / HTTP/1.1\r\n" + LARGE, b"Large")
    small = await connect()
    assert (await small.ask(GET)).endswith("<x-next>")
    place.hold.set()
    for each in crowd[1:]:
        await each.ask(b"")
    await settled()
    assert place.connections.under_way == 0
    assert (await small.ask(b"GET / HTTP/1.1\r\n" + LARGE)).endswith("x-119>")


async def test_trailers_without_end_are_refused(client: Client) -> None:
    await client.ask(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    client.writer.write(b"x: " + b"a" * MOST_HEAD)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_a_short_body_is_passed_over(client: Client) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % MOST_BODY
    assert (await client.ask(head + bytes(MOST_BODY))).endswith("<content-length>")
    assert (await client.ask(GET)).endswith("<x-next>")


async def test_a_long_body_ends_the_connection_behind_the_answer(client: Client) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (100 * MOST_BODY)
    assert (await client.ask(head)).endswith("<content-length>")
    client.writer.write(bytes(2 * MOST_BODY))
    await client.rest()


async def test_a_client_that_waits_for_a_word_before_its_body_gets_the_answer_alone(client: Client) -> None:
    """Nobody could tell whether what comes next is the body or another user's request."""
    answer = await client.ask(b"GET / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 40\r\n\r\n")
    assert "connection: close" in answer
    assert await client.rest() == b""


async def test_a_wish_to_upgrade_is_passed_over_and_nothing_behind_it_heard(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.ask(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" + GET)
    assert answer.endswith("<connection,upgrade>")
    assert await client.rest() == b""
    assert not caplog.records


async def test_nonsense_is_a_bad_request(client: Client) -> None:
    client.writer.write(b"nonsense\r\n\r\n")
    assert await client.rest() == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
        b"400 Bad Request"
    )


async def test_a_head_that_cant_be_served_is_refused_and_nothing_behind_it_heard(client: Client) -> None:
    client.writer.write(b"GET / HTTP/1.1\r\n\r\n" + GET)
    answer = await client.rest()
    assert answer.endswith(b"\r\n\r\n400 Bad Request: missing required Host header")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("target", [b"/?x=" + b"a" * 100_000, b"/" + b"a" * 100_000, "/tube-é".encode()])
async def test_a_url_may_be_long_and_have_any_byte(client: Client, target: bytes) -> None:
    client.writer.write(b"GET " + target[:-1])
    await asyncio.sleep(0.01)
    assert (await client.ask(target[-1:] + b" HTTP/1.1\r\nhost: x\r\n\r\n")).startswith("HTTP/1.1 200 OK")


async def test_nonsense_behind_a_request_is_not_its_answer(client: Client) -> None:
    answer = await client.ask(GET + b"nonsense\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK")
    assert answer.endswith("<x-next>")
    assert await client.rest() == b""


async def test_a_head_that_begins_behind_a_body_is_a_head_like_any_other(place: Place, client: Client) -> None:
    """It came together with the end of the body, when the answer was given already."""
    await client.ask(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nab")
    client.writer.write(b"cGET / HTTP/1.1\r\nhost: x\r\nx-a: Mozilla ")
    await settled()
    (connection,) = place.connections
    assert connection.phase is Phase.HEAD
    assert (await client.ask(b"like Gecko\r\n\r\n")).endswith("<x-a>")


async def test_what_is_asked_for_has_an_end(client: Client) -> None:
    client.writer.write(b"GET /" + b"a" * MOST_TARGET + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.1 414 URI Too Long\r\n")


async def test_requests_at_once_are_answered_in_turn(client: Client) -> None:
    client.writer.write(GET * 10)
    for _ in range(10):
        assert (await client.ask(b"")).endswith("<x-next>")


async def test_thousands_of_requests_at_once_are_not_remembered(client: Client) -> None:
    client.writer.write(GET * 5000)
    assert (await client.rest()).count(b"<x-next>") < 100


@pytest.mark.parametrize(
    ("sent", "phase"),
    [
        (b"", Phase.IDLE),
        (b"GET / HT", Phase.HEAD),
        (b"\r\n", Phase.HEAD),
        (GET, Phase.IDLE),
        (GET + b"G", Phase.HEAD),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n123", Phase.BODY),
        (b"GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y", Phase.BODY),
    ],
)
async def test_who_stops_in_the_middle_is_let_go_in_time(
    place: Place, client: Client, sent: bytes, phase: Phase
) -> None:
    if b"\r\n\r\n" in sent:
        await client.ask(sent)
    else:
        client.writer.write(sent)
    await settled()
    place.pass_s(PATIENCE_S[phase] - 1)
    await settled()
    assert client.is_open
    place.pass_s(2)
    await client.rest()
    assert place.connections.ended == {phase.value: 1}


async def test_a_byte_now_and_then_wins_no_time(place: Place, client: Client) -> None:
    for byte in b"GET / HTTP/1.1":
        client.writer.write(bytes([byte]))
        await settled()
        place.pass_s(1)
    await client.rest()
    assert place.connections.ended == {"head": 1}


async def test_who_doesnt_read_the_answer_is_let_go(place: Place, client: Client) -> None:
    client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    await settled()
    place.pass_s(PATIENCE_S[Phase.ANSWER] - 1)
    await settled()
    assert place.connections.answering == 1
    place.pass_s(2)
    await settled()
    assert place.connections.ended == {"answer": 1}
    assert len(place.connections) == 0


async def test_a_stream_of_long_ago_has_a_slow_reader_now_and_then(place: Place, client: Client) -> None:
    await client.ask(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    place.pass_s(10 * PATIENCE_S[Phase.ANSWER])
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    place.hold.set()
    await settled()
    place.pass_s(PATIENCE_S[Phase.ANSWER] - 1)
    await settled()
    assert place.connections.answering == 1
    place.pass_s(2)
    await settled()
    assert place.connections.ended == {"answer": 1}


async def test_a_slow_answer_is_waited_for(place: Place, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    place.pass_s(10 * PATIENCE_S[Phase.IDLE])
    place.hold.set()
    assert (await client.ask(b"")).endswith("<>")


async def test_when_there_are_too_many_the_idlest_goes(place: Place, connect: Callable[[], Awaitable[Client]]) -> None:
    clients = []
    for _ in range(4):
        clients.append(await connect())
        await settled()
        place.pass_s(1)
    clients[0].writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await clients[1].ask(GET)
    assert place.connections.make_room()
    await clients[2].rest()
    place.hold.set()
    assert (await clients[0].ask(b"")).endswith("<>")


async def test_when_all_are_at_something_nobody_goes(place: Place, connect: Callable[[], Awaitable[Client]]) -> None:
    clients = [await connect() for _ in range(4)]
    for client in clients:
        client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    assert not place.connections.make_room()
    place.hold.set()
    for client in clients:
        assert (await client.ask(b"")).endswith("<>")


async def test_who_leaves_says_so_with_each_answer_and_closes(place: Place, client: Client) -> None:
    assert "connection: close" not in await client.ask(GET)
    place.connections.leaving = True
    assert "connection: close" in await client.ask(GET)
    assert await client.rest() == b""


async def test_what_is_under_way_when_we_leave_is_answered(place: Place, client: Client) -> None:
    client.writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled()
    closing = asyncio.create_task(place.connections.close(within_s=5))
    await settled()
    place.hold.set()
    assert "connection: close" in await client.ask(b"")
    assert await client.rest() == b""
    await closing


async def settled() -> None:
    """The bytes on loopback have come, and what they cause has happened."""
    for _ in range(10):
        await asyncio.sleep(0.002)
