"""A head that can't be served is rejected with a reason, and no head takes more than its limit."""

import asyncio

import pytest

from app.http.connection import LIMITS_WITHOUT_CERTIFICATE, MAX_ESCAPES, MAX_HEAD, path_and_query
from tests.unit.http.loopback import Client

pytestmark = pytest.mark.anyio
HOST = b"host: beanscale:443\r\n"


@pytest.mark.parametrize("beginning", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
async def test_an_endless_head_is_rejected(client: Client, beginning: bytes) -> None:
    client.writer.write(beginning + b"a" * MAX_HEAD)
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


@pytest.mark.parametrize(("more", "status"), [(0, b"200"), (1, b"431")])
async def test_the_size_of_a_head_is_limited(client: Client, more: int, status: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx: %b\r\n\r\n"
    client.writer.write(head % (b"a" * (MAX_HEAD - len(head) + 2 + more)))
    assert (await client.reader.readline()).startswith(b"HTTP/1.1 " + status)


async def test_a_head_with_too_many_headers_is_rejected(client: Client) -> None:
    """Each takes Python fifty times its bytes."""
    client.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * LIMITS_WITHOUT_CERTIFICATE.headers + b"\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.1 431 Request Header Fields Too Large")


@pytest.mark.parametrize(("size", "status"), [(8192, b"200"), (8193, b"414")])
async def test_the_length_of_a_target_is_limited(client: Client, size: int, status: bytes) -> None:
    client.writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % b"/".ljust(size, b"a"))
    assert (await client.reader.readline()).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(("more", "status"), [(0, b"200"), (1, b"400")])
@pytest.mark.parametrize(
    ("before", "repeated", "most"),
    [(b"/", b"%41", MAX_ESCAPES), (b"/?a", b"&a", 255)],
    ids=["escapes of a path", "parameters"],
)
async def test_a_target_has_at_most_so_many(
    client: Client, before: bytes, repeated: bytes, most: int, more: int, status: bytes
) -> None:
    client.writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % (before + repeated * (most + more)))
    assert (await client.reader.readline()).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("target", [b"/?x=" + b"a" * 8000, b"/" + b"a" * 8000, "/tube-é".encode()])
async def test_a_url_can_be_long_and_have_any_byte(client: Client, target: bytes) -> None:
    client.writer.write(b"GET " + target[:-1])
    await asyncio.sleep(0.01)
    assert (await client.ask(target[-1:] + b" HTTP/1.1\r\nhost: x\r\n\r\n")).startswith("HTTP/1.1 200 OK")


async def test_endless_trailers_are_rejected(client: Client) -> None:
    await client.ask(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    for _ in range(64):
        client.writer.write(b"x: " + b"a" * 10_000)
    await client.rest()


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (b"GET /a%zz HTTP/1.1\r\n" + HOST, 400, b"invalid percent-encoding"),
        (b"GET /a% HTTP/1.1\r\n" + HOST, 400, b"invalid percent-encoding"),
        (b"GET / HTTP/1.1\r\n", 400, b"exactly one Host header"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST, 400, b"exactly one Host header"),
        (b"GET / HTTP/1.0\r\n" + HOST + HOST, 400, b"exactly one Host header"),
        (b"GET / HTTP/1.1\r\nhost: a b\r\n", 400, b"invalid Host header"),
        (b"GET / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n" + HOST, 501, b"unsupported Transfer-Encoding"),
        (b"GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n" + HOST, 501, b"unsupported Transfer-Encoding"),
        (b"GET / HTTP/2.0\r\n" + HOST, 505, b"unsupported HTTP version"),
        (b"GET /\r\n", 505, b"unsupported HTTP version"),
        (b"GET / HTTP/1.1\r\nexpect: 200-ok\r\n" + HOST, 417, b"unsupported Expect"),
        (b"A" * 65 + b" / HTTP/1.1\r\n" + HOST, 400, b"malformed request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x : y\r\n", 400, b"malformed request"),
        (b"GET /a b HTTP/1.1\r\n" + HOST, 400, b"malformed request"),
        (b"\x16\x03\x01 / HTTP/1.1\r\n", 400, b"malformed request"),
    ],
)
async def test_an_unsupported_request_is_rejected(client: Client, head: bytes, status: int, words: bytes) -> None:
    client.writer.write(head + b"\r\n")
    start, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nconnection: close" in start
    assert words in body


async def test_data_other_than_http_is_rejected_at_once(client: Client) -> None:
    client.writer.write(b"\x16\x03\x01\x02\x00\x01")  # TLS
    assert (await client.rest()).startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/1.1\r\nhost:\r\n",
        b"GET / HTTP/1.1\r\nhost: [::1]:443\r\n",
        b"GET / HTTP/1.0\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n" + HOST,
        b"GET / HTTP/1.1\r\nexpect: 100-Continue\r\n" + HOST,
        b"GET /tube-%2F HTTP/1.1\r\n" + HOST,
        b"FOO / HTTP/1.1\r\n" + HOST,
        b"get / HTTP/1.1\r\n" + HOST,
        b"M-SEARCH * HTTP/1.1\r\n" + HOST,
    ],
)
async def test_an_unusual_valid_request_is_served(client: Client, head: bytes) -> None:
    assert (await client.ask(head + b"\r\n")).startswith("HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a/b?c=d?e", b"/a/b", b"c=d?e"),
        (b"//a", b"//a", b""),
        (b"https://host:1/a?b", b"/a", b"b"),
        (b"http://host", b"", b""),
        (b"http://x/to/http://y/z?u=http://v/w", b"/to/http://y/z", b"u=http://v/w"),
        (b"a" * 1_000_000, b"a" * 1_000_000, b""),
        (b"*", b"*", b""),
        (b"/" + b"a" * 100_000 + b"?b", b"/" + b"a" * 100_000, b"b"),
    ],
)
def test_a_target_of_any_form_has_a_path_and_a_query(target: bytes, path: bytes, query: bytes) -> None:
    assert path_and_query(target) == (path, query)
