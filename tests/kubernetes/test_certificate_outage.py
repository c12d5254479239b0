"""kube-apiserver is away: the server goes on with the certificate that it has, says so, and recovers by itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kube.certificates.controller import CertificateTargets
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.cluster_objects import ca_bundle, eventually, kubernetes, namespace, registration, secret
from tests.kubernetes.conftest import Beanscale, serving
from tests.kubernetes.interruptible import InterruptibleProxy, interruptible

__all__ = ["kubernetes", "namespace", "registration", "secret"]

UP = "beanscale_serving_certificate_up"


@pytest.fixture
def far(
    source: Beanstalkd, registration: CertificateTargets, tmp_path: Path
) -> Iterator[tuple[Beanscale, InterruptibleProxy]]:
    with interruptible(tmp_path) as (wire, kubeconfig):
        options = [
            f"--beanstalkd={source.host}:{source.port}",
            f"--kubeconfig={kubeconfig}",
            f"--service={registration.service}",
            f"--tls-secret={registration.secret.name}",
            f"--apiservice={registration.api_service}",
            "--tls-duration=60s",  # looked after every five seconds
            "--tls-ca-duration=1h",  # the bundle stays as it is meanwhile
            "--log-format=json",
        ]
        with serving(*options) as server:
            yield server, wire


def test_it_stays_in_use_and_everything_recovers(
    far: tuple[Beanscale, InterruptibleProxy], registration: CertificateTargets, pki: Path
) -> None:
    server, wire = far
    with server.client((pki / "admin.crt", pki / "admin.key")) as admin:

        def is_up() -> bool:
            assert admin.get("/readyz").status_code == 200
            return f"{UP} 1.0" in admin.get("/metrics").text

        eventually(is_up)
        trusted = ca_bundle(registration)
        wire.cut()
        eventually(lambda: not is_up())
        assert "[+]certificate ok, but: https://127.0.0.1:" in admin.get("/readyz?verbose").text
        wire.mend()
        eventually(is_up)
    assert ca_bundle(registration) == trusted
    events = [json.loads(line)["event"] for line in server.log.read_text().splitlines()]
    assert events.count("serving certificate check failed") == 1
    assert events.index("serving certificate check failed") < events.index("serving certificate check succeeded again")
