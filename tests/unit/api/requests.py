"""Requests as the HTTP server hands them over."""

from typing import Any

from app.api.request import Request
from app.api.tls import ClientCertificate


def scope(
    path: bytes | str = "/",
    query: bytes = b"",
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    certificate: ClientCertificate | None = None,
) -> dict[str, Any]:
    """Return a request's ASGI scope."""
    raw = path.encode() if isinstance(path, str) else path
    return {
        "type": "http",
        "method": method,
        "path": raw.decode("latin-1"),
        "raw_path": raw,
        "query_string": query,
        "headers": list(headers),
        "client": ("192.0.2.7", 1234),
        "extensions": {"tls": {"client_certificate": certificate}},
    }


def request(path: bytes | str = "/", query: bytes = b"", *headers: tuple[bytes, bytes], method: str = "GET") -> Request:
    """Return a request whose path is decoded."""
    made = Request(scope(path, query, *headers, method=method))
    made.decode_path()
    return made
