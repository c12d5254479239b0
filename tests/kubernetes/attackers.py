"""What attackers have: certificates of any making, and lines on which they choose every byte."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tests.kubernetes.conftest import Beanscale, Pair, client_tls

LIVEZ = b"GET /livez HTTP/1.1\r\nhost: beanscale\r\nconnection: close\r\n\r\n"
"""A request that all clients may send, which ends the connection."""
MASTER = {"x_remote_user": "me", "x_remote_group": "system:masters"}
"""The aggregator's headers for a user with all permissions."""
_TCP_REPAIR = 19
"""Linux' option that ends a connection on this side alone; Python has no name for it."""


@dataclass(frozen=True)
class Authority:
    """A CA whose key is at hand, and the folder for what it signs."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of_cluster(cls, pki: Path, name: str, folder: Path) -> Self:
        """One of the cluster's own."""
        key = load_pem_private_key((pki / f"{name}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(folder, x509.load_pem_x509_certificate((pki / f"{name}.crt").read_bytes()), key)

    @classmethod
    def new(cls, folder: Path, name: str) -> Self:
        """A new one."""
        key, whom = ec.generate_private_key(ec.SECP256R1()), _subject(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        unsigned = _builder(whom, whom, key, (-3600, 3600)).add_extension(constraints, critical=True)
        return cls(folder, unsigned.add_extension(identifier, critical=False).sign(key, hashes.SHA256()), key)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, name: str, *groups: str, life_s: tuple[float, float] = (-60, 3600)) -> Pair:
        """A client's certificate and key; it lives from so many seconds from now to so many."""
        key = ec.generate_private_key(ec.SECP256R1())
        # By this OpenSSL tells CAs of one name apart, as there are when one is replaced.
        whose = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        unsigned = _builder(self.certificate.subject, _subject(name, *groups), key, life_s)
        leaf = unsigned.add_extension(whose, critical=False).sign(self.key, hashes.SHA256())
        pair = (self.folder / f"{leaf.serial_number}.crt", self.folder / f"{leaf.serial_number}.key")
        pair[0].write_bytes(leaf.public_bytes(Encoding.PEM))
        pair[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair


def _subject(name: str, *groups: str) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    issuer: x509.Name, whom: x509.Name, key: ec.EllipticCurvePrivateKey, life_s: tuple[float, float]
) -> x509.CertificateBuilder:
    begin, end = (datetime.now(UTC) + timedelta(seconds=each) for each in life_s)
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(whom).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)


@dataclass(frozen=True)
class Answer:
    """One as it came."""

    code: int
    headers: Mapping[str, str]
    body: bytes


class Line:
    """A TLS connection that tidies nothing up."""

    def __init__(self, port: int, certificate: Pair | None = None, tls: ssl.SSLContext | None = None) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=60)
        try:
            self.socket = (tls or client_tls(certificate)).wrap_socket(raw)
        except OSError:
            raw.close()
            raise
        self._come = b""

    def close(self) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> Answer:
        """The answer to one request."""
        self.socket.sendall(request)
        answer = self.next()
        assert answer, "closed without an answer"
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """The answer to an ordinary request; `_` in a header's name stands for a dash."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return self.ask(f"GET {path} HTTP/1.1\r\nhost: beanscale\r\n{lines}\r\n".encode())

    def all(self, request: bytes, silence_s: float = 60) -> list[Answer]:
        """All answers until the server closes, or says nothing more."""
        self.socket.settimeout(silence_s)
        try:
            self.socket.sendall(request)
            return list(iter(self.next, None))
        except OSError:  # reset
            return []

    def next(self) -> Answer | None:
        """None when there is no further one."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = headers.get("content-length")
        body = self._rest() if length is None else self._bytes(int(length))
        return Answer(int(first.split(" ")[1]), headers, body)

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._come:
            if not self._more():
                return None
        found, _, self._come = self._come.partition(end)
        return found

    def _bytes(self, number: int) -> bytes:
        while len(self._come) < number and self._more():
            pass
        found, self._come = self._come[:number], self._come[number:]
        return found

    def _rest(self) -> bytes:
        while self._more():
            pass
        found, self._come = self._come, b""
        return found

    def _more(self) -> bool:
        try:
            come = self.socket.recv(1 << 16)
        except (TimeoutError, ssl.SSLEOFError, ConnectionError):
            return False
        self._come += come
        return bool(come)


@contextmanager
def line(server: Beanscale, certificate: Pair | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Line]:
    with closing(Line(server.port, certificate, tls)) as opened:
        yield opened


def resident_bytes(server: Beanscale, field: str = "VmRSS") -> int:
    """What the process takes of the machine's memory; VmHWM: has taken at most."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return 1024 * next(int(each.split()[1]) for each in status.splitlines() if each.startswith(f"{field}:"))


def figure(shared: Line, name: str) -> float:
    """One of beanscale's own, asked for on a line of the aggregator."""
    lines = shared.get("/metrics", **MASTER).body.decode().splitlines()
    return next(float(each.rpartition(" ")[2]) for each in lines if each.startswith(f"{name} "))


def vanish(opened: Line) -> None:
    """Without a packet: as from a machine that lost its power."""
    opened.socket.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    opened.close()
