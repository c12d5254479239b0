"""TLS: the serving context, and the certificate that a client showed.

That certificate belongs to the connection: it is parsed at most once, and evaluated for every request.
"""

import hashlib
import ssl
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.x509.oid import NameOID

from app.http.tls import TlsVersion, check_handshake, server_context
from app.kube.auth_config import anchor
from app.kube.certificates.authority import CertificateError, ServingCertificate
from app.kube.certificates.controller import load_into

EXTENSION = "tls"
"""Key in `scope["extensions"]`, whose value has `client_certificate`: a ClientCertificate or None."""
_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
"""Kubernetes' attribute for a user's UID (k8s.io/apimachinery/pkg/apis/asn1)."""


@dataclass(frozen=True)
class ClientCertificate:
    """A chain that OpenSSL has verified against one of the client CAs."""

    chain: tuple[bytes, ...]
    """DER, leaf first."""

    @cached_property
    def common_name(self) -> str:
        """The subject's CN; the last of several, as in Go; empty if there is none."""
        return "".join(self._subject(NameOID.COMMON_NAME)[-1:])

    @cached_property
    def organizations(self) -> tuple[str, ...]:
        """The subject's O values: groups in Kubernetes."""
        return self._subject(NameOID.ORGANIZATION_NAME)

    @cached_property
    def uid(self) -> str | None:
        """The user's UID in the subject; empty if there is none; None if it is invalid: several, or an empty one."""
        uids = self._subject(_UID)
        return None if len(uids) > 1 or "" in uids else "".join(uids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, in hexadecimal."""
        return hashlib.sha256(self.chain[0]).hexdigest()

    def is_valid_at(self, unix_s: float) -> bool:
        """Return whether the whole chain is valid then. A connection may outlive its certificate."""
        begin_s, end_s = self._validity
        return begin_s <= unix_s <= end_s

    def signed_by(self, authorities: frozenset[bytes]) -> bool:
        """Return whether one of these CAs (as `anchor` identifies them) is above the leaf in the verified chain."""
        return not authorities.isdisjoint(self._signers)

    @cached_property
    def _certificates(self) -> tuple[x509.Certificate, ...]:
        return tuple(map(x509.load_der_x509_certificate, self.chain))

    @cached_property
    def _validity(self) -> tuple[float, float]:
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


class ServingTls:
    """The TLS context for the next handshake.

    Each certificate gets a new context: in one context, OpenSSL keeps a certificate for each kind of key and chooses
    among them. A certificate that can't be loaded also damages the context.
    """

    def __init__(self, min_version: TlsVersion = "1.3") -> None:
        self._min_version = min_version
        self.context = _requesting_certificates(min_version)
        self._authorities: tuple[str, ...] = ()

    def present(self, certificate: ServingCertificate) -> None:
        """Serve this certificate from now on. Raises CertificateError; the one before is then still served."""
        context = _requesting_certificates(self._min_version)
        load_into(context, certificate)
        try:
            check_handshake(context)
        except ssl.SSLError as error:
            raise CertificateError(f"TLS clients can't use the serving certificate: {error.reason or error}") from error
        for pem in self._authorities:
            context.load_verify_locations(cadata=pem)
        self.context = context

    def trust(self, *authorities: str) -> None:
        """Accept clients of these CAs too, as PEM; whether a CA is still trusted is decided at each request.

        Raises ValueError, ssl.SSLError.
        """
        for pem in authorities:
            self.context.load_verify_locations(cadata=pem)
        self._authorities = authorities


def _requesting_certificates(min_version: TlsVersion) -> ssl.SSLContext:
    """Return a context that requests a client certificate and doesn't require it. It trusts no client CA yet."""
    # Without resumption: a resumed session has the certificate without the chain that shows which CA signed it, so its
    # client would count as one without a certificate.
    context = server_context(min_version)
    context.verify_mode = ssl.CERT_OPTIONAL  # clients may have a token instead
    # As in Go, a CA in the bundle is trusted even if it isn't self-signed.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context
