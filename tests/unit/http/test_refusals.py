"""A head that is whole and still wrong is refused as Go's servers refuse it."""

import pytest

from app.http.connection import about_the_exchange, objection

HOST = (b"host", b"beanscale:443")


@pytest.mark.parametrize(
    ("version", "path", "headers", "words"),
    [
        ("1.1", b"/a%zz", [HOST], b"400 Bad Request"),
        ("1.1", b"/a%", [HOST], b"400 Bad Request"),
        ("1.1", b"/", [], b"400 Bad Request: missing required Host header"),
        ("1.1", b"/", [HOST, HOST], b"400 Bad Request"),
        ("1.1", b"/", [(b"host", b"a b")], b"400 Bad Request: malformed Host header"),
        ("1.1", b"/", [HOST, (b"transfer-encoding", b"gzip, chunked")], b"Unsupported transfer encoding"),
        ("2.0", b"/", [HOST], b"505 HTTP Version Not Supported: unsupported protocol version"),
        ("0.9", b"/", [], b"505 HTTP Version Not Supported: unsupported protocol version"),
        ("1.1", b"/", [HOST, (b"expect", b"200-ok")], b""),
    ],
)
def test_what_cant_be_served_is_refused(
    version: str, path: bytes, headers: list[tuple[bytes, bytes]], words: bytes
) -> None:
    answer = objection(version, path, about_the_exchange([(b"accept", b"*/*"), *headers]))
    assert answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == words
    assert b"\r\nConnection: close" in head


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [HOST]),
        ("1.1", [(b"host", b"")]),
        ("1.1", [(b"host", b"[::1]:443")]),
        ("1.0", []),
        ("1.0", [(b"transfer-encoding", b"gzip")]),
        ("1.1", [HOST, (b"transfer-encoding", b"Chunked")]),
        ("1.1", [HOST, (b"expect", b"100-Continue")]),
    ],
)
def test_what_can_be_served_is(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert objection(version, b"/tube-%2F", about_the_exchange(headers)) is None
