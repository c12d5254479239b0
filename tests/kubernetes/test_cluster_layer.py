"""Secret and APIService beside a real kube-apiserver: replicas share, kube-apiserver trusts, what breaks heals."""

import asyncio
import ssl
import uuid
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.clock import Instant, now
from app.cluster.api_service import read_availability, read_service
from app.cluster.certificates import ServingCertificate, make_authority, make_serving
from app.cluster.client import Kubernetes, KubernetesError
from app.cluster.identity import Identity, Registration, load_into
from app.cluster.renewal import LIVES, KeyRing
from app.cluster.serving_secret import settle
from app.settings import ObjectName
from tests.kubernetes.behind_service import forwarded_to
from tests.kubernetes.cluster_objects import (
    MERGE,
    api_service,
    api_service_path,
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


async def test_replicas_that_start_together_share_one_certificate(registration: Registration) -> None:
    replicas = [Identity(names(registration), registration) for _ in range(5)]
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(replica.obtain(now())) for replica in replicas]
    assert len({task.result() for task in started}) == 1
    assert {replica.bundle for replica in replicas} == {ca_bundle(registration)}


async def test_a_secret_that_is_not_there_is_named(registration: Registration) -> None:
    registration = replace(registration, secret=ObjectName(registration.secret.namespace, "gone"))
    with pytest.raises(KubernetesError, match=f"no Secret {registration.secret}.*run helm upgrade"):
        await Identity(names(registration), registration).obtain(now())


@pytest.mark.parametrize("spoilt", [None, {"tls.key": "AAAA"}, {"ca.crt": b64encode(b"garbage").decode()}])
async def test_what_we_hold_is_put_back_into_a_spoilt_secret(
    registration: Registration, spoilt: dict[str, str] | None
) -> None:
    identity = Identity(names(registration), registration)
    await identity.obtain(now())
    kubernetes, secret = registration.kubernetes, registration.secret
    stored = kubernetes.request("GET", path(secret))["data"]
    kubernetes.request("PATCH", path(secret), body={"data": spoilt}, content_type=MERGE)
    changes: list[ServingCertificate] = []
    await identity.check(changes.append, now())
    assert kubernetes.request("GET", path(secret))["data"] == stored
    assert changes == []


async def test_a_spoilt_secret_is_made_anew_at_start(registration: Registration) -> None:
    spoilt = {"data": {"tls.crt": "AAAA", "mine": "AAAA"}}
    registration.kubernetes.request("PATCH", path(registration.secret), body=spoilt, content_type=MERGE)
    await Identity(names(registration), registration).obtain(now())
    stored = registration.kubernetes.request("GET", path(registration.secret))["data"]
    assert sorted(stored) == ["ca.crt", "ca.key", "mine", "tls.crt", "tls.key"]


def test_somebody_who_always_writes_first_is_an_error(kubernetes: Kubernetes, secret: ObjectName) -> None:
    def lose(_: KeyRing | None) -> KeyRing:
        note = {"metadata": {"annotations": {"note": uuid.uuid4().hex}}}
        kubernetes.request("PATCH", path(secret), body=note, content_type=MERGE)
        return aged(["beanscale"], timedelta(0))

    with pytest.raises(KubernetesError, match="changed 5 times"):
        settle(kubernetes, secret, lose)


async def test_a_wiped_bundle_heals(registration: Registration) -> None:
    identity = Identity(names(registration), registration)
    await identity.obtain(now())
    patch_api_service(registration, caBundle=None, insecureSkipTLSVerify=True)
    await identity.check(lambda _: None, now())
    assert ca_bundle(registration) == identity.bundle
    assert not api_service(registration)["spec"].get("insecureSkipTLSVerify")


async def test_what_is_right_is_not_written_again(registration: Registration) -> None:
    identity = Identity(names(registration), registration)
    await identity.obtain(now())
    before = registration.kubernetes.request("GET", api_service_path(registration))["metadata"]["managedFields"]
    await identity.check(lambda _: None, now())
    after = registration.kubernetes.request("GET", api_service_path(registration))["metadata"]["managedFields"]
    assert ours(after) == ours(before)


async def test_anothers_is_left_alone(registration: Registration) -> None:
    patch_api_service(registration, service={"namespace": "keda", "name": "keda-metrics"})
    identity = Identity(names(registration), registration)
    await identity.obtain(now())
    assert identity.last_error is not None
    assert identity.last_error.reason == "NotOurs"
    assert "belongs to Service keda/keda-metrics, not to" in str(identity.last_error)
    assert ca_bundle(registration) == b""
    owner = read_service(registration.kubernetes, registration.api_service)
    assert owner == ObjectName("keda", "keda-metrics")


async def test_one_that_comes_later_gets_its_bundle_then(registration: Registration) -> None:
    late = replace(registration, api_service="v1.late.beanscale.example")
    identity = Identity(names(late), late)
    await identity.obtain(now())
    assert "no APIService v1.late.beanscale.example" in str(identity.last_error)
    spec = api_service(registration)["spec"] | {"group": "late.beanscale.example"}
    body = {"metadata": {"name": late.api_service}, "spec": spec}
    late.kubernetes.request("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body=body)
    try:
        await identity.check(lambda _: None, now())
        assert identity.last_error is None
        assert ca_bundle(late) == identity.bundle
    finally:
        late.kubernetes.request("DELETE", api_service_path(late))


def ours(managed_fields: list[dict[str, str]]) -> list[dict[str, str]]:
    return [entry for entry in managed_fields if "subresource" not in entry]


async def test_kube_apiserver_verifies_us_before_during_and_after_a_new_ca(registration: Registration) -> None:
    """The CA is 250 days old: it's rolled at the first check; an hour later, by our clock, the new one has signed."""
    old = aged(names(registration), timedelta(days=250))
    settle(registration.kubernetes, registration.secret, lambda _: old)
    identity = Identity(names(registration), registration)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    load_into(tls, await identity.obtain(now()))
    with forwarded_to(registration, tls):
        assert identity.certificate == old.serving
        assert (old.authority.pem in identity.bundle, identity.bundle.count(b"BEGIN")) == (True, 2)
        eventually(lambda: answered(registration))
        later = Instant(now().unix_s + LIVES.published.total_seconds(), 0)
        await identity.check(lambda certificate: load_into(tls, certificate), later)
        assert identity.certificate != old.serving
        assert answered(registration)
        eventually(lambda: read_availability(registration.kubernetes, registration.api_service).available)


async def test_kube_apiserver_refuses_anybody_else(registration: Registration) -> None:
    await Identity(names(registration), registration).obtain(now())
    stranger = aged(names(registration), timedelta(0))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(tls, stranger.serving)
    with forwarded_to(registration, tls):
        eventually(lambda: "signed by unknown authority" in refusal(registration))
        assert not answered(registration)


def aged(names_: list[str] | tuple[str, ...], age: timedelta) -> KeyRing:
    born = datetime.now(UTC) - age
    authority = make_authority(born, LIVES.authority)
    return KeyRing(authority, (), make_serving(authority, names_, datetime.now(UTC), LIVES.serving))


def resources(registration: Registration) -> str:
    version, _, group = registration.api_service.partition(".")
    return f"/apis/{group}/{version}"


def answered(registration: Registration) -> bool:
    """Whether kube-apiserver forwards to us, over a connection that it makes now."""
    try:
        return registration.kubernetes.request("GET", resources(registration)).get("kind") == "APIResourceList"
    except KubernetesError:
        return False


def refusal(registration: Registration) -> str:
    return read_availability(registration.kubernetes, registration.api_service).message
