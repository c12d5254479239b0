"""A small answer is one piece on the wire, and each answer ends where its client expects it."""

import asyncio
import socket
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from app.http.connection import HttpConnection
from app.http.server import HttpServer

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

    wire, server = Wire(), HttpServer()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(application, listener, drain_s=0))
        await asyncio.sleep(0)
        connection = HttpConnection(server)
        connection.connection_made(wire)
        connection.data_received(request)
        await asyncio.sleep(0)
        server.shut_down()
        await serving
    return [piece.replace(server.date_header, b"") for piece in wire.written]


def start(headers: list[tuple[bytes, bytes]] = HEADERS) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(piece: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more}


async def test_head_and_body_are_one_piece() -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-a: b\r\n\r\nbody"
    assert await written(GET + GET, start(), body(b"body")) == [whole, whole]


async def test_a_status_without_a_standard_phrase_is_sent_too() -> None:
    (piece,) = await written(GET, {**start(), "status": 499}, body(b"body"))
    assert piece.startswith(b"HTTP/1.1 499 \r\n")
    assert piece.endswith(b"body")


async def test_to_head_there_is_no_body() -> None:
    (piece,) = await written(GET.replace(b"GET", b"HEAD"), start(), body(b"body"))
    assert piece.endswith(b"x-a: b\r\n\r\n")


async def test_each_part_of_a_long_response_is_sent_at_once() -> None:
    pieces = await written(GET, start(), body(b"bo", more=True), body(b"dy"))
    first, second = pieces
    assert first.endswith(b"\r\n\r\nbo")
    assert second == b"dy"


async def test_a_response_of_unknown_length_is_chunked() -> None:
    first, second = await written(GET, start([]), body(b"bo", more=True), body(b"dy"))
    assert first.endswith(b"transfer-encoding: chunked\r\n\r\n2\r\nbo\r\n")
    assert second == b"2\r\ndy\r\n0\r\n\r\n"


async def test_a_response_of_unknown_length_ends_with_the_connection_for_http_1_0() -> None:
    *pieces, closed = await written(
        GET.replace(b"1.1", b"1.0"), start([]), body(b"bo", more=True), body(b"dy", more=True), body(b"")
    )
    assert b"".join(pieces).endswith(b"connection: close\r\n\r\nbody")
    assert closed == b"closed"


@pytest.mark.parametrize("given", [b"bodies", b"bod"])
async def test_a_body_that_contradicts_its_length_is_an_error(given: bytes) -> None:
    failed, closed = await written(GET, start(), body(given))
    assert failed.startswith(b"HTTP/1.1 500 Internal Server Error")
    assert closed == b"closed"


@pytest.mark.parametrize("messages", [(), (start(),), (body(b"x"),), (start(), start())])
async def test_without_a_complete_response_the_client_gets_an_error(messages: tuple[dict[str, Any], ...]) -> None:
    failed, closed = await written(GET, *messages)
    assert failed.startswith(b"HTTP/1.1 500 Internal Server Error")
    assert closed == b"closed"


async def test_an_interrupted_response_is_not_taken_as_complete() -> None:
    pieces = await written(GET, start([]), body(b"bo", more=True))
    assert pieces[-1] == b"closed"
    assert not b"".join(pieces).endswith(b"0\r\n\r\nclosed")


async def test_not_modified_has_no_body_and_no_length() -> None:
    (piece,) = await written(GET, {"type": "http.response.start", "status": 304, "headers": []}, body(b""))
    assert piece == b"HTTP/1.1 304 Not Modified\r\n\r\n"


@pytest.mark.parametrize("header", [(b"x-a", b"b\r\nx-b: c"), (b"x-a", b"b\nc"), (b"x\r\nb", b"c")])
async def test_no_header_can_contain_another(header: tuple[bytes, bytes]) -> None:
    """Not even ours: a value that came from outside would make a second answer of one."""
    with capture_logs() as logged:
        failed, closed = await written(GET, start([*HEADERS, header]), body(b"body"))
    assert failed.startswith(b"HTTP/1.1 500 Internal Server Error")
    assert closed == b"closed"
    assert [line["event"] for line in logged] == ["request failed"]


async def test_connection_close_of_the_client_is_confirmed_and_followed() -> None:
    piece, closed = await written(GET[:-2] + b"connection: close\r\n\r\n", start(), body(b"body"))
    assert piece.endswith(b"\r\nconnection: close\r\n\r\nbody")
    assert closed == b"closed"


async def test_a_response_can_end_its_connection() -> None:
    *_, closed = await written(GET, start([*HEADERS, (b"connection", b"close")]), body(b"body"))
    assert closed == b"closed"
