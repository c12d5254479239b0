"""A proxy before kube-apiserver that counts requests, interferes before one, and can refuse all connections."""

import http.client
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Wire:
    """What passes the proxy."""

    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path with its query, in order."""
    patched: list[tuple[float, str, int]] = field(default_factory=list)
    """Each successful PATCH of a scale: monotonic seconds, path, and spec.replicas."""
    before_patch: Callable[[str], object] = lambda _: None
    """Called with the path before each PATCH is passed on."""
    cut: bool = False
    """Reset all connections."""
    open: set[socket.socket] = field(default_factory=set)

    def count(self, *words: str) -> int:
        """Return how many requests have all these words in `METHOD PATH`."""
        return sum(all(word in f"{method} {path}" for word in words) for method, path in list(self.requests))

    def cut_all(self) -> None:
        self.cut = True
        for each in list(self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Passes one connection's requests on."""

    protocol_version = "HTTP/1.1"
    wire: Wire
    connect: Callable[[], http.client.HTTPSConnection]

    def handle(self) -> None:
        self.wire.open.add(self.connection)
        try:
            if not self.wire.cut:
                with suppress(OSError, http.client.HTTPException):
                    super().handle()
        finally:
            self.wire.open.discard(self.connection)

    def forward(self) -> None:
        self.wire.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "PATCH":
            self.wire.before_patch(self.path)
        with closing(self.connect()) as connection:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in _HOP_BY_HOP:
                    self.send_header(key, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while part := self._part(answer):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = forward  # noqa: N815 - the library's names

    def _part(self, answer: http.client.HTTPResponse) -> bytes:
        path = self.path.partition("?")[0]
        if self.command != "PATCH" or not path.endswith("/scale") or answer.status != http.HTTPStatus.OK:
            return answer.read1(1 << 16)  # a watch comes bit by bit
        content = answer.read()
        if content:
            self.wire.patched.append((time.monotonic(), path, json.loads(content)["spec"].get("replicas", 0)))
        return content

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def proxied(kubeconfig: Path, pki: Path, folder: Path) -> Iterator[tuple[Wire, Path]]:
    """Yield the wire, and a kubeconfig that leads through it."""
    config = json.loads(kubeconfig.read_text(encoding="utf-8"))
    address = urlsplit(config["clusters"][0]["cluster"]["server"])
    upstream = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    wire = Wire()
    connect = partial(http.client.HTTPSConnection, str(address.hostname), address.port, context=upstream, timeout=300)
    handler = type("Handler", (_Handler,), {"wire": wire, "connect": staticmethod(connect)})

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
            with suppress(OSError), tls.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)

    with Listener(("127.0.0.1", 0), handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{listener.server_port}"
            path = folder / "proxied.kubeconfig"
            path.write_text(json.dumps(config), encoding="utf-8")
            yield wire, path
        finally:
            listener.shutdown()
            wire.cut_all()
            thread.join()
