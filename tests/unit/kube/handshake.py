"""A real TLS handshake between two real contexts, without sockets."""

import ssl

from app.kube.certificates.authority import ServingCertificate
from app.kube.certificates.controller import load_into


def serve(certificate: ServingCertificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(context, certificate)
    return context


def shake_hands(server: ssl.SSLContext, bundle: bytes, name: str) -> bytes:
    """The server's certificate as DER, seen by a strict client that trusts the bundle. Raises ssl.SSLError."""
    client = ssl.create_default_context(cadata=bundle.decode())
    assert client.verify_flags & ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, True)]
    for _ in range(2):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].getpeercert(binary_form=True) or b""
