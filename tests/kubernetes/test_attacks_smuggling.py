"""kube-apiserver sends many users' requests over one line: what one of them writes must never be read as another's."""

import pytest

from tests.kubernetes.attackers import LIVEZ, line
from tests.kubernetes.conftest import Beanscale, Pair
from tests.kubernetes.people import aggregator

__all__ = ["aggregator"]

HIDDEN = b"GET /metrics HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: me\r\nx-remote-group: system:masters\r\n\r\n"
HEAD = b"POST /metrics HTTP/1.1\r\nhost: beanscale\r\nx-remote-user: nobody\r\n"
LENGTH = b"content-length: %d\r\n" % len(HIDDEN)
CHUNKED = b"transfer-encoding: chunked\r\n"
END = b"0\r\n\r\n"


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(content), extension, content)


BODIES = {
    "a length": LENGTH + b"\r\n" + HIDDEN,
    "a length with blanks": b"content-length: \t %d \r\n\r\n" % len(HIDDEN) + HIDDEN,
    "one chunk": CHUNKED + b"\r\n" + chunk(HIDDEN) + END,
    "many chunks": CHUNKED + b"\r\n" + b"".join(chunk(HIDDEN[at : at + 7]) for at in range(0, len(HIDDEN), 7)) + END,
    "chunk extensions": CHUNKED + b"\r\n" + chunk(HIDDEN, b';a=b;c="d"') + b"0;" + b"x" * 50 + b"\r\n\r\n",
    "a chunk's length with zeros": CHUNKED + b"\r\n0000" + chunk(HIDDEN) + END,
    "trailers": CHUNKED + b"\r\n" + chunk(b"a") + b"0\r\nx-remote-user: me\r\nx-remote-group: system:masters\r\n\r\n",
    "chunked in capitals": CHUNKED.upper() + b"\r\n" + chunk(HIDDEN) + END,
}
"""A body that every reader of RFC 9112 sees as the same."""

AMBIGUOUS = {
    "length and chunks": LENGTH + CHUNKED + b"\r\n" + END + HIDDEN,
    "chunks and length": CHUNKED + b"content-length: 5\r\n\r\n" + END + HIDDEN,
    "two lengths": LENGTH + b"content-length: 0\r\n\r\n" + HIDDEN,
    "a length twice": LENGTH + LENGTH + b"\r\n" + HIDDEN,
    "a list of lengths": b"content-length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "a length with a plus": b"content-length: +0\r\n\r\n" + HIDDEN,
    "a negative length": b"content-length: -1\r\n\r\n" + HIDDEN,
    "a length in hexadecimal": b"content-length: 0x10\r\n\r\n" + HIDDEN,
    "a length beyond 64 bits": b"content-length: 18446744073709551616\r\n\r\n" + HIDDEN,
    "an empty length": b"content-length:\r\n\r\n" + HIDDEN,
    "a blank before the colon": b"transfer-encoding : chunked\r\n\r\n" + END + HIDDEN,
    "a folded header": b"transfer-encoding:\r\n chunked\r\n\r\n" + END + HIDDEN,
    "chunked not the last": b"transfer-encoding: chunked, identity\r\n\r\n" + END + HIDDEN,
    "chunked and then nonsense": CHUNKED + b"transfer-encoding: x\r\n\r\n" + END + HIDDEN,
    "nearly chunked": b"transfer-encoding: xchunked\r\n\r\n" + END + HIDDEN,
    "chunked in quotes": b'transfer-encoding: "chunked"\r\n\r\n' + END + HIDDEN,
    "chunked behind a tab of height": b"transfer-encoding: \x0bchunked\r\n\r\n" + END + HIDDEN,
    "identity": b"transfer-encoding: identity\r\n\r\n" + HIDDEN,
    "a bare LF behind a header": LENGTH + b"x: y\ncontent-length: 0\r\n\r\n" + HIDDEN,
    "a bare CR in a header": b"x: y\rcontent-length: 5\r\n\r\n" + HIDDEN,
    "a head that ends in bare LF": LENGTH + b"\n\n" + HIDDEN,
    "a chunk that ends in bare LF": CHUNKED + b"\r\n1\na\n0\n\n" + HIDDEN,
    "a chunk's extension with a bare LF": CHUNKED + b"\r\n1;a\nb\r\n" + HIDDEN,
    "a chunk longer than its size": CHUNKED + b"\r\n1\r\n" + HIDDEN + END,
    "a chunk's negative length": CHUNKED + b"\r\n-1\r\n" + HIDDEN,
    "a chunk's length beyond 64 bits": CHUNKED + b"\r\n10000000000000000\r\n" + HIDDEN,
    "a chunk's length in 0x": CHUNKED + b"\r\n0x0\r\n\r\n" + HIDDEN,
    "a NUL in a header": b"x: a\0b\r\n\r\n" + HIDDEN,
}
"""Parsers may differ, so nothing after it may be trusted."""


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_request_in_a_body_is_a_body(attacked: Beanscale, aggregator: Pair, body: bytes) -> None:
    with line(attacked, aggregator) as shared:
        answers = shared.all(HEAD + body + LIVEZ.replace(b"host", b"x-remote-user: somebody\r\nhost"))
    assert [answer.code for answer in answers] == [403, 200]
    assert answers[1].body == b"ok"


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_request_ends_the_connection(attacked: Beanscale, aggregator: Pair, body: bytes) -> None:
    with line(attacked, aggregator) as shared:
        answers = shared.all(HEAD + body + LIVEZ)
    assert [answer.code for answer in answers] in ([400], [403], [501])
