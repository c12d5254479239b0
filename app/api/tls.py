"""TLS: how we speak it, and the certificate that a client showed.

That certificate belongs to the connection, is read once, and is judged at every request. ASGI's scope has no place
for it, hence the small subclass of our connection.
"""

import hashlib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from app.http.connection import HttpConnection
from app.kube.auth_config import anchor
from app.kube.certificates.authority import CertificateError, ServingCertificate
from app.kube.certificates.controller import load_into

EXTENSION = "tls"
"""Key in `scope["extensions"]`, whose value has `client_certificate`: a ClientCertificate or None."""
_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
"""Kubernetes' own (k8s.io/apimachinery/pkg/apis/asn1)."""


@dataclass(frozen=True)
class ClientCertificate:
    """A chain that OpenSSL has verified against one of the CAs that we trust for clients."""

    chain: tuple[bytes, ...]
    """DER, leaf first."""

    @cached_property
    def common_name(self) -> str:
        """The subject's CN, of several the last, as in Go; or nothing."""
        return "".join(self._subject(NameOID.COMMON_NAME)[-1:])

    @cached_property
    def organizations(self) -> tuple[str, ...]:
        """The subject's O values: groups, in Kubernetes."""
        return self._subject(NameOID.ORGANIZATION_NAME)

    @cached_property
    def uid(self) -> str | None:
        """The user's UID that the subject tells, or nothing; None where it tells an empty one, or several."""
        uids = self._subject(_UID)
        return None if len(uids) > 1 or "" in uids else "".join(uids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, in hexadecimal."""
        return hashlib.sha256(self.chain[0]).hexdigest()

    def is_valid_at(self, unix_s: float) -> bool:
        """Whether all of the chain is: a connection may outlive its certificate."""
        begin_s, end_s = self._life
        return begin_s <= unix_s <= end_s

    def signed_by(self, authorities: frozenset[bytes]) -> bool:
        """Whether one of these CAs, given as anchors, stands above the leaf in the verified chain."""
        return not authorities.isdisjoint(self._signers)

    @cached_property
    def _certificates(self) -> tuple[x509.Certificate, ...]:
        return tuple(map(x509.load_der_x509_certificate, self.chain))

    @cached_property
    def _life(self) -> tuple[float, float]:
        """Unix seconds: the latest beginning and the first end in the chain."""
        begins = max(certificate.not_valid_before_utc for certificate in self._certificates)
        ends = min(certificate.not_valid_after_utc for certificate in self._certificates)
        return begins.timestamp(), ends.timestamp()

    @cached_property
    def _signers(self) -> frozenset[bytes]:
        return frozenset(map(anchor, self._certificates[1:]))

    def _subject(self, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        attributes = self._certificates[0].subject.get_attributes_for_oid(oid)
        return tuple(str(attribute.value) for attribute in attributes)


class TlsHttpProtocol(HttpConnection):
    """An HTTP connection that puts the client's certificate into each request's scope."""

    def connection_made(self, transport: Any) -> None:
        """Read what the handshake proved, once."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        chain = tuple(tls.get_verified_chain()) if tls else ()
        certificate = ClientCertificate(chain) if chain else None
        self.facts["extensions"] = {EXTENSION: {"client_certificate": certificate}}
        self.proven = bool(chain)


class ServingTls:
    """What the next handshake goes by: a new context with each certificate.

    In one context OpenSSL keeps a certificate for each kind of key, and chooses among them by itself; and one that
    can't be loaded spoils what was there.
    """

    def __init__(self) -> None:
        self.context = server_context()
        self._authorities: tuple[str, ...] = ()

    def present(self, certificate: ServingCertificate) -> None:
        """Serve this from now on. Raises CertificateError, and then what was served is served on."""
        context = server_context()
        load_into(context, certificate)
        _check_that_clients_agree(context)
        for pem in self._authorities:
            context.load_verify_locations(cadata=pem)
        self.context = context

    def trust(self, *authorities: str) -> None:
        """Accept clients of these CAs, as PEM. Raises ValueError, ssl.SSLError."""
        for pem in authorities:
            self.context.load_verify_locations(cadata=pem)
        self._authorities = authorities


def _check_that_clients_agree(context: ssl.SSLContext) -> None:
    """Raises CertificateError: some kinds of keys can be loaded, and no usual client speaks to them."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE  # whom to trust is another question
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True)]
    try:
        for end in (*ends, *ends):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLError as error:
        raise CertificateError(f"no client can speak to the serving certificate: {error.reason or error}") from error


def server_context() -> ssl.SSLContext:
    """A context that asks for a client certificate and can do without; whom it trusts is to be loaded yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL  # a token will do instead
    # As in Go, a CA of the bundle is trusted also when it isn't self-signed.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # A resumed session would bring a certificate without the chain that says which CA vouched for it.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context
