"""A request's head while it comes: respelled for the parser, kept until it is whole, and weighed meanwhile.

Whoever sends one hasn't shown yet who they are, so what it may take is bounded: for each, and for all together.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from app.http.spelling import path_and_query, with_known_method, with_line_in_ascii

MOST_HEAD = 1 << 20
"""Bytes of a request's head, or of a body's trailers: as many as Go's servers take."""
LIGHT_HEAD = 1 << 14
"""What each connection may hold of an unfinished head, whatever the others hold."""
MOST_TARGET = 1 << 17
"""Bytes of what a request asks for: it is read several times before it is known who asks."""
_HEADER_WEIGHT = 200
"""Bytes that Python takes for a header, however short it is."""
_TARGET_COPIES = 4
"""How often what a request asks for is kept besides: as text too, whole and by its parts."""


class Head:
    """Of the request that comes on a connection, and then of the next. A body's trailers are weighed here too."""

    __slots__ = ("_came", "_in_line", "_weigh_at", "headers", "held", "method", "target")

    def __init__(self) -> None:
        self.target = b""
        """What is asked for, as far as it has come."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Names are in lower case."""
        self.method = ""
        """One that the parser doesn't know, and got another for."""
        self.held = 0
        """Bytes that came since the parser last finished with something: at most so many it keeps."""
        self._came = 0
        self._weigh_at = LIGHT_HEAD
        self._in_line = True

    def spelled(self, data: bytes, *, anew: bool) -> bytes:
        """What came, as the parser takes it; `anew`: a request begins with it."""
        if anew:
            data, self.method = with_known_method(data)
            self._in_line = True
        if self._in_line:
            data, self._in_line = with_line_in_ascii(data)
        self._came = len(data)
        self.held += self._came
        return data

    def begin(self) -> None:
        """A request begins: perhaps behind another one, and then nobody knows how much of what came last is its."""
        self.held = max(self.held, self._came)

    @property
    def weight(self) -> int:
        """Bytes that it takes while it isn't whole, about."""
        return self.held and self.held + _HEADER_WEIGHT * len(self.headers)

    @property
    def weight_when_whole(self) -> int:
        """The same from then on, until it is answered."""
        return self.weight + _TARGET_COPIES * len(self.target)

    def has_grown(self) -> bool:
        """Whether it weighs a good deal more than when this was last so: to look at all heads for each byte is slow."""
        weight = self.weight
        if weight < self._weigh_at:
            return False
        self._weigh_at = weight + LIGHT_HEAD
        return True

    def scope(self, facts: Mapping[str, Any], version: str, method: str) -> dict[str, Any]:
        """ASGI's, from the connection's facts and what the parser read; its path may be nonsense yet."""
        path, query = path_and_query(self.target)
        return {
            **facts,
            "http_version": version,
            "method": self.method or method,
            "path": unquote(path.decode()) if b"%" in path else path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": self.headers,
        }

    def forget(self) -> None:
        """Hold nothing of it: it is its request's now, or nobody's."""
        self.target, self.headers, self.method = b"", [], ""
        self.held, self._weigh_at = 0, LIGHT_HEAD
