"""TLS of every server: its context, and a certificate in files that another program replaces, such as the kubelet."""

import asyncio
import os
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Literal

import structlog

from app.settings import SettingError

TlsVersion = Literal["1.2", "1.3"]
READ_EVERY_S = 5.0
"""How soon a replaced certificate is served."""

_log = structlog.get_logger()


def server_context(min_version: TlsVersion = "1.3") -> ssl.SSLContext:
    """Return a context without a certificate, which requests none from clients and resumes no session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; 1.3 has only authenticated encryption
    # TLS 1.2 can also resume by session ID, which Python can't disable.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def load_pem(context: ssl.SSLContext, pem: bytes, key_pem: bytes) -> None:
    """Make a new context serve this certificate, without writing its key to a disk. Raises ssl.SSLError."""
    # `ssl` reads certificates from files only: an anonymous one in memory, gone when closed.
    descriptor = os.memfd_create("serving-certificate")
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem + b"\n" + key_pem)
        file.flush()
        # Without a password for an encrypted key, OpenSSL would ask for it on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")


def check_handshake(server: ssl.SSLContext) -> None:
    """Raise ssl.SSLError if common clients can't use it: OpenSSL loads kinds of keys that they don't know."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE  # only whether the handshake succeeds
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for end in (*ends, *ends):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()


class CertificateFiles:
    """A certificate and its key in PEM files, served until the files have another pair that can be served.

    Each pair gets a new context: OpenSSL keeps a certificate for each kind of key in one context.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files. Raises SettingError."""
        self._certificate, self._key = certificate, key
        self._pair = self._read()
        self._logged = ""
        self.context = self._load(self._pair)
        """For the next handshake."""

    async def run(self) -> None:
        """Read the files again and again until cancelled."""
        while True:
            await asyncio.sleep(READ_EVERY_S)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the files once. Blocking. A pair that can't be served is logged once, and the previous one stays."""
        try:
            pair = self._read()
            if pair != self._pair:
                self.context = self._load(pair)
        except SettingError as error:
            if str(error) != self._logged:
                _log.warning("TLS certificate can't be served", effect="the previous one stays", error=str(error))
                self._logged = str(error)
            return
        if pair != self._pair:
            _log.info("TLS certificate replaced", file=str(self._certificate))
        self._pair, self._logged = pair, ""

    def _read(self) -> tuple[bytes, bytes]:
        try:
            return self._certificate.read_bytes(), self._key.read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SettingError(f"can't read the TLS certificate or key from {error.filename}: {reason}") from error

    def _load(self, pair: tuple[bytes, bytes]) -> ssl.SSLContext:
        context = server_context()
        try:
            load_pem(context, *pair)
            check_handshake(context)
        except ssl.SSLError as error:
            raise SettingError(
                f"can't serve the TLS certificate in {self._certificate} with the key in {self._key}:"
                f" {error.reason or error}; expected PEM, and the certificate's own key without a password"
            ) from error
        return context
