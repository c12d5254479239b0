"""A request is answered by its method and path, however odd they are."""

import pytest

from app.http.spelling import in_ascii, with_known_method


@pytest.mark.parametrize(
    ("head", "parsed", "method"),
    [
        (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", ""),
        (b"FOO / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", "FOO"),
        (b"get / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", "get"),
        (b"M-SEARCH * HTTP/1.1\r\n", b"GET * HTTP/1.1\r\n", "M-SEARCH"),
        (b"\x16\x03\x01 /", b"\x16\x03\x01 /", ""),
        (b"GE", b"GE", ""),
        (b" / HTTP/1.1\r\n", b" / HTTP/1.1\r\n", ""),
        (b"A" * 65 + b" / HTTP/1.1\r\n", b"A" * 65 + b" / HTTP/1.1\r\n", ""),
    ],
)
def test_an_unknown_method_is_no_garbage(head: bytes, parsed: bytes, method: str) -> None:
    assert with_known_method(head) == (parsed, method)


def test_bytes_beyond_ascii_are_as_good_as_their_escapes() -> None:
    assert in_ascii("/tube-é?x=\xff".encode("latin-1")) == b"/tube-%E9?x=%FF"
    assert in_ascii(b"/tube-%E9") == b"/tube-%E9"
