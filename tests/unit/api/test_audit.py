"""The log's line of a request: who, from where, what, the verdict; bounded, on one line, and without secrets."""

import io
import json
import sys
from contextlib import redirect_stderr
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.api.audit import Audit, audit_id
from app.api.authentication import ANONYMOUS
from app.api.request import Caller, Request
from app.api.status import StatusError
from app.kube.reviews import PathAttributes, ResourceAttributes, User
from app.logs import LogFormat, configure
from tests.unit.api.requests import request

EVE = Caller(User("eve", ("dev", "system:authenticated"), "7"), "token")
UNAUTHENTICATED = Caller(ANONYMOUS, "anonymous")
METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/tube-a"
CLIENT = ("192.0.2.7", 1234)
HEADERS = [(b"audit-id", b"0f0f"), (b"authorization", b"Bearer secret"), (b"x-forwarded-for", b"198.51.100.1")]


def known(caller: Caller | None = EVE, path: str = METRIC, query: bytes = b"", **values: Any) -> Request:
    made = request(path, query, *HEADERS)
    made.audit_id, made.caller = audit_id(made), caller
    made.attributes = PathAttributes(made.path, "get")
    if path == METRIC:
        made.attributes = ResourceAttributes("shop", "list", "external.metrics.k8s.io", "v1beta1", "tube-a")
    for name, value in values.items():
        setattr(made, name, value)
    return made


def note(audit: Audit, noted: Request, status: int) -> None:
    noted.status = status
    audit.note(noted, CLIENT, 0.0123)


def lines(*noted: tuple[Request, int], audited: Any = "refusals") -> list[dict[str, Any]]:
    audit = Audit(audited, clock=lambda: 0.0)
    with capture_logs() as logged:
        for each, status in noted:
            note(audit, each, status)
    return [dict(line) for line in logged]


def test_a_rejection_is_logged_with_user_address_request_and_reason() -> None:
    why = StatusError("Forbidden", "no")
    why.add_note("a role is missing")
    assert lines((known(error=why), 403)) == [
        {
            "log_level": "warning",
            "event": "request refused",
            "verdict": "denied",
            "status": 403,
            "user": "eve",
            "groups": ["dev", "system:authenticated"],
            "uid": "7",
            "authenticated_by": "token",
            "source": "192.0.2.7",
            "verb": "list",
            "api_group": "external.metrics.k8s.io",
            "resource": "tube-a",
            "namespace": "shop",
            "reason": "no",
            "problem": "a role is missing",
            "took_ms": 12.3,
            "audit_id": "0f0f",
        }
    ]


def test_a_line_about_an_unauthenticated_client_has_no_user_and_names_the_failure() -> None:
    (unknown,) = lines((known(None, path="/metrics", error=StatusError("Unauthorized", "Unauthorized")), 401))
    assert (unknown["verdict"], unknown["path"], "user" in unknown) == ("unauthenticated", "/metrics", False)
    (failed,) = lines((known(allowed_by="RBAC", error=StatusError("ServiceUnavailable", "too old")), 503))
    assert (failed["event"], failed["verdict"], failed["reason"]) == ("request failed", "allowed", "too old")
    (undecided,) = lines((known(error=StatusError("InternalError", "away")), 500))
    assert undecided["verdict"] == "undecided"


def test_only_the_aggregator_can_state_the_source_address() -> None:
    (line,) = lines((known(), 403))
    assert "forwarded_for" not in line
    (line,) = lines((known(Caller(EVE.user, "front-proxy")), 403))
    assert (line["source"], line["forwarded_for"]) == ("192.0.2.7", "198.51.100.1")


def test_by_default_successful_requests_are_not_logged() -> None:
    well = [(known(allowed_by="x"), code) for code in (200, 304, 400, 404, 405, 406)]
    assert lines(*well) == []
    entries = lines(*well, audited="all")
    assert [(line["event"], line["log_level"], line["status"]) for line in entries] == [
        ("request", "info", code) for code in (200, 304, 400, 404, 405, 406)
    ]
    assert {line["verdict"] for line in entries} == {"allowed"}


def test_probes_are_logged_only_if_rejected() -> None:
    for audited in ("refusals", "all"):
        probes = [(known(UNAUTHENTICATED, path="/readyz", allowed_by="x"), code) for code in (200, 500, 401)]
        assert [line["status"] for line in lines(*probes, audited=audited)] == [401]


def test_lines_about_unauthenticated_clients_are_limited_without_suppressing_others() -> None:
    noted = [(known(UNAUTHENTICATED), 403)] * 1000 + [(known(None), 401)] * 1000 + [(known(), 403)]
    entries = lines(*noted)
    assert len(entries) < 50
    assert entries[-1]["user"] == "eve"


def test_long_values_are_cut() -> None:
    giant = Caller(User("e" * 10_000, tuple(f"{number}" * 1000 for number in range(1000))), "token")
    (line,) = lines((known(giant, path="/" + "a" * 10_000), 403))
    assert len(json.dumps(line)) < 12_000
    assert line["groups"][-1] == "… 1000 in all"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_input_of_a_client_stays_on_one_line_without_control_characters(
    log_format: LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    configure(log_format, "info")
    for evil in (
        "a\nb",
        "a\rb",
        "\x1b[2J",
        "a\u2028b",
        "a\u202eb",
        "a\x00b",
        "a\x85b",
        "\udcff",
        'x" status=200',
        "x status=200",
    ):
        path = "/" + quote(evil.encode("utf-8", "surrogateescape"))
        note(Audit("refusals"), known(Caller(User(evil, (evil,), evil), "token"), path=path), 403)
    written = said.getvalue()
    assert len(written.splitlines()) == 10
    assert all(character.isprintable() for character in written.replace("\n", ""))


@given(st.sampled_from(["text", "json"]), st.text(st.characters() | st.characters(categories=["Cs", "Cc"]), min_size=1))
def test_any_text_makes_one_printable_line(log_format: LogFormat, text: str) -> None:
    said = io.StringIO()
    with redirect_stderr(said):
        configure(log_format, "info")
    note(
        Audit("refusals"), known(Caller(User(text, (text,), text), "token"), error=StatusError("Forbidden", text)), 403
    )
    line = said.getvalue().removesuffix("\n")
    assert line.isprintable()
    assert "status=403" in line or json.loads(line)["user"] == text[:256] + "…" * (len(text) > 256)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_in_a_line(log_format: LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    configure(log_format, "info")
    note(Audit("all"), known(query=b"token=secret", allowed_by="x"), 200)
    assert "0f0f" in said.getvalue()
    assert "secret" not in said.getvalue()


def test_the_query_that_a_rejection_quotes_is_not_logged() -> None:
    quoting = known(EVE, allowed_by="x", error=StatusError("BadRequest", 'invalid selector: "secret"'))
    (line,) = lines((quoting, 400), audited="all")
    assert line["reason"] == "BadRequest"


@pytest.mark.parametrize(
    ("header", "kept"),
    [(b"0f0f", True), (b"a" * 256, True), (b"a" * 257, False), (b"", False), (b"\xff", False), (b"a\tb", False)],
)
def test_an_audit_id_is_kept_if_it_is_short_and_harmless(header: bytes, kept: bool) -> None:
    found = audit_id(request("/", b"", (b"audit-id", header)))
    assert (found == header) is kept
    assert kept or len(found) == 36
