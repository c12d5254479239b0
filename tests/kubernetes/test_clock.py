"""A node whose clock is days off serves a certificate that kube-apiserver accepts, and says what is wrong."""

import base64
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from app.kube.certificates.controller import CertificateTargets
from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.behind_service import service_in_front
from tests.kubernetes.cluster_objects import available, eventually, kubernetes, namespace, path, registration, secret
from tests.kubernetes.conftest import Beanscale, serving

__all__ = ["kubernetes", "namespace", "registration", "secret"]


@pytest.fixture
def two_days_ahead(source: Beanstalkd, registration: CertificateTargets) -> Iterator[Beanscale]:
    options = [
        f"--beanstalkd={source.host}:{source.port}",
        f"--service={registration.service}",
        f"--tls-secret={registration.secret.name}",
        f"--apiservice={registration.api_service}",
        "--bind=0.0.0.0",  # kube-apiserver comes from the node's address
    ]
    with serving(*options, before=at_another_time("+2d")) as server:
        yield server


def at_another_time(offset: str) -> list[str]:
    """The words that make a command live then, without faketime itself: that would be its parent, our SIGTERM would end
    it alone, and the server would go on for ever.
    """
    environment = subprocess.run(["faketime", "-f", offset, "env"], capture_output=True, text=True, check=True).stdout
    return ["env", *(line for line in environment.splitlines() if line.startswith(("FAKETIME=", "LD_PRELOAD=")))]


def test_certificates_are_valid_with_a_wrong_clock_and_the_error_is_logged(
    two_days_ahead: Beanscale, registration: CertificateTargets, pki: Path
) -> None:
    with service_in_front(registration, two_days_ahead.port):
        eventually(lambda: is_verified(registration))
    encoded = registration.kubernetes.request("GET", path(registration.secret))["data"]["tls.crt"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    begins = datetime.now(UTC) - certificate.not_valid_before_utc
    assert timedelta(hours=1) < begins < timedelta(hours=1, minutes=2), "backdated by an hour, by the right clock"
    with two_days_ahead.client((pki / "admin.crt", pki / "admin.key")) as admin:
        health = admin.get("/readyz?verbose").text
        ahead_s = re.search(r"^beanscale_clock_ahead_seconds (\S+)$", admin.get("/metrics").text, re.MULTILINE)
    assert re.search(r"\[\+]certificate ok, but: the node clock is (2 d|1 d 23 h) ahead of kube-apiserver's", health)
    assert ahead_s
    assert abs(float(ahead_s[1]) - 2 * 86400) < 60


def is_verified(registration: CertificateTargets) -> bool:
    """kube-apiserver got an answer: the server doesn't know this test's group, which it says over verified TLS."""
    message = available(registration).get("message", "")
    return "bad status from" in message and "404" in message
