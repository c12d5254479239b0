"""The console over TLS in its pod: the kubelet's probes, the mounted Secret, and a certificate that is replaced."""

import ssl
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.kube.certificates.authority import make_authority, make_serving
from tests.cluster.commands import eventually, ran
from tests.cluster.release import PATIENCE, Release

pytestmark = pytest.mark.timeout(600)

HOST = "queues.example.com"


def keep(release: Release) -> str:
    """Put a certificate of a new CA into the Secret; the CA as PEM."""
    now = datetime.now(UTC)
    authority = make_authority([HOST], now, timedelta(days=90))
    serving = make_serving(authority, [HOST], now, timedelta(days=30))
    content = {"tls.crt": serving.pem, "tls.key": serving.key_pem}
    data = "".join(f"\n  {key}: {b64encode(value).decode()}" for key, value in content.items())
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: console-tls}}\ntype: kubernetes.io/tls\ndata:{data}\n"
    ran("kubectl", "apply", "--server-side", f"--namespace={release.namespace}", "--filename=-", given=secret)
    return authority.pem.decode()


@pytest.fixture(scope="module")
def authority(release: Release) -> Iterator[str]:
    """The CA of the console's first certificate."""
    authority = keep(release)
    revision = release.read("secret", "--selector=owner=helm,status=deployed")["items"][0]["metadata"]["labels"]
    release.upgrade({"console": {"tls": {"secretName": "console-tls"}}})
    release.wait_for_rollout("deployment/beanscale-console")
    yield authority
    release.helm("rollback", revision["version"], "--wait", "--timeout", PATIENCE)
    release.kubectl("delete", "secret", "console-tls")


def is_served(release: Release, authority: str) -> bool:
    """Whether a client that trusts this CA alone can open the page, by the Service."""
    tls = ssl.create_default_context(cadata=authority)
    try:
        with httpx.Client(verify=tls, timeout=60, trust_env=False) as client:
            url = f"https://{release.address('console')}/login"
            return client.get(url, extensions={"sni_hostname": HOST}).status_code == 200
    except httpx.ConnectError as error:
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)  # noqa: PT017 - the other CA's certificate
        return False


def test_a_ready_console_serves_the_certificate_and_its_successor_without_a_restart(
    release: Release, authority: str
) -> None:
    eventually(lambda: is_served(release, authority), "the certificate of the Secret")
    eventually(lambda: len(release.pods("console")) == 1, "the pod without TLS to be gone")
    (before,) = release.pods("console")
    successor = keep(release)
    eventually(lambda: is_served(release, successor), "the certificate that is now in the Secret", within_s=180)
    assert not is_served(release, authority)
    (after,) = release.pods("console")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
