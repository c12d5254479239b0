"""TLS: how we speak it, and the certificate that a client showed.

That certificate belongs to the connection, is read once, and is judged at every request. uvicorn's ASGI scope doesn't
carry it, hence the small subclass of our connection.
"""

import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from app.http.connection import HttpConnection

EXTENSION = "tls"
"""Key in `scope["extensions"]`, whose value has `client_certificate`: a ClientCertificate or None."""


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


class TlsHttpProtocol(HttpConnection):
    """An HTTP connection that puts the client's certificate into each request's scope."""

    _tls: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        """Read what the handshake proved, once."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        chain = tuple(tls.get_verified_chain()) if tls else ()
        self._tls = {EXTENSION: {"client_certificate": ClientCertificate(chain) if chain else None}}
        self.proven = bool(chain)

    def on_message_begin(self) -> None:
        """Give each request's scope the connection's certificate."""
        super().on_message_begin()
        self.scope["extensions"] = self._tls


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
