"""A request is answered by its method and path, however odd they are."""

import pytest

from app.http.connection import path_and_query, with_known_method, with_line_in_ascii


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
    head = "GET /tube-é?x=\xff HTTP/1.1\r\nx: é".encode("latin-1")
    assert with_line_in_ascii(head) == ("GET /tube-%E9?x=%FF HTTP/1.1\r\nx: é".encode("latin-1"), False)
    assert with_line_in_ascii(b"GET /tube-%E9") == (b"GET /tube-%E9", True)
    assert with_line_in_ascii("é".encode("latin-1")) == (b"%E9", True)


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
def test_a_target_is_a_path_and_a_query_whatever_its_form(target: bytes, path: bytes, query: bytes) -> None:
    assert path_and_query(target) == (path, query)
