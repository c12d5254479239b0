"""A certificate of the user's own: taken over from ours, exchanged for one of another CA, given up again, all live."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.kube.certificates.authority import Authority, make_authority, make_serving
from tests.cluster.commands import eventually, ran, run
from tests.cluster.observing import constant_requests
from tests.cluster.release import CHART, PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(900)

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority()


def new_authority() -> Authority:
    return make_authority(["svc"], datetime.now(UTC), 90 * DAY)


def keep(release: Release, authority: Authority) -> str:
    """Put a new certificate into the Secret, as cert-manager does it; the certificate as PEM."""
    serving = make_serving(authority, [f"beanscale-server.{release.namespace}.svc"], datetime.now(UTC), 30 * DAY)
    content = {"tls.crt": serving.pem, "tls.key": serving.key_pem, "ca.crt": authority.pem}
    data = "".join(f"\n  {key}: {b64encode(value).decode()}" for key, value in content.items())
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: given}}\ntype: kubernetes.io/tls\ndata:{data}\n"
    ran("kubectl", "apply", "--server-side", f"--namespace={release.namespace}", "--filename=-", given=secret)
    return serving.pem.decode()


@contextmanager
def no_request_fails(release: Release, pki: Path) -> Iterator[None]:
    with constant_requests(pki, release.metric_path(f"tube-{TUBE}")) as answers:
        yield
        good = answers.good
        eventually(lambda: answers.good > good + 30, "answers by the new certificate")
    assert answers.failures == []


def all_serve(release: Release, certificate: str) -> bool:
    served = release.served_certificates()
    return len(served) == 2 and {each.strip() for each in served} == {certificate.strip()}


@pytest.fixture(scope="module")
def given(release: Release, pki: Path, authority: Authority) -> Iterator[str]:
    """The certificate, taken over from those that the servers made; in the end they make theirs again."""
    certificate = keep(release, authority)
    with no_request_fails(release, pki):
        mode = "tls.mode=existingSecret,tls.existingSecret.name=given"
        release.helm("upgrade", CHART, "--reuse-values", "--set", mode, "--wait", "--timeout", PATIENCE)
        eventually(lambda: all_serve(release, certificate), "the given certificate is served")
    yield certificate
    with no_request_fails(release, pki):
        release.helm("rollback", "--wait", "--timeout", PATIENCE)
        eventually(lambda: certificate.strip() not in {each.strip() for each in release.served_certificates()}, "ours")
    release.kubectl("delete", "secret", "given")
    release.uninstall()  # the next release begins without a foreign CA, which would stay for an hour


def test_it_is_served_and_its_ca_is_trusted(release: Release, given: str, authority: Authority) -> None:
    assert all_serve(release, given)
    assert authority.pem.decode() in release.ca_bundle()


def test_the_servers_cant_write_a_provided_certificate(release: Release) -> None:
    account = f"system:serviceaccount:{release.namespace}:beanscale-server"
    assert ask_rbac(release, "get", account) == "yes"
    assert [ask_rbac(release, verb, account) for verb in ("patch", "update", "create", "delete")] == ["no"] * 4


def ask_rbac(release: Release, verb: str, account: str) -> str:
    command = ("auth", "can-i", verb, "secret/given", f"--as={account}", f"--namespace={release.namespace}")
    return run("kubectl", *command).stdout.strip()


def test_a_certificate_of_another_ca_replaces_it_without_a_failed_request(
    release: Release, given: str, pki: Path
) -> None:
    assert given
    with no_request_fails(release, pki):
        certificate = keep(release, new_authority())
        eventually(lambda: all_serve(release, certificate), "the new certificate is served", within_s=120)
