"""Health in Kubernetes' form, with warnings beside the checks that they are about."""

from app.api.authentication import ANONYMOUS
from app.api.probes import Probe
from app.api.request import Caller
from app.kube.reviews import User
from tests.unit.api.requests import request

EVE = Caller(User("eve", ()), "token")


def body(probe: Probe, query: bytes = b"", caller: Caller = EVE) -> tuple[int, str]:
    asked = request(probe.path, query)
    asked.caller = caller
    response = probe.all(asked)
    return response.status_code, bytes(response.body).decode()


def test_a_warning_is_listed_and_fails_no_probe() -> None:
    probe = Probe("/readyz", {"ping": lambda: None, "certificate": lambda: None}, {"certificate": lambda: "it is odd"})
    assert body(probe) == (200, "ok")
    assert body(probe, b"verbose") == (
        200,
        "[+]ping ok\n[+]certificate ok, but: it is odd\nreadyz check passed\n",
    )


def test_a_failure_has_its_reason_and_no_warnings() -> None:
    probe = Probe("/readyz", {"ping": lambda: None, "access": lambda: "not loaded"}, {"access": lambda: "never"})
    assert body(probe) == (500, "[+]ping ok\n[-]access failed: not loaded\nreadyz check failed\n")
    assert [probe.one(name, request(probe.path)).status_code for name in ("ping", "access")] == [200, 500]


def test_an_anonymous_client_gets_the_failed_check_without_its_reason() -> None:
    why = "https://10.0.0.1:6443: serviceaccount beanscale cannot list configmaps"
    probe = Probe("/readyz", {"ping": lambda: None, "access": lambda: why}, {"ping": lambda: why})
    log = "see the beanscale server log"
    assert body(probe, b"verbose", Caller(ANONYMOUS, "anonymous")) == (
        500,
        f"[+]ping ok, but: {log}\n[-]access failed: {log}\nreadyz check failed\n",
    )
    asked = request(probe.path)
    asked.caller = Caller(ANONYMOUS, "anonymous")
    assert bytes(probe.one("access", asked).body).decode() == f"internal server error: {log}\n"
