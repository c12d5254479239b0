"""Health in Kubernetes' form; what is worth knowing while all is well stands beside it."""

from app.api.negotiation import Wishes
from app.api.probes import Probe


def body(probe: Probe, query: bytes = b"") -> tuple[int, str]:
    response = probe.paths[probe.path](Wishes(query, {}))
    return response.status_code, bytes(response.body).decode()


def test_a_remark_is_told_to_people_and_fails_nothing() -> None:
    probe = Probe("/readyz", {"ping": lambda: None, "certificate": lambda: None}, {"certificate": lambda: "it is odd"})
    assert body(probe) == (200, "ok")
    assert body(probe, b"verbose") == (
        200,
        "[+]ping ok\n[+]certificate ok, but: it is odd\nreadyz check passed\n",
    )


def test_a_failure_says_why_and_is_no_place_for_remarks() -> None:
    probe = Probe("/readyz", {"ping": lambda: None, "access": lambda: "nobody is known"}, {"access": lambda: "never"})
    assert body(probe) == (500, "[+]ping ok\n[-]access failed: nobody is known\nreadyz check failed\n")
