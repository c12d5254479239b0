"""Secret and APIService beside a real kube-apiserver: replicas share, kube-apiserver trusts, what breaks heals."""

import asyncio
import os
import ssl
import uuid
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.clock import Instant, now
from app.kube.certificates.authority import ServingCertificate, make_authority, make_serving
from app.kube.certificates.controller import CertificateController, CertificateTargets, load_into
from app.kube.certificates.renewal import LIFETIMES, KeyRing, write
from app.kube.certificates.secret import reconcile
from app.kube.client import Kubernetes
from app.kube.credentials import find_credentials
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from tests.kubernetes.behind_service import forwarded_to
from tests.kubernetes.cluster_objects import (
    MERGE,
    answered,
    api_service,
    api_service_path,
    available,
    ca_bundle,
    eventually,
    kubernetes,
    names,
    namespace,
    patch_api_service,
    path,
    registration,
    secret,
)

__all__ = ["kubernetes", "namespace", "registration", "secret"]


async def test_replicas_that_start_together_share_one_certificate(registration: CertificateTargets) -> None:
    replicas = [CertificateController(names(registration), registration) for _ in range(5)]
    async with asyncio.TaskGroup() as tasks:
        for replica in replicas:
            tasks.create_task(replica.check(ignore, now()))
    assert len({replica.certificate for replica in replicas}) == 1
    assert sum(replica.state.changes.get("made", 0) for replica in replicas) == 1
    assert {replica.bundle for replica in replicas} == {ca_bundle(registration)}


async def test_a_deleted_secret_is_restored(registration: CertificateTargets) -> None:
    identity = CertificateController(names(registration), registration)
    kubernetes, secret = registration.kubernetes, registration.secret
    marks = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "ours"}}
    kubernetes.request("PATCH", path(secret), body={"metadata": marks}, content_type=MERGE)
    await identity.check(ignore, now())
    stored = kubernetes.request("GET", path(secret))["data"]
    kubernetes.request("DELETE", path(secret))
    changes: list[ServingCertificate] = []
    later = now()
    await identity.check(changes.append, later)
    found = kubernetes.request("GET", path(secret))
    assert found["data"] == stored
    assert {name: found["metadata"][name] for name in marks} == marks, "else Helm would leave it behind"
    assert changes == []
    assert identity.warning(later) == (
        "the Secret was missing and was recreated,"
        " the certificate in the Secret was missing or invalid and was restored 0 s ago"
    )


async def test_the_ca_is_published_in_a_config_map_without_its_key(registration: CertificateTargets) -> None:
    kubernetes, config_map = registration.kubernetes, ObjectName(registration.secret.namespace, "beanscale-ca")
    config_maps = f"/api/v1/namespaces/{config_map.namespace}/configmaps"
    targets = replace(registration, config_map=config_map)
    identity = CertificateController(names(targets), targets)
    await identity.check(ignore, now())
    assert identity.certificate is not None, "clients other than Prometheus don't need the ConfigMap"
    assert f"has no ConfigMap {config_map} for the CA" in (identity.warning(now()) or "")
    kubernetes.request("POST", config_maps, body={"metadata": {"name": config_map.name}})
    for wrong in ({}, {"ca.crt": "garbage", "ca.key": "?"}):
        body = {"data": wrong or None}
        kubernetes.request("PATCH", f"{config_maps}/{config_map.name}", body=body, content_type=MERGE)
        await identity.check(ignore, now())
        published = kubernetes.request("GET", f"{config_maps}/{config_map.name}")["data"]["ca.crt"]
        assert published == identity.bundle.decode()
        assert "ConfigMap" not in (identity.warning(now()) or "")
    kubernetes.request("DELETE", f"{config_maps}/{config_map.name}")


async def test_a_secret_that_cant_be_created_is_named(registration: CertificateTargets) -> None:
    elsewhere = replace(registration, secret=ObjectName("no-such-namespace", "gone"))
    identity = CertificateController(names(elsewhere), elsewhere)
    await identity.check(ignore, now())
    failure = str(identity.failure(now()))
    assert "no Secret no-such-namespace/gone for the serving certificate, and it can't be created" in failure
    assert failure.endswith("the chart renders it: run helm upgrade")


@pytest.mark.parametrize("invalid", [None, {"tls.key": "AAAA"}, {"ca.crt": b64encode(b"garbage").decode()}])
async def test_an_invalid_secret_is_restored_from_memory(
    registration: CertificateTargets, invalid: dict[str, str] | None
) -> None:
    identity = CertificateController(names(registration), registration)
    await identity.check(ignore, now())
    kubernetes, secret = registration.kubernetes, registration.secret
    stored = kubernetes.request("GET", path(secret))["data"]
    kubernetes.request("PATCH", path(secret), body={"data": invalid}, content_type=MERGE)
    changes: list[ServingCertificate] = []
    await identity.check(changes.append, now())
    assert kubernetes.request("GET", path(secret))["data"] == stored
    assert changes == []


def test_a_secret_that_is_invalid_when_a_renewal_is_due_is_restored_and_renewed(
    registration: CertificateTargets,
) -> None:
    kubernetes, secret = registration.kubernetes, registration.secret
    before = reconcile(kubernetes, secret, ["beanscale"], LIFETIMES, now())
    kubernetes.request("PATCH", path(secret), body={"data": {"tls.key": "AAAA"}}, content_type=MERGE)
    later = Instant(now().unix_s + 0.7 * LIFETIMES.serving.total_seconds(), 0)
    after = reconcile(kubernetes, secret, ["beanscale"], LIFETIMES, later, before=before)
    assert after.changes == ("restored", "renewed")
    assert after.ring.authority == before.ring.authority


async def test_an_invalid_secret_is_recreated_at_start(registration: CertificateTargets) -> None:
    invalid = {"data": {"tls.crt": "AAAA", "mine": "AAAA"}}
    registration.kubernetes.request("PATCH", path(registration.secret), body=invalid, content_type=MERGE)
    await CertificateController(names(registration), registration).check(ignore, now())
    stored = registration.kubernetes.request("GET", path(registration.secret))["data"]
    assert sorted(stored) == ["ca.crt", "ca.key", "mine", "tls.crt", "tls.key"]


class Loser(Kubernetes):
    """Another client always writes between its GET and its PATCH."""

    def request(self, *asked: Any, **more: Any) -> dict[str, Any]:
        if asked[0] == "PATCH":
            note = {"metadata": {"annotations": {"note": uuid.uuid4().hex}}}
            super().request("PATCH", asked[1], body=note, content_type=MERGE)
        return super().request(*asked, **more)


def test_a_secret_that_always_changes_first_is_an_error(secret: ObjectName) -> None:
    loser = Loser(find_credentials(Path(os.environ["KUBECONFIG"]), None))
    with pytest.raises(KubernetesError, match="changed 5 times"):
        reconcile(loser, secret, ["beanscale"], LIFETIMES, now())


async def test_an_emptied_bundle_is_restored(registration: CertificateTargets) -> None:
    identity = CertificateController(names(registration), registration)
    await identity.check(ignore, now())
    patch_api_service(registration, caBundle=None, insecureSkipTLSVerify=True)
    await identity.check(ignore, now())
    assert ca_bundle(registration) == identity.bundle
    assert not api_service(registration)["spec"].get("insecureSkipTLSVerify")


async def test_a_correct_bundle_is_not_written_again(registration: CertificateTargets) -> None:
    identity = CertificateController(names(registration), registration)
    await identity.check(ignore, now())
    before = registration.kubernetes.request("GET", api_service_path(registration))["metadata"]["managedFields"]
    await identity.check(ignore, now())
    after = registration.kubernetes.request("GET", api_service_path(registration))["metadata"]["managedFields"]
    assert ours(after) == ours(before)


async def test_an_apiservice_of_another_owner_is_unchanged(registration: CertificateTargets) -> None:
    patch_api_service(registration, service={"namespace": "keda", "name": "keda-metrics"})
    identity = CertificateController(names(registration), registration)
    await identity.check(ignore, now())
    assert identity.state.error is not None
    assert identity.state.error.reason == "NotOurs"
    assert "belongs to Service keda/keda-metrics, not to" in str(identity.state.error)
    assert ca_bundle(registration) == b""
    owner = api_service(registration)["spec"]["service"]
    assert (owner["namespace"], owner["name"]) == ("keda", "keda-metrics")


async def test_an_apiservice_created_later_gets_its_bundle(registration: CertificateTargets) -> None:
    late = replace(registration, api_service="v1.late.beanscale.example")
    identity = CertificateController(names(late), late)
    await identity.check(ignore, now())
    assert "no APIService v1.late.beanscale.example" in str(identity.state.error)
    spec = api_service(registration)["spec"] | {"group": "late.beanscale.example"}
    body = {"metadata": {"name": late.api_service}, "spec": spec}
    late.kubernetes.request("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body=body)
    try:
        await identity.check(ignore, now())
        assert identity.state.error is None
        assert ca_bundle(late) == identity.bundle
    finally:
        late.kubernetes.request("DELETE", api_service_path(late))


def ours(managed_fields: list[dict[str, str]]) -> list[dict[str, str]]:
    return [entry for entry in managed_fields if "subresource" not in entry]


async def test_kube_apiserver_verifies_beanscale_before_during_and_after_a_new_ca(
    registration: CertificateTargets,
) -> None:
    """The CA is 250 days old: it's rolled at the first check; an hour later, by our clock, the new one has signed."""
    old = aged(names(registration), timedelta(days=250))
    data = {key: b64encode(value).decode() for key, value in write(old).items()}
    registration.kubernetes.request("PATCH", path(registration.secret), body={"data": data}, content_type=MERGE)
    identity = CertificateController(names(registration), registration)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    await identity.check(partial(load_into, tls), now())
    with forwarded_to(registration, tls):
        assert identity.certificate == old.serving
        assert (old.authority.pem in identity.bundle, identity.bundle.count(b"BEGIN")) == (True, 2)
        eventually(lambda: answered(registration))
        later = Instant(now().unix_s + LIFETIMES.published.total_seconds() + 1, 0)
        await identity.check(partial(load_into, tls), later)
        assert identity.certificate != old.serving
        assert answered(registration)
        eventually(lambda: available(registration).get("status") == "True")


async def test_kube_apiserver_rejects_another_server(registration: CertificateTargets) -> None:
    await CertificateController(names(registration), registration).check(ignore, now())
    other = aged(names(registration), timedelta(0))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(tls, other.serving)
    with forwarded_to(registration, tls):
        if int(registration.kubernetes.request("GET", "/version")["minor"]) >= 36:
            eventually(lambda: "signed by unknown authority" in refusal(registration))
        else:  # its check of availability verifies no certificate, its requests do
            eventually(lambda: available(registration).get("status") == "True")
        assert not answered(registration)


def ignore(_: ServingCertificate) -> None:
    """Nothing serves here."""


def aged(names_: list[str] | tuple[str, ...], age: timedelta) -> KeyRing:
    born = datetime.now(UTC) - age
    authority = make_authority(names_, born, LIFETIMES.authority)
    return KeyRing(authority, (), make_serving(authority, names_, datetime.now(UTC), LIFETIMES.serving))


def refusal(registration: CertificateTargets) -> str:
    return available(registration).get("message", "")
