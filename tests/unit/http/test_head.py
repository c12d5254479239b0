"""A head may be as long as a real one, and neither endless nor heavier than memory allows."""

import asyncio

import pytest

from app.http.connection import LIGHT_HEAD, MOST_HEAD, MOST_TARGET, Head
from tests.unit.http.place import Client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("beginning", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
async def test_a_head_without_end_is_refused(client: Client, beginning: bytes) -> None:
    client.writer.write(beginning + b"a" * MOST_HEAD)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_a_head_of_very_many_tiny_headers_is_refused(client: Client) -> None:
    """Each takes Python fifty times its bytes."""
    client.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 10_000)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


async def test_a_head_weighs_as_much_where_it_comes_in_one_piece_with_the_request_before(client: Client) -> None:
    question = b"GET / HTTP/1.1\r\nhost: x\r\n"
    client.writer.write(question + b"\r\n" + question + b"a:\r\n" * 10_000)
    assert b"<>" in await client.rest()


async def test_what_is_asked_for_has_an_end(client: Client) -> None:
    client.writer.write(b"GET /" + b"a" * MOST_TARGET + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.1 414 URI Too Long\r\n")


@pytest.mark.parametrize("target", [b"/?x=" + b"a" * 100_000, b"/" + b"a" * 100_000, "/tube-é".encode()])
async def test_a_url_may_be_long_and_have_any_byte(client: Client, target: bytes) -> None:
    client.writer.write(b"GET " + target[:-1])
    await asyncio.sleep(0.01)
    assert (await client.ask(target[-1:] + b" HTTP/1.1\r\nhost: x\r\n\r\n")).startswith("HTTP/1.1 200 OK")


async def test_trailers_without_end_are_refused(client: Client) -> None:
    await client.ask(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    client.writer.write(b"x: " + b"a" * MOST_HEAD)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


def test_a_head_weighs_its_bytes_and_its_headers_until_it_is_whole() -> None:
    head = Head()
    assert head.spelled(b"M-SEARCH /", anew=True) == b"GET /"
    assert head.weight == len(b"GET /")
    assert head.spelled("é HTTP/1.1\r\na: é\r\n".encode("latin-1"), anew=False).startswith(b"%E9 ")
    head.target, head.headers = b"/%E9", [(b"a", b"\xe9")]
    assert head.weight > 200
    assert head.weight_when_whole > head.weight
    assert head.scope({}, "1.1", "GET")["method"] == "M-SEARCH"
    head.forget()
    assert head.weight == head.weight_when_whole == 0
    assert head.scope({}, "1.1", "GET")["method"] == "GET"


def test_all_heads_are_looked_at_now_and_then_while_one_grows() -> None:
    head = Head()
    grown = [head.has_grown() for _ in range(64) if head.spelled(b"x" * (LIGHT_HEAD // 4), anew=False)]
    assert grown == [False, False, False, True] * 16
