"""TLS in turns: complete whatever the sizes of its records, and no flood of some clients delays others."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.http.connection import PHASES, Phase
from app.http.server import HttpServer, listen
from app.http.tls import server_context
from app.ratelimit import FairQueue
from tests.unit.http.loopback import until, until_unread

pytestmark = pytest.mark.anyio
WORK_S = 0.02
"""What each request of the application takes of the event loop."""
CLIENTS = 50


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate, of the server and of the client that shows one, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "beanscale")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    certificate = builder.serial_number(7).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


def client_context(pem: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pem is not None:
        context.load_cert_chain(pem)
    return context


@dataclass
class Secure:
    """A server on loopback with TLS, whose application notes who asked for `/work/…`, in their order."""

    http: HttpServer
    now: list[float]
    address: tuple[str, int] = ("", 0)
    worked: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(b"x" * (1 << 22))
        if scope["path"].startswith("/work/"):
            self.worked.append(scope["path"].removeprefix("/work/"))
            until = perf_counter() + WORK_S
            while perf_counter() < until:
                pass
            response = PlainTextResponse("done")
        elif scope["method"] == "POST":
            response = PlainTextResponse(f"{len(await Request(scope, receive).body())}")
        await response(scope, receive, send)

    async def connect(self, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address, ssl=tls)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def secure(pem: Path) -> AsyncIterator[Secure]:
    context, now = server_context(), [1000.0]
    context.load_cert_chain(pem)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    secure = Secure(HttpServer(tls_context=lambda: context, clock=lambda: now[0]), now)
    with listen("127.0.0.1", 0) as listener:
        secure.address = listener.getsockname()
        serving = asyncio.create_task(secure.http.serve(secure.application, listener, drain_s=0))
        await asyncio.sleep(0)
        yield secure
        for writer in secure.writers:
            writer.transport.abort()
        secure.http.shut_down()
        await serving


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def flood(secure: Secure) -> None:
    """Let each of many clients send a second request at the same time."""
    clients = [await secure.connect(client_context()) for _ in range(CLIENTS)]
    for reader, writer in clients:
        writer.write(get("/work/before"))
        await reader.readuntil(b"done")
    secure.worked.clear()
    for _, writer in clients:
        writer.write(get("/work/flood"))


async def test_a_client_with_a_certificate_waits_for_no_others(secure: Secure, pem: Path) -> None:
    reader, writer = await secure.connect(client_context(pem))
    writer.write(get("/work/before"))
    await reader.readuntil(b"done")
    await flood(secure)
    writer.write(get("/work/hpa"))
    await reader.readuntil(b"done")
    assert secure.worked.index("hpa") < CLIENTS / 5


async def test_a_new_client_waits_for_few_others(secure: Secure) -> None:
    """The kubelet, with each probe."""
    await flood(secure)
    reader, writer = await secure.connect(client_context())
    await asyncio.sleep(5 * WORK_S)  # so that the request doesn't come with the end of the handshake
    writer.write(get("/work/probe"))
    await reader.readuntil(b"done")
    assert secure.worked.index("probe") < CLIENTS / 2


async def test_a_flood_is_served_too(secure: Secure) -> None:
    await flood(secure)
    async with asyncio.timeout(60):
        while len(secure.worked) < CLIENTS:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [1, 100, 1 << 16])
async def test_records_of_any_size_are_read(secure: Secure, size: int) -> None:
    body = bytes(1 << 13 if size == 1 else 1 << 19)
    request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    reader, writer = await secure.connect(client_context())
    for start in range(0, len(request), size):
        writer.write(request[start : start + size])  # a record each
    assert (await reader.readuntil(b"\r\n\r\n%d" % len(body))).startswith(b"HTTP/1.1 200")
    writer.write(get("/"))
    assert len(await reader.readuntil(b"x" * (1 << 15))) > 1 << 15


async def test_a_long_response_is_complete_before_tls_is_closed(secure: Secure) -> None:
    reader, writer = await secure.connect(client_context())
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + bytes(1000))
    async with asyncio.timeout(60):
        assert (await reader.read()).endswith(b"\r\n\r\n" + b"x" * (1 << 22))
    writer.close()
    await until(lambda: not secure.http.connections)


async def test_a_client_that_closes_tls_gets_the_response_to_its_last_request(secure: Secure) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(to_client, to_server)
    reader, writer = await secure.connect(None)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(to_server.read())
            to_client.write(await reader.read(1 << 16))
    client.write(get("/work/last"))
    with pytest.raises(ssl.SSLWantReadError):
        client.unwrap()
    writer.write(to_server.read())
    async with asyncio.timeout(60):
        to_client.write(await reader.read())
    assert client.read(1 << 16).endswith(b"done")
    writer.close()


async def test_a_client_that_reads_nothing_is_not_processed_further(secure: Secure) -> None:
    reader, writer = await secure.connect(client_context())
    reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
    writer.write(get("/") + get("/work/unread") * 1000)
    await until_unread(secure.http)
    secure.now[0] += PHASES[Phase.RESPONSE].timeout_s - 1
    secure.http.expire()
    await asyncio.sleep(0.05)
    assert (len(secure.http.connections), secure.worked) == (1, [])
    secure.now[0] += 2
    secure.http.expire()
    await until(lambda: not secure.http.connections)


@pytest.mark.parametrize(
    ("sent", "error"),
    [(b"GET / HTTP/1.1\r\n\r\n", "http request"), (b"\x16\x03\x01\x00\x05abcde", "unexpected message")],
)
async def test_what_is_not_tls_is_logged_and_closed(secure: Secure, sent: bytes, error: str) -> None:
    with capture_logs() as logged:
        reader, writer = await secure.connect(None)
        writer.write(sent)
        async with asyncio.timeout(60):
            await reader.read()
    writer.close()
    await until(lambda: not secure.http.connections)
    assert secure.http.ended == {"handshake": 1}
    assert [entry["error"] for entry in logged] == [error]


async def test_a_client_that_only_connects_is_disconnected(secure: Secure) -> None:
    reader, writer = await secure.connect(None)
    gone = await secure.connect(None)
    await until(lambda: len(secure.http.connections) == 2)
    gone[1].close()
    await until(lambda: len(secure.http.connections) == 1)
    assert secure.http.ended == {"handshake": 1}
    secure.now[0] += PHASES[Phase.HANDSHAKE].timeout_s + 1
    secure.http.expire()
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()
    assert secure.http.ended == {"handshake": 2}


def test_clients_take_turns_in_a_queue() -> None:
    queue = FairQueue[str]()
    for item in ("a1", "a2", "a3", "b1"):
        queue.put(item[0], item)
    queue.put("a", "a0", first=True)
    assert [queue.take() for _ in range(5)] == ["a0", "b1", "a1", "a2", "a3"]
    assert not queue
