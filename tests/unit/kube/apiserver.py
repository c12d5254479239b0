"""A server with configurable responses over real TLS, for those that a healthy kube-apiserver never sends."""

import json
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from app.kube.certificates.authority import ServingCertificate
from app.kube.certificates.controller import load_into


@dataclass
class Answer:
    """One response, after a delay."""

    status: int = 200
    body: bytes = b"{}"
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    """Pause after each byte of the body."""
    cut: bool = False
    """It hangs up after half of the body."""
    held: threading.Event | None = None
    """It waits for this first."""


@dataclass
class Asked:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    client_port: int


@dataclass
class Apiserver:
    """Answers by the path, or all with `answer`, and remembers what it was asked."""

    port: int
    answer: Answer = field(default_factory=Answer)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path and query, as asked."""
    asked: list[Asked] = field(default_factory=list)
    hang_ups: int = 0
    """How many of the next requests are answered by nothing."""

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"


class _Listener(ThreadingHTTPServer):
    def handle_error(self, *request: object) -> None:
        if not isinstance(sys.exception(), OSError):  # clients leave as they like
            super().handle_error(*request)


@contextmanager
def serving(certificate: ServingCertificate) -> Iterator[Apiserver]:
    """Serve on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k.lower(): v for k, v in self.headers.items()}
            server.asked.append(Asked(self.requestline, headers, body, self.client_address[1]))
            if server.hang_ups:
                server.hang_ups -= 1
                self.close_connection = True
                return
            answer = server.answers.get(self.path, server.answer)
            if answer.held:
                answer.held.wait()
            time.sleep(answer.delay_s)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            with suppress(OSError):  # the client can close the connection early
                self.say(answer)

        def say(self, answer: Answer) -> None:
            if answer.cut:
                self.close_connection = True
                self.wfile.write(answer.body[: len(answer.body) // 2])
            elif answer.drip_s:
                for position in range(len(answer.body)):
                    self.wfile.write(answer.body[position : position + 1])
                    time.sleep(answer.drip_s)
            else:
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(context, certificate)
    with _Listener(("127.0.0.1", 0), Handler) as listener:
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        listener.daemon_threads = True
        server = Apiserver(listener.server_port)
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def kubeconfig(path: Path, server: str, ca_pem: bytes, **user: object) -> Path:
    """Write one, with a CA inside."""
    ca = path.with_suffix(".ca")
    ca.write_bytes(ca_pem)
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "here",
    }
    path.write_text(json.dumps(configuration))
    return path
