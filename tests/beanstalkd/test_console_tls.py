"""The real console process over TLS, with a certificate in files that are replaced while it runs."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.test_console import PASSWORD, command, free_port, until

KEPT = httpx.Limits(keepalive_expiry=60)
type Pair = tuple[bytes, bytes]
"""A certificate and its key, as PEM."""


def made(password: bytes | None = None) -> Pair:
    """A self-signed certificate of localhost with an RSA key, as cert-manager makes by default."""
    key, now = rsa.generate_private_key(65537, 2048), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


FIRST, SECOND, ENCRYPTED = made(), made(), made(b"secret")
UNUSABLE = {
    "of another key": (FIRST[0], SECOND[1]),
    "not PEM": (b"no certificate", FIRST[1]),
    "empty": (b"", b""),
    "with a password": ENCRYPTED,
}


class Mounted:
    """Files as the kubelet mounts a Secret: links into a folder that it replaces as a whole."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.folder, self._version = folder, 0
        folder.mkdir()
        self.replace(pair)
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    def replace(self, pair: Pair) -> None:
        self._version += 1
        version, link = self.folder / f"..{self._version}", self.folder / "..data_tmp"
        version.mkdir()
        for name, content in zip(("tls.crt", "tls.key"), pair, strict=True):
            (version / name).write_bytes(content)
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")


class TlsConsole:
    """A `beanscale console` with these files."""

    def __init__(self, folder: Path, beanstalkd: Beanstalkd) -> None:
        self.files, self.port, self._log = Mounted(folder / "tls", FIRST), free_port(), folder / "log"
        password = folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        options = {
            "beanstalkd": f"eu={beanstalkd.host}:{beanstalkd.port}",
            "port": self.port,
            "no_kubernetes": True,
            "password_file": password,
            "tls_cert": self.files.folder / "tls.crt",
            "tls_key": self.files.folder / "tls.key",
        }
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(command(**options), stderr=stderr)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def browser(self, trusted: Pair) -> httpx.Client:
        context = ssl.create_default_context(cadata=trusted[0].decode())
        context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT  # the certificate is its own CA
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=context, timeout=60, limits=KEPT)

    def serves(self, pair: Pair) -> bool:
        try:
            with self.browser(pair) as browser:
                return browser.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def console(tmp_path: Path, beanstalkd: Beanstalkd) -> Iterator[TlsConsole]:
    console = TlsConsole(tmp_path, beanstalkd)
    try:
        until(lambda: console.serves(FIRST))
        yield console
    finally:
        console.process.kill()
        console.process.wait()


def test_its_pages_and_cookies_are_encrypted(console: TlsConsole) -> None:
    assert f"page=https://127.0.0.1:{console.port}/" in console.log
    with console.browser(FIRST) as browser:
        answer = browser.post("/login", data={"password": PASSWORD}, headers={"origin": str(browser.base_url)})
        assert answer.status_code == 303
        cookies = answer.headers.get_list("set-cookie")
        assert len(cookies) == 2
        assert all(cookie.endswith("; Secure") for cookie in cookies)
        page = browser.get("/")
        assert page.status_code == 200
        assert "strict-transport-security" not in page.headers  # would make a self-signed certificate an error for good
        token = re.findall(r'<meta name="csrf[^"]*" content="([^"]+)"', page.text)[0]
        headers = {"X-CSRF-Token": token, "Content-Type": "application/json"}
        largest = b"{}".ljust(4 << 20)
        assert browser.post("/actions/there-is-none", content=largest, headers=headers).status_code == 404
        with browser.stream("GET", "/events", params={"page_name": "overview"}) as feed:
            assert next(line for line in feed.iter_lines() if line.startswith("data: "))


def test_only_current_tls_is_accepted(console: TlsConsole) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{console.port}/healthz")
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    assert httpx.get(f"https://localhost:{console.port}/healthz", verify=client).status_code == 200
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://localhost:{console.port}/healthz", verify=client)
    assert "Traceback" not in console.log


def test_a_replaced_certificate_is_served_and_an_unusable_one_is_logged_once(console: TlsConsole) -> None:
    with console.browser(FIRST) as open_before:
        assert open_before.get("/healthz").status_code == 200
        console.files.replace(UNUSABLE["of another key"])
        until(lambda: "the previous one stays" in console.log)
        assert console.serves(FIRST)
        console.files.replace(SECOND)
        until(lambda: console.serves(SECOND))
        assert not console.serves(FIRST)
        assert open_before.get("/healthz").status_code == 200  # its connection stays
    assert console.log.count("TLS certificate can't be served") == 1
    assert console.log.count("TLS certificate replaced") == 1
    assert "Traceback" not in console.log


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_certificate_at_start_is_one_sentence(name: str, tmp_path: Path) -> None:
    files = Mounted(tmp_path / "tls", UNUSABLE[name]).folder
    message = refusal(tls_cert=files / "tls.crt", tls_key=files / "tls.key")
    assert "can't serve the TLS certificate in" in message
    assert "expected PEM" in message


def test_a_missing_file_at_start_is_one_sentence(tmp_path: Path) -> None:
    files = Mounted(tmp_path / "tls", FIRST).folder
    assert "does not exist" in refusal(tls_cert=files / "tls.crt", tls_key=files / "tls.pem")
    for option in ("tls_cert", "tls_key"):
        assert "use --tls-cert and --tls-key together" in refusal(**{option: files / "tls.crt"})


def refusal(**options: Path) -> str:
    """What the console says when it doesn't start."""
    arguments = command(beanstalkd="127.0.0.1:1", port=free_port(), no_kubernetes=True, **options)
    ended = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    return ended.stderr
