"""A TLS server of the test's own that kube-apiserver forwards to, through a Service."""

import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from app.kube.certificates.controller import CertificateTargets


@contextmanager
def forwarded_to(registration: CertificateTargets, tls: ssl.SSLContext) -> Iterator[None]:
    """A server behind the registration's Service: one connection a request, as in HTTP 1.0."""

    class Discovery(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version, _, group = registration.api_service.partition(".")
            resources = {"kind": "APIResourceList", "groupVersion": f"{group}/{version}", "resources": []}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(resources).encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Listener(http.server.ThreadingHTTPServer):
        def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
            with suppress(OSError), tls.wrap_socket(request, server_side=True) as wrapped:  # a client that refuses us
                super().finish_request(wrapped, client_address)

    with Listener((own_address(), 0), Discovery) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            with service_in_front(registration, listener.server_port):
                yield
        finally:
            listener.shutdown()
            thread.join()


@contextmanager
def service_in_front(registration: CertificateTargets, port: int) -> Iterator[None]:
    kubernetes, service = registration.kubernetes, registration.service
    services = f"/api/v1/namespaces/{service.namespace}/services"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{service.namespace}/endpointslices"
    ports = [{"name": "https", "port": 443, "targetPort": port}]
    kubernetes.request("POST", services, body={"metadata": {"name": service.name}, "spec": {"ports": ports}})
    endpoints = {
        "metadata": {"name": service.name, "labels": {"kubernetes.io/service-name": service.name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port}],
    }
    kubernetes.request("POST", slices, body=endpoints)
    try:
        yield
    finally:
        kubernetes.request("DELETE", f"{slices}/{service.name}")
        kubernetes.request("DELETE", f"{services}/{service.name}")


def own_address() -> str:
    """Where kube-apiserver reaches us: the address towards the default route. Endpoints can't be on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # chooses a route, sends nothing
        return str(probe.getsockname()[0])
