"""A small answer is one piece on the wire; whatever isn't usual about one goes uvicorn's way."""

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.http.connection import HttpConnection
from app.http.connections import Connections

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HEADERS = [(b"content-length", b"4"), (b"x-a", b"b")]


class Wire(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.written

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def written(request: bytes, *answer: dict[str, Any]) -> list[bytes]:
    """The pieces in which an application's answer goes out."""

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in answer:
            await send(message)

    config = uvicorn.Config(
        application, interface="asgi3", proxy_headers=False, ws="none", lifespan="off", log_config=None
    )
    config.load()
    connection, wire = HttpConnection(Connections(), config, ServerState()), Wire()
    connection.connection_made(wire)
    connection.data_received(request)
    await asyncio.sleep(0)
    return wire.written


def start(headers: list[tuple[bytes, bytes]] = HEADERS) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(piece: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more}


async def test_head_and_body_are_one_piece() -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-a: b\r\n\r\nbody"
    assert await written(GET + GET, start(), body(b"body")) == [whole, whole]


async def test_to_head_there_is_no_body() -> None:
    (piece,) = await written(GET.replace(b"GET", b"HEAD"), start(), body(b"body"))
    assert piece.endswith(b"x-a: b\r\n\r\n")


async def test_of_a_long_answer_each_piece_goes_out_at_once() -> None:
    pieces = await written(GET, start(), body(b"bo", more=True), body(b"dy"))
    assert pieces[1:] == [b"bo", b"dy"]


async def test_an_answer_of_unknown_length_is_chunked() -> None:
    head, *pieces = await written(GET, start([]), body(b"bo", more=True), body(b"dy"))
    assert b"transfer-encoding: chunked" in head
    assert pieces == [b"2\r\nbo\r\n", b"2\r\ndy\r\n0\r\n\r\n"]


@pytest.mark.parametrize("header", [(b"x-a", b"b\r\nx-b: c"), (b"x-a", b"b\nc"), (b"x\r\nb", b"c")])
async def test_no_header_holds_another(header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture) -> None:
    """Not even ours: a value that came from outside would make a second answer of one."""
    assert await written(GET, start([*HEADERS, header]), body(b"body")) == [b"closed"]
    assert "Invalid HTTP header" in caplog.text


async def test_who_wants_to_be_left_is_told_so_and_left() -> None:
    piece, closed = await written(GET[:-2] + b"connection: close\r\n\r\n", start(), body(b"body"))
    assert piece.endswith(b"\r\nconnection: close\r\n\r\nbody")
    assert closed == b"closed"


async def test_an_answer_may_end_its_connection() -> None:
    *_, closed = await written(GET, start([*HEADERS, (b"connection", b"close")]), body(b"body"))
    assert closed == b"closed"
