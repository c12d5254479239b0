"""What Go's HTTP servers refuse before anybody looks at the request, in their words.

Source: net/http/server.go and transfer.go, and golang.org/x/net/http/httpguts.
"""

import re
from collections.abc import Sequence

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[A-Za-z0-9!$%&'()*+,.:;=\[\]_~-]*")
_VERSIONS = frozenset({"1.0", "1.1"})
_ABOUT_THE_EXCHANGE = frozenset({b"host", b"transfer-encoding", b"expect"})
_WORD = b"100-continue"

Headers = Sequence[tuple[bytes, bytes]]


def _plain(status: str, words: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    return (head + (words or status)).encode()


BAD_REQUEST = _plain("400 Bad Request")
TOO_LONG = _plain("414 URI Too Long")
TOO_LARGE = _plain("431 Request Header Fields Too Large")
_NO_HOST = _plain("400 Bad Request", "400 Bad Request: missing required Host header")
_BAD_HOST = _plain("400 Bad Request", "400 Bad Request: malformed Host header")
_UNKNOWN_ENCODING = _plain("501 Not Implemented", "Unsupported transfer encoding")
_UNKNOWN_VERSION = _plain("505 HTTP Version Not Supported: unsupported protocol version")
_UNKNOWN_EXPECTATION = b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HeadError(Exception):
    """A head that isn't served; `str()` says why."""

    def __init__(self, answer: bytes, why: str = "") -> None:
        super().__init__(why or answer.rpartition(b"\r\n")[2].decode() or "an unknown expectation")
        self.answer = answer
        """What its client gets."""


def about_the_exchange(headers: Headers) -> Headers:
    """Those that say how to talk, not what about. Names are in lower case."""
    return [each for each in headers if each[0] in _ABOUT_THE_EXCHANGE]


def objection(version: str, path: bytes, special: Headers) -> bytes | None:
    """The answer to a head that could be parsed and still can't be served, or None."""
    if b"%" in path and _BAD_ESCAPE.search(path):
        return BAD_REQUEST
    encodings = [value.lower() for name, value in special if name == b"transfer-encoding"]
    if version != "1.0" and encodings not in ([], [b"chunked"]):
        return _UNKNOWN_ENCODING
    if version not in _VERSIONS:
        return _UNKNOWN_VERSION
    hosts = [value for name, value in special if name == b"host"]
    if len(hosts) != 1:
        return BAD_REQUEST if hosts else None if version == "1.0" else _NO_HOST
    if not _HOST.fullmatch(hosts[0]):
        return _BAD_HOST
    expected = _expectations(special)
    return _UNKNOWN_EXPECTATION if expected and expected[0] not in {b"", _WORD} else None


def expects_a_word(special: Headers) -> bool:
    """Whether the client wants to be told to go on before it sends a body."""
    return _WORD in _expectations(special)


def _expectations(special: Headers) -> list[bytes]:
    return [value.lower() for name, value in special if name == b"expect"]
