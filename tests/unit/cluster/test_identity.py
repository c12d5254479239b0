"""A server on its own, outside any cluster, keeps a valid certificate in memory."""

from app.clock import Instant, now
from app.cluster.certificates import ServingCertificate
from app.cluster.identity import Identity, service_names
from app.settings import ObjectName
from tests.unit.cluster.handshake import serve, shake_hands

NOW = now()
DAY_S = 86400


def in_days(days: float) -> Instant:
    return Instant(NOW.unix_s + days * DAY_S, NOW.monotonic_s + days * DAY_S)


async def test_a_certificate_in_memory_is_renewed_in_time() -> None:
    identity = Identity(["localhost", "127.0.0.1"])
    changes: list[ServingCertificate] = []
    first = await identity.obtain(NOW)
    assert shake_hands(serve(first), identity.bundle, "127.0.0.1")

    await identity.check(changes.append, in_days(19))
    assert changes == []
    await identity.check(changes.append, in_days(20))
    assert changes == [identity.certificate]
    assert changes != [first]
    assert identity.last_error is None


async def test_there_is_none_before_it_is_made() -> None:
    identity = Identity(["localhost"])
    assert (identity.certificate, identity.bundle) == (None, b"")


def test_a_service_has_all_its_names() -> None:
    assert service_names(ObjectName("shop", "beanscale"), "example.org") == (
        "beanscale.shop.svc",
        "beanscale.shop.svc.example.org",
        "beanscale.shop",
        "beanscale",
    )
