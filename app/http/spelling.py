"""What Go's HTTP servers take, and our parser doesn't: any method, and bytes beyond ASCII in a URL.

Such a request is answered as Kubernetes' servers answer it, by its method and its path, instead of as garbage.
"""

import re

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"})
"""Those that the parser certainly knows."""
_ANY_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ")
"""RFC 9110, 9.1: a token."""
_STAND_IN = b"GET"
_BEFORE_PATH = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def with_known_method(head: bytes) -> tuple[bytes, str]:
    """The beginning of a request with a method that can be parsed, and the one that it stands in for, or nothing."""
    if head.startswith(b"GET "):
        return head, ""
    found = _ANY_METHOD.match(head)
    if not found or found[1] in _METHODS:
        return head, ""
    return _STAND_IN + head[found.end(1) :], found[1].decode()


def with_line_in_ascii(head: bytes) -> tuple[bytes, bool]:
    """The same with all else of its first line as escapes, and whether more of that line is to come."""
    if head.isascii():
        return head, b"\n" not in head
    line, end, rest = head.partition(b"\n")
    return _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), line) + end + rest, not end


def path_and_query(target: bytes) -> tuple[bytes, bytes]:
    """What a request asks for, however long it is; of a whole URL, as proxies get it, the path alone."""
    if not target.startswith(b"/") and (before := _BEFORE_PATH.match(target)):
        target = target[before.end() :]
    path, _, query = target.partition(b"?")
    return path, query
