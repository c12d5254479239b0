"""How a server goes: who was heard is answered, who only holds a line is not waited for."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.http.server import MAX_CONNECTIONS, SOCKET_SEND_BUFFER, HttpServer, ShutdownStats, listen
from app.settings import SettingError

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LONG_S = 60
"""Longer than any machine stands still: what takes less hasn't waited for it."""


@dataclass
class Running:
    http: HttpServer
    address: tuple[str, int]
    go_on: asyncio.Event
    """Answers wait for it."""
    heard: asyncio.Event
    """A request is under way."""
    serving: asyncio.Task[ShutdownStats] = field(init=False)

    async def ask(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(GET)
        return reader, writer


@pytest.fixture
def drain_s() -> float:
    """How long what is under way may take in the end."""
    return LONG_S


@pytest.fixture
async def running(drain_s: float) -> AsyncIterator[Running]:
    go_on, heard = asyncio.Event(), asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        heard.set()
        await go_on.wait()
        await PlainTextResponse("hello")(scope, receive, send)

    with listen("127.0.0.1", 0) as listener:
        running = Running(HttpServer(), listener.getsockname(), go_on, heard)
        running.serving = asyncio.create_task(running.http.serve(answer, listener, drain_s))
        await asyncio.sleep(0)
        yield running
        running.http.shut_down()
        await running.serving


async def left(running: Running, delay_s: float = 0.0) -> tuple[ShutdownStats, float]:
    """How it went, and in how many seconds."""
    began = time.monotonic()
    running.http.shut_down(delay_s)
    return await running.serving, time.monotonic() - began


async def test_an_idle_server_stops_at_once(running: Running) -> None:
    stats, took_s = await left(running)
    assert stats == ShutdownStats(finished=0, cut=0)
    assert took_s < LONG_S / 2


async def test_requests_in_flight_are_finished(running: Running) -> None:
    reader, writer = await running.ask()
    await running.heard.wait()
    leaving = asyncio.create_task(left(running))
    await asyncio.sleep(0.1)
    assert not leaving.done()
    running.go_on.set()
    stats, took_s = await leaving
    assert stats == ShutdownStats(finished=1, cut=0)
    assert took_s < LONG_S / 2
    answer = await reader.read()
    assert answer.endswith(b"hello")
    assert b"connection: close" in answer
    writer.close()


@pytest.mark.parametrize("drain_s", [1])
async def test_requests_that_take_too_long_are_cut(running: Running, drain_s: float) -> None:
    _, writer = await running.ask()
    await running.heard.wait()
    stats, took_s = await left(running)
    assert stats == ShutdownStats(finished=0, cut=1)
    assert took_s >= drain_s
    writer.close()
    running.go_on.set()
    await asyncio.sleep(0.05)


async def test_connections_within_the_shutdown_delay_are_served(running: Running) -> None:
    running.go_on.set()
    leaving = asyncio.create_task(left(running, delay_s=0.3))
    await asyncio.sleep(0)  # it has begun to leave, and no time has passed
    reader, writer = await running.ask()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer
    writer.close()
    _, took_s = await leaving
    assert 0.3 <= took_s < LONG_S / 2


async def test_connections_in_the_listen_queue_are_served(running: Running) -> None:
    running.go_on.set()
    client = socket.create_connection(running.address)  # the event loop doesn't turn meanwhile
    client.sendall(GET)
    client.settimeout(0)
    await left(running)
    assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    client.close()


async def test_an_idle_connection_does_not_delay_the_stop(running: Running) -> None:
    running.go_on.set()
    reader, writer = await running.ask()
    assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK")
    _, took_s = await left(running)
    assert took_s < LONG_S / 2
    writer.close()


@pytest.mark.parametrize("address", ["localhost", "10.0.0", "", "::g"])
def test_only_addresses_are_accepted_to_listen_on(address: str) -> None:
    with pytest.raises(SettingError, match="takes an IP address"):
        listen(address, 8443)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=f"can't listen on 127.0.0.1 port {port}: address already in use"):
            listen("127.0.0.1", port)


def test_the_socket_buffers_little_of_an_unread_response() -> None:
    with listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        kept = 0
        with accepted, suppress(BlockingIOError):
            while True:
                kept += accepted.send(bytes(1 << 14))
        assert kept < 2 * SOCKET_SEND_BUFFER
        assert kept * MAX_CONNECTIONS < 100 << 20  # of the pod's memory too
