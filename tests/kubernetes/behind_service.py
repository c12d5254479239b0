"""A TLS server of the test's own that kube-apiserver forwards to, through a Service."""

import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

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
    core, discovery = (f"{api}/namespaces/{service.namespace}" for api in ("/api/v1", "/apis/discovery.k8s.io/v1"))
    ports, address = [{"name": "https", "port": 443, "targetPort": port}], own_address()
    made = [
        (f"{core}/services", {"spec": {"ports": ports}}),
        (f"{core}/endpoints", endpoints(address, port)),
        (f"{discovery}/endpointslices", endpoint_slice(service.name, address, port)),
    ]
    for path, content in made:
        metadata = {"name": service.name, **content.get("metadata", {})}
        kubernetes.request("POST", path, body={**content, "metadata": metadata})
    try:
        yield
    finally:
        for path, _ in reversed(made):
            kubernetes.request("DELETE", f"{path}/{service.name}")


def endpoints(address: str, port: int) -> dict[str, Any]:
    """Endpoints for the aggregator of Kubernetes 1.30, which doesn't read EndpointSlices."""
    return {
        "metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port}]}],
    }


def endpoint_slice(service: str, address: str, port: int) -> dict[str, Any]:
    """An EndpointSlice for later aggregators, and for kube-proxy."""
    return {
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port}],
    }


def own_address() -> str:
    """Where kube-apiserver reaches us: the address towards the default route. Endpoints can't be on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # chooses a route, sends nothing
        return str(probe.getsockname()[0])
