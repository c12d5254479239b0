"""TLS: how we speak it, and the certificate that a client showed.

That certificate belongs to the connection, is read once, and is judged at every request. uvicorn's ASGI scope doesn't
carry it, hence the small subclass of its protocol.
"""

import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "tls"
"""Key in `scope["extensions"]`, whose value has `client_certificate`: a ClientCertificate or None."""
MOST_HEAD = 1 << 20
"""Bytes of a request's head, or of a body's trailers: as many as Go's servers take."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"\r\n431 Request Header Fields Too Large"
)


@dataclass(frozen=True)
class ClientCertificate:
    """A chain that OpenSSL has verified against one of the CAs that we trust for clients."""

    chain: tuple[bytes, ...]
    """DER, leaf first."""

    @cached_property
    def _leaf(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.chain[0])

    @cached_property
    def common_name(self) -> str:
        """The subject's CN, or nothing."""
        return next(iter(self._subject(NameOID.COMMON_NAME)), "")

    @cached_property
    def organizations(self) -> tuple[str, ...]:
        """The subject's O values: groups, in Kubernetes."""
        return self._subject(NameOID.ORGANIZATION_NAME)

    @cached_property
    def valid_until_s(self) -> float:
        """Unix seconds at which the first certificate of the chain ends: a connection may outlive it."""
        return min(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() for der in self.chain)

    def signed_by(self, authorities: frozenset[bytes]) -> bool:
        """Whether one of these CAs (DER) stands above the leaf in the verified chain."""
        return any(der in authorities for der in self.chain[1:])

    def _subject(self, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(str(attribute.value) for attribute in self._leaf.subject.get_attributes_for_oid(oid))


class TlsHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that puts the client's certificate into each request's scope, and takes no liberties."""

    _tls: dict[str, Any]
    _in_head = True
    _held = 0
    """Bytes that came since the parser last finished with something: at most so many it keeps."""

    def connection_made(self, transport: Any) -> None:
        """Read what the handshake proved, once."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        chain = tuple(tls.get_verified_chain()) if tls else ()
        self._tls = {EXTENSION: {"client_certificate": ClientCertificate(chain) if chain else None}}

    def on_message_begin(self) -> None:
        """Give each request's scope the connection's certificate."""
        super().on_message_begin()
        self.scope["extensions"] = self._tls
        self._in_head = True

    def data_received(self, data: bytes) -> None:
        """Refuse a head that doesn't end: nobody has shown yet who they are, and memory is for all."""
        self._held += len(data)
        super().data_received(data)
        if self._held > MOST_HEAD:
            self._held = 0
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the head's headers alone: behind a body anybody could write what only the aggregator may say."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin with the request."""
        self._in_head, self._held = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Leave a body's length to flow control."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End with the request."""
        self._held = 0
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # Not to upgrade is a right answer (RFC 9110, 7.8), and uvicorn's advice to install a library isn't.
        pass


def server_context() -> ssl.SSLContext:
    """A context that asks for a client certificate and can do without; whom it trusts is to be loaded yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL  # a token will do instead
    # As in Go, a CA of the bundle is trusted also when it isn't self-signed.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session would bring a certificate without the chain that says which CA vouched for it.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context
