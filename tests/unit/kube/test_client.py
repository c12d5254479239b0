"""A connection to kube-apiserver asks once, verifies whom it asks, and says in one sentence what went wrong."""

import json
import socket
import struct
import threading
import tracemalloc
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from app.kube.certificates.authority import ServingCertificate, make_authority
from app.kube.certificates.renewal import next_key_ring
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from app.kube.errors import KubernetesError
from tests.unit.kube.apiserver import Answer, Apiserver, serving


def status(code: int, reason: str, message: str) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message}).encode()


def test_json_is_sent_and_received(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(201, b'{"kind": "Pod"}')
    answered = kubernetes.request("POST", "/api/v1/pods", query={"dryRun": "All", "limit": 1}, body={"kind": "Pod"})
    assert answered == {"kind": "Pod"}
    [asked] = apiserver.asked
    assert asked.line == "POST /api/v1/pods?dryRun=All&limit=1 HTTP/1.1"
    assert (asked.body, asked.headers["content-type"]) == (b'{"kind": "Pod"}', "application/json")


def test_a_pods_token_is_read_for_each_request(
    kubernetes: Kubernetes, apiserver: Apiserver, service_account: Path
) -> None:
    kubernetes.request("GET", "/version")
    (service_account / "token").write_text("second\n")
    kubernetes.request("GET", "/version")
    assert [asked.headers["authorization"] for asked in apiserver.asked] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (Answer(403, status(403, "Forbidden", "no, bob")), "Forbidden", "with 403: no, bob; grant it by RBAC"),
        (Answer(409, status(409, "Conflict", "new.")), "Conflict", "with 409: new; another client changed it first"),
        (Answer(502, b"<html>bad gateway</html>"), "", "with 502: no reason given; kube-apiserver's log"),
        (Answer(401, b"[]"), "", "with 401: no reason given; the credentials"),
    ],
)
def test_an_error_status_is_one_sentence(
    kubernetes: Kubernetes, apiserver: Apiserver, answer: Answer, reason: str, said: str
) -> None:
    apiserver.answer = answer
    with pytest.raises(KubernetesError) as refused:
        kubernetes.request("GET", "/version")
    assert (refused.value.status, refused.value.reason) == (answer.status, reason)
    assert str(refused.value).startswith(f"{apiserver.address} answered GET /version {said}")


def test_a_redirect_is_not_followed(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    """It would send the token to another server."""
    apiserver.answer = Answer(307, headers={"Location": "https://127.0.0.1:1/"})
    with pytest.raises(KubernetesError, match="with 307"):
        kubernetes.request("GET", "/version")
    assert len(apiserver.asked) == 1


def test_a_failure_is_not_retried(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(503, headers={"Retry-After": "0"})
    with pytest.raises(KubernetesError, match="with 503"):
        kubernetes.request("GET", "/version")
    assert len(apiserver.asked) == 1


def test_an_object_that_doesnt_exist_is_none(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(404, status(404, "NotFound", 'pods "a" not found'))
    assert kubernetes.find("/api/v1/namespaces/shop/pods/a") is None
    apiserver.answer = Answer(403, status(403, "Forbidden", "no"))
    with pytest.raises(KubernetesError, match="with 403: no"):
        kubernetes.find("/api/v1/namespaces/shop/pods/a")
    apiserver.answer = Answer(body=b'{"kind": "Pod"}')
    assert kubernetes.find("/api/v1/namespaces/shop/pods/a") == {"kind": "Pod"}


def test_a_response_other_than_a_json_object_is_an_error(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(200, b"ok")
    with pytest.raises(KubernetesError, match="check that it is a kube-apiserver") as refused:
        kubernetes.request("GET", "/version")
    assert refused.value.reason == "NotKubernetes"


def test_a_server_that_doesnt_respond_times_out(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(delay_s=60)
    with pytest.raises(KubernetesError, match="GET /version: timed out") as silent:
        kubernetes.request("GET", "/version", timeout_s=0.05)
    assert (silent.value.status, silent.value.reason) == (None, "Unreachable")


def test_a_port_without_a_listener_is_reported(
    monkeypatch: pytest.MonkeyPatch, kubernetes: Kubernetes, service_account: Path
) -> None:
    assert kubernetes
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(
        KubernetesError, match=r"https://127\.0\.0\.1:1 .*Connection refused; check that the server is running"
    ):
        Kubernetes(find_credentials(None, None, service_account)).request("GET", "/version")


def test_a_server_with_a_certificate_of_another_ca_is_rejected(
    kubernetes: Kubernetes, apiserver: Apiserver, service_account: Path
) -> None:
    assert kubernetes
    (service_account / "ca.crt").write_bytes(make_authority(["svc"], datetime.now(UTC), timedelta(days=1)).pem)
    with pytest.raises(KubernetesError, match=r"unable to get local issuer certificate; .*certificate-authority"):
        Kubernetes(find_credentials(None, None, service_account)).request("GET", "/version")
    assert not apiserver.asked


def test_watch_events_are_received_one_by_one(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(body=b'{"type": "ADDED", "object": {"a": 1}}\n{"type": "BOOKMARK", "object": {}}\n')
    events = list(kubernetes.watch("/api/v1/pods", query={"resourceVersion": "7"}, timeout_s=3))
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert apiserver.asked[0].line == "GET /api/v1/pods?resourceVersion=7&watch=true&timeoutSeconds=3 HTTP/1.1"


def test_a_watch_that_is_too_old_is_expired(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    error = {"type": "ERROR", "object": json.loads(status(410, "Expired", "too old resource version: 1 (2)"))}
    apiserver.answer = Answer(body=json.dumps(error).encode() + b"\n")
    with pytest.raises(KubernetesError, match="WATCH /api/v1/pods with 410: too old") as expired:
        list(kubernetes.watch("/api/v1/pods"))
    assert (expired.value.status, expired.value.reason) == (410, "Expired")


@pytest.mark.parametrize("found", [b"null", b'"gone"', b"[]"])
def test_a_watch_that_fails_without_a_status_is_an_error(
    kubernetes: Kubernetes, apiserver: Apiserver, found: bytes
) -> None:
    apiserver.answer = Answer(body=b'{"type": "ERROR", "object": %b}\n' % found)
    with pytest.raises(KubernetesError, match="WATCH /api/v1/pods with 500: no reason given"):
        list(kubernetes.watch("/api/v1/pods"))


def test_a_rejected_watch_is_an_error(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(403, status(403, "Forbidden", "no"))
    with pytest.raises(KubernetesError, match="WATCH /api/v1/pods with 403: no"):
        list(kubernetes.watch("/api/v1/pods"))


def test_a_cluster_whose_ca_has_no_key_identifiers_is_accepted(
    monkeypatch: pytest.MonkeyPatch, service_account: Path
) -> None:
    """Many clusters' CAs are such; a strict client would refuse them."""
    ca_pem, certificate = without_key_identifiers()
    (service_account / "ca.crt").write_bytes(ca_pem)
    with serving(certificate) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        assert Kubernetes(find_credentials(None, None, service_account)).request("GET", "/version") == {}


def without_key_identifiers() -> tuple[bytes, ServingCertificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("ca", "server")]
    address = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    ca, leaf = (
        x509.CertificateBuilder()
        .issuer_name(names[0])
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .add_extension(extension, critical=False)
        .sign(key, hashes.SHA256())
        for subject, extension in zip(names, (x509.BasicConstraints(ca=True, path_length=None), address), strict=True)
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ca.public_bytes(Encoding.PEM), ServingCertificate(leaf.public_bytes(Encoding.PEM), key_pem, leaf)


def test_a_pod_accepts_a_rotated_cluster_ca(
    monkeypatch: pytest.MonkeyPatch, kubernetes: Kubernetes, service_account: Path
) -> None:
    assert kubernetes.request("GET", "/version") == {}
    rotated = next_key_ring(None, ["127.0.0.1"], datetime.now(UTC))
    with serving(rotated.serving) as server:
        monkeypatch.setattr(kubernetes, "server", server.address)
        with pytest.raises(KubernetesError, match="certificate"):
            kubernetes.request("GET", "/version")
        (service_account / "ca.crt").write_bytes(rotated.bundle)
        assert kubernetes.request("GET", "/version") == {}


def test_the_previous_cluster_ca_is_no_longer_trusted(
    kubernetes: Kubernetes, apiserver: Apiserver, service_account: Path
) -> None:
    assert kubernetes.request("GET", "/version") == {}
    (service_account / "ca.crt").write_bytes(next_key_ring(None, ["127.0.0.1"], datetime.now(UTC)).bundle)
    with pytest.raises(KubernetesError, match="certificate"):
        kubernetes.request("GET", "/version")
    assert len(apiserver.asked) == 1


@pytest.mark.parametrize("invalid", [b"", b"garbage", None])
def test_a_ca_file_that_cant_be_read_changes_nothing_and_is_logged_once(
    kubernetes: Kubernetes, service_account: Path, invalid: bytes | None
) -> None:
    if invalid is None:
        (service_account / "ca.crt").unlink()
    else:
        (service_account / "ca.crt").write_bytes(invalid)
    with capture_logs() as logged:
        assert [kubernetes.request("GET", "/version") for _ in range(3)] == [{}, {}, {}]
    assert [line["event"] for line in logged] == ["changed CA file can't be used, the previous CA stays valid"]


@pytest.mark.parametrize("invalid", [b"", b"a\nb", b"\xff"])
def test_an_invalid_token_file_is_an_error_until_it_is_valid(
    kubernetes: Kubernetes, apiserver: Apiserver, service_account: Path, invalid: bytes
) -> None:
    (service_account / "token").write_bytes(invalid)
    with pytest.raises(KubernetesError, match="the pod's token"):
        kubernetes.request("GET", "/version")
    (service_account / "token").write_bytes(b"second")
    kubernetes.request("GET", "/version")
    assert apiserver.asked[0].headers["authorization"] == "Bearer second"


def test_a_cut_connection_and_an_unreachable_server_are_different_errors(
    kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        monkeypatch.setattr(kubernetes, "server", f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(KubernetesError) as cut:
            kubernetes.request("GET", "/version")
        thread.join()
    assert cut.value.reason == "ConnectionReset"
    with pytest.raises(KubernetesError) as gone:
        kubernetes.request("GET", "/version")
    assert gone.value.reason == "Unreachable"


def test_pages_of_large_objects_are_shorter(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    """500 objects of a megabyte would need more memory than a pod has."""

    def page(size: int, more: str) -> Answer:
        return Answer(body=json.dumps({"metadata": {"continue": more}, "items": [{"x": "x" * size}]}).encode())

    apiserver.answers["/things?limit=500"] = page(300 * 2**20, "")
    apiserver.answers["/things?limit=125"] = page(5 * 2**20, "")
    apiserver.answers["/things?limit=31"] = page(3 * 2**20, "c")
    apiserver.answers["/things?limit=62&continue=c"] = page(5 * 2**20, "")
    apiserver.answers["/things?limit=15&continue=c"] = page(1, "")
    tracemalloc.start()
    try:
        assert [len(items[0]["x"]) for items, _ in kubernetes.pages("/things")] == [3 * 2**20, 1]
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


def test_a_response_of_any_length_is_not_read(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(body=b" " * (33 * 2**20))
    with pytest.raises(KubernetesError, match="answered GET /version with more than 32 MiB; delete large objects"):
        kubernetes.request("GET", "/version")
    for _ in range(2):
        apiserver.asked.clear()
        with pytest.raises(KubernetesError, match="more than 32 MiB"):
            list(kubernetes.pages("/things"))
    assert [asked.line.split()[1] for asked in apiserver.asked][-1] == "/things?limit=1"
