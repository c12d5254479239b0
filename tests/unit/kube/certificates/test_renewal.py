"""Certificates are renewed in time, by whichever replica comes first; no client ever meets one that it can't trust."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kube.certificates.authority import CertificateError, make_serving, read_authority, read_bundle
from app.kube.certificates.renewal import LIFETIMES, KeyRing, Lifetimes, next_key_ring, read, write
from tests.unit.kube.handshake import serve, shake_hands

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY, SECOND = timedelta(hours=1), timedelta(days=1), timedelta(seconds=1)
NAMES = ("beanscale.shop.svc", "beanscale")
RING = next_key_ring(None, NAMES, NOW)


def test_nothing_is_renewed_early() -> None:
    assert next_key_ring(RING, NAMES, RING.serving.renew_at - SECOND) == RING


def test_a_lifetime_starts_at_creation_although_the_certificate_is_backdated() -> None:
    assert RING.serving_made_at == NOW
    assert RING.serving_made_at + (RING.serving.expires_at - NOW) * 2 / 3 == RING.serving.renew_at


def test_the_serving_certificate_is_renewed_at_two_thirds_of_its_lifetime() -> None:
    renewed = next_key_ring(RING, NAMES, RING.serving.renew_at)
    assert renewed.serving != RING.serving
    assert renewed.bundle == RING.bundle
    assert next_key_ring(renewed, NAMES, RING.serving.renew_at) == renewed


def test_a_ca_without_name_constraints_is_replaced_in_time() -> None:
    """One made by an earlier version."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beanscale CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + 365 * DAY)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        key, hashes.SHA256()
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    earlier = read_authority(certificate.public_bytes(Encoding.PEM), pem)
    ring = KeyRing(earlier, (), make_serving(earlier, NAMES, NOW, 30 * DAY))
    replaced = next_key_ring(ring, NAMES, NOW)
    assert (replaced.former, replaced.serving) == ((earlier.pem,), ring.serving), "clients learn of the new CA first"
    signed = next_key_ring(replaced, NAMES, replaced.authority.made_at + LIFETIMES.published)
    assert signed.authority.signed(signed.serving.certificate)


def test_a_missing_name_causes_a_new_certificate() -> None:
    renamed = next_key_ring(RING, (*NAMES, "beanscale.shop.svc.example.org"), NOW)
    assert "beanscale.shop.svc.example.org" in renamed.serving.names
    assert renamed.authority.signed(renamed.serving.certificate), "the CA before may not sign for it"
    assert renamed.bundle == renamed.authority.pem + RING.bundle


def test_an_additional_name_causes_no_new_certificate() -> None:
    assert next_key_ring(RING, NAMES[:1], NOW) == RING


def test_after_a_long_downtime_everything_is_recreated() -> None:
    later = RING.authority.expires_at
    woken = next_key_ring(RING, NAMES, later)
    assert woken.former == ()
    assert woken.serving.expires_at > later


def test_a_certificate_that_isnt_valid_yet_is_recreated() -> None:
    """It was made while kube-apiserver's clock was two days ahead."""
    before = NOW - 2 * DAY
    renewed = next_key_ring(RING, NAMES, before)
    assert renewed.authority.is_valid_at(before)
    assert renewed.serving.is_valid_at(before)


def test_a_shorter_lifetime_applies_at_once() -> None:
    shorter = Lifetimes(authority=90 * DAY, serving=3 * DAY)
    ring = next_key_ring(RING, NAMES, NOW + DAY, shorter)
    assert (ring.authority.lifetime, ring.bundle) == (90 * DAY, ring.authority.pem + RING.authority.pem)
    assert ring.serving == RING.serving
    signed = next_key_ring(ring, NAMES, NOW + DAY + shorter.published, shorter)
    assert signed.serving.lifetime == 3 * DAY
    assert next_key_ring(signed, NAMES, NOW + DAY + shorter.published, shorter) == signed


@pytest.mark.parametrize("serving", [timedelta(minutes=1), HOUR])
def test_a_longer_lifetime_leaves_no_gap(serving: timedelta) -> None:
    """The new CA would have to wait for longer than the certificate lasts."""
    now = NOW
    ring = next_key_ring(None, NAMES, now, Lifetimes(3 * serving, serving))
    while now < NOW + 4 * serving:
        now += LIFETIMES.check
        ring = next_key_ring(ring, NAMES, now)
        assert ring.serving.expires_at > now + LIFETIMES.check


@pytest.mark.parametrize("serving", [timedelta(minutes=1), HOUR, 30 * DAY])
def test_several_checks_happen_before_a_new_ca_signs(serving: timedelta) -> None:
    lives = Lifetimes(3 * serving, serving)
    assert 2 * lives.check <= lives.published <= serving / 6


def test_a_new_ca_is_trusted_for_an_hour_before_it_signs() -> None:
    due = RING.authority.renew_at
    ring = replace(RING, serving=make_serving(RING.authority, NAMES, due - DAY, LIFETIMES.serving))
    rolled = next_key_ring(ring, NAMES, due)
    assert rolled.bundle == rolled.authority.pem + RING.authority.pem
    assert rolled.serving == ring.serving
    assert next_key_ring(rolled, NAMES, rolled.authority.made_at + LIFETIMES.published - SECOND) == rolled

    signed = next_key_ring(rolled, NAMES, rolled.authority.made_at + LIFETIMES.published)
    assert signed.authority.signed(signed.serving.certificate)
    assert signed.bundle == rolled.bundle


def test_an_old_ca_is_removed_when_all_that_it_signed_has_expired() -> None:
    due = RING.authority.renew_at
    last = make_serving(RING.authority, NAMES, due, LIFETIMES.serving)
    rolled = next_key_ring(replace(RING, serving=last), NAMES, due)
    assert RING.authority.pem in next_key_ring(rolled, NAMES, last.expires_at - SECOND).bundle
    forgotten = next_key_ring(next_key_ring(rolled, NAMES, due + DAY), NAMES, last.expires_at + SECOND)
    assert forgotten.bundle == rolled.authority.pem


def test_a_client_with_both_cas_accepts_the_old_and_the_new_certificate() -> None:
    """Checked by OpenSSL, strictly, at the present time: the old CA is 300 days old."""
    old = next_key_ring(None, NAMES, NOW - 300 * DAY)
    served = make_serving(old.authority, NAMES, NOW - DAY, LIFETIMES.serving)
    rolled = next_key_ring(replace(old, serving=served), NAMES, NOW)
    signed = next_key_ring(rolled, NAMES, NOW + LIFETIMES.published)
    assert rolled.serving != signed.serving
    for ring in (rolled, signed):
        assert shake_hands(serve(ring.serving), rolled.bundle, NAMES[0])


def test_a_secret_contains_the_whole_key_ring() -> None:
    rolled = next_key_ring(RING, NAMES, RING.authority.renew_at)
    assert rolled.former
    assert read(write(rolled)) == rolled


def test_an_empty_secret_has_no_key_ring() -> None:
    assert read({}) is None
    assert read({"ca.crt": b"", "note": b"other"}) is None


@pytest.mark.parametrize("key", sorted(write(RING)))
@pytest.mark.parametrize("invalid", [b"", b"garbage", b"\xff\x00"])
def test_an_invalid_secret_is_noticed(key: str, invalid: bytes) -> None:
    with pytest.raises(CertificateError):
        read(write(RING) | {key: invalid})


def test_a_mix_of_two_key_rings_is_noticed() -> None:
    other = write(next_key_ring(None, NAMES, NOW))
    with pytest.raises(CertificateError, match="no CA of the bundle signed"):
        read(write(RING) | {"tls.crt": other["tls.crt"], "tls.key": other["tls.key"]})


SHORT = Lifetimes(authority=200 * HOUR, serving=20 * HOUR)
"""Thirty-six times faster than life."""


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.02, 6)), min_size=40, max_size=80))
def test_replicas_that_check_at_any_time_always_serve_what_clients_trust(checks: list[tuple[bool, float]]) -> None:
    """One of two replicas checks, hours later the one or the other, and so on; each serves what it last read."""
    now = NOW
    stored = next_key_ring(None, NAMES, now, SHORT)
    served = [stored.serving, stored.serving]
    for first, hours in checks:
        now += hours * HOUR
        stored = next_key_ring(stored, NAMES, now, SHORT)
        served[first] = stored.serving
        for certificate in served:
            if now < certificate.expires_at:  # a replica that was cut off for too long is refused, by its date
                verify(stored, certificate.certificate, now)


def verify(ring: KeyRing, certificate: x509.Certificate, at: datetime) -> None:
    store = Store(list(read_bundle(ring.bundle)))
    PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(NAMES[0])).verify(certificate, [])
