"""A provided certificate in a Secret, and the bundle while replicas have different certificates."""

import asyncio
import ssl
import uuid
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from app.clock import Instant, now
from app.kube.certificates.authority import Authority, ServingCertificate, make_authority, make_serving, read_bundle
from app.kube.certificates.controller import CertificateController, CertificateTargets, load_into
from app.kube.client import Kubernetes
from app.settings import ObjectName
from tests.kubernetes.behind_service import forwarded_to
from tests.kubernetes.cluster_objects import (
    MERGE,
    answered,
    ca_bundle,
    eventually,
    kubernetes,
    names,
    namespace,
    path,
    registration,
    secret,
)

__all__ = ["kubernetes", "namespace", "registration", "secret"]

DAY = timedelta(days=1)
WATCHED_WITHIN_S = 2
"""kube-apiserver watches the bundle; beanscale checks every ten seconds."""


def keep(registration: CertificateTargets, authority: Authority) -> ServingCertificate:
    """Put a new certificate into the Secret, as cert-manager does it."""
    serving = make_serving(authority, names(registration)[:1], datetime.now(UTC), 30 * DAY)
    content = {"tls.crt": serving.pem, "tls.key": serving.key_pem, "ca.crt": authority.pem}
    encoded = {key: b64encode(value).decode() for key, value in content.items()}
    registration.kubernetes.request("PATCH", path(registration.secret), body={"data": encoded}, content_type=MERGE)
    return serving


def new_authority() -> Authority:
    return make_authority(["svc"], datetime.now(UTC), 365 * DAY)


def ignore(_: ServingCertificate) -> None:
    """Nothing serves here."""


async def test_it_is_served_and_exchanged_without_a_failed_verification(registration: CertificateTargets) -> None:
    registration = replace(registration, provided=True)
    old, new = new_authority(), new_authority()
    first = keep(registration, old)
    identity = CertificateController(names(registration), registration)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await identity.check(partial(load_into, tls), now())
    assert identity.certificate == first
    with forwarded_to(registration, tls):
        eventually(lambda: answered(registration))
        second = keep(registration, new)
        await identity.check(partial(load_into, tls), now())
        assert identity.certificate == first, "the new CA has to be known before it is needed"
        assert ca_bundle(registration) == new.pem + old.pem
        assert answered(registration)
        await asyncio.sleep(WATCHED_WITHIN_S)
        await identity.check(partial(load_into, tls), now())
        assert identity.certificate == second
        assert answered(registration)
        await identity.check(ignore, in_an_hour())
        assert ca_bundle(registration) == new.pem
        eventually(lambda: answered(registration))


async def test_an_unusable_certificate_changes_nothing_and_is_logged(registration: CertificateTargets) -> None:
    registration = replace(registration, provided=True)
    identity = CertificateController(names(registration), registration)
    await identity.check(ignore, now())
    assert str(identity.failure(now())) == (
        f"the certificate in Secret {registration.secret} can't be served: it has no tls.crt and no tls.key yet"
    )
    served = keep(registration, new_authority())
    await identity.check(ignore, now())
    assert (identity.failure(now()), identity.state.error) == (None, None)
    invalid = {"data": {"tls.key": b64encode(b"garbage").decode()}}
    registration.kubernetes.request("PATCH", path(registration.secret), body=invalid, content_type=MERGE)
    await identity.check(ignore, now())
    assert identity.certificate == served
    assert identity.failure(now()) is None
    assert "its tls.key isn't a PEM key" in str(identity.warning(now()))


async def test_a_missing_certificate_is_retried(registration: CertificateTargets) -> None:
    gone = replace(registration, provided=True)
    registration.kubernetes.request("DELETE", path(gone.secret))
    identity = CertificateController(names(gone), gone)
    await identity.check(ignore, now())
    assert f"has no Secret {gone.secret} with the serving certificate; create it" in str(identity.failure(now()))


async def test_without_a_ca_none_remains_in_the_config_map(registration: CertificateTargets) -> None:
    """Like a change from beanscale's own certificates to a Secret without ca.crt: no CA is better than a wrong one."""
    kubernetes, config_map = registration.kubernetes, ObjectName(registration.secret.namespace, "without-ca")
    config_maps = f"/api/v1/namespaces/{config_map.namespace}/configmaps"
    kubernetes.request(
        "POST", config_maps, body={"metadata": {"name": config_map.name}, "data": {"ca.crt": "old", "other": "kept"}}
    )
    theirs = replace(registration, provided=True, config_map=config_map)
    keep(theirs, new_authority())
    kubernetes.request("PATCH", path(theirs.secret), body={"data": {"ca.crt": None}}, content_type=MERGE)
    identity = CertificateController(names(theirs), theirs)
    await identity.check(ignore, now())
    assert identity.certificate is not None
    assert kubernetes.request("GET", f"{config_maps}/{config_map.name}")["data"] == {"other": "kept"}
    assert "ConfigMap" not in (identity.warning(now()) or "")


async def test_a_replica_that_finds_the_new_ca_published_waits_as_well(registration: CertificateTargets) -> None:
    """Another came milliseconds before, and no kube-apiserver may have heard yet."""
    registration = replace(registration, provided=True)
    first, later = (CertificateController(names(registration), registration) for _ in range(2))
    served = keep(registration, new_authority())
    for replica in (first, later):
        await replica.check(ignore, now())
        await replica.check(ignore, now())
    keep(registration, new_authority())
    for replica in (first, later):
        await replica.check(ignore, now())
        assert replica.certificate == served
    await later.check(ignore, now())
    assert later.certificate != served


async def test_an_older_replica_keeps_a_new_ca(
    registration: CertificateTargets, kubernetes: Kubernetes, namespace: str
) -> None:
    """As during an upgrade: the old replica's Secret is another one."""
    old = CertificateController(names(registration), registration)
    await old.check(ignore, now())
    await old.check(ignore, in_an_hour())
    given = ObjectName(namespace, f"given-{uuid.uuid4().hex[:8]}")
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body={"metadata": {"name": given.name}})
    theirs = replace(registration, provided=True, secret=given)
    keep(theirs, new_authority())
    new = CertificateController(names(theirs), theirs)
    await new.check(ignore, now())
    await old.check(ignore, in_an_hour())
    assert {*read_bundle(ca_bundle(registration))} == {*read_bundle(old.bundle), *read_bundle(new.bundle)}


async def test_replicas_with_different_settings_keep_each_others_ca_for_an_hour(
    registration: CertificateTargets,
) -> None:
    """Like an upgrade from beanscale's own certificates to provided ones."""
    own = CertificateController(names(registration), registration)
    await own.check(ignore, now())
    theirs = replace(registration, provided=True)
    keep(theirs, new_authority())  # as if in another Secret: the first replica has read its own already
    other = CertificateController(names(theirs), theirs)
    await other.check(ignore, now())
    both = ca_bundle(registration)
    assert both == other.bundle + own.bundle
    again = CertificateController(names(theirs), theirs)
    await again.check(ignore, now())
    assert ca_bundle(registration) == both
    await again.check(ignore, in_an_hour())
    assert ca_bundle(registration) == other.bundle


def in_an_hour() -> Instant:
    return Instant(now().unix_s + 3601, now().monotonic_s + 3601)
