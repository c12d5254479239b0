"""A server on its own, outside any cluster, keeps a valid certificate in memory."""

from datetime import timedelta

from app.clock import Instant, now
from app.kube.certificates.authority import CertificateError, ServingCertificate
from app.kube.certificates.controller import CertificateController, service_names
from app.kube.certificates.renewal import Lifetimes
from app.settings import ObjectName
from tests.unit.kube.handshake import serve, shake_hands

NOW = now()
DAY = timedelta(days=1)


def in_days(days: float) -> Instant:
    return Instant(NOW.unix_s + days * 86400, NOW.monotonic_s + days * 86400)


async def test_a_certificate_in_memory_is_renewed_in_time() -> None:
    identity = CertificateController(["localhost", "127.0.0.1"])
    changes: list[ServingCertificate] = []
    await identity.check(changes.append, NOW)
    (first,) = changes
    assert shake_hands(serve(first), identity.bundle, "127.0.0.1")

    await identity.check(changes.append, in_days(19.9))
    assert changes == [first]
    await identity.check(changes.append, in_days(20))
    assert changes == [first, identity.certificate]
    assert identity.certificate != first
    assert (identity.failure(in_days(20)), identity.warning(in_days(20))) == (None, None)


async def test_an_expired_certificate_fails_the_check() -> None:
    identity = CertificateController(["localhost"])
    assert identity.failure(NOW) == "the serving certificate is being created"
    await identity.check(lambda _: None, NOW)
    assert identity.certificate
    ends = identity.certificate.expires_at.isoformat()
    assert identity.failure(in_days(31)) == f"the serving certificate is not valid now (expires {ends})"


async def test_an_unusable_certificate_is_logged_and_tried_again() -> None:
    def refuse(_: ServingCertificate) -> None:
        raise CertificateError("no client can speak to it")

    identity = CertificateController(["localhost"])
    await identity.check(refuse, NOW)
    assert identity.failure(NOW) == "no client can speak to it"
    await identity.check(lambda _: None, NOW)
    assert (identity.failure(NOW), identity.warning(NOW)) == (None, None)


async def test_lifetimes_are_as_configured() -> None:
    identity = CertificateController(["localhost"], lifetimes=Lifetimes(3 * DAY, DAY))
    await identity.check(lambda _: None, NOW)
    assert identity.certificate
    assert identity.certificate.lifetime == DAY
    assert identity.state.served is not None
    assert identity.state.served.authority_expires_at == identity.certificate.expires_at + 2 * DAY


async def test_after_shutdown_nothing_is_written() -> None:
    identity = CertificateController(["localhost"])
    identity.stop()
    await identity.check(lambda _: None, NOW)
    assert identity.certificate is None


async def test_before_its_creation_there_is_no_certificate() -> None:
    identity = CertificateController(["localhost"])
    assert (identity.certificate, identity.bundle) == (None, b"")


def test_a_service_has_all_its_names() -> None:
    assert service_names(ObjectName("shop", "beanscale"), "example.org") == (
        "beanscale.shop.svc",
        "beanscale.shop.svc.example.org",
        "beanscale.shop",
        "beanscale",
    )
