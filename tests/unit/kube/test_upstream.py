"""The adapter that had the API before is asked as ourselves, and only what it may say is believed."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kube.certificates.authority import make_authority
from app.kube.certificates.renewal import KeyRing, next_key_ring
from app.kube.credentials import ReloadedCa
from app.kube.errors import KubeconfigError
from app.kube.upstream import (
    MAX_BYTES,
    MAX_MESSAGE,
    MAX_NAMES,
    Address,
    UpstreamAdapter,
    UpstreamError,
    UpstreamStatusError,
    read_error,
    read_names,
    read_values,
)
from tests.unit.kube.apiserver import Answer, Apiserver, serving

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
ITEM = {
    "metricName": "s0-prometheus",
    "metricLabels": {"queue": "orders"},
    "timestamp": "2026-01-02T03:04:05Z",
    "window": 60,
    "value": "1500m",
}
VALUES = {"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": [ITEM]}


def token_of(subject: object) -> str:
    payload = urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"Bearer head.{payload}.signature"


TOKEN = token_of("system:serviceaccount:beanscale:server")


@pytest.fixture
def ca_file(tmp_path: Path, cluster: KeyRing) -> Path:
    path = tmp_path / "forward-ca.crt"
    path.write_bytes(cluster.bundle)
    return path


@pytest.fixture
def adapter(apiserver: Apiserver, ca_file: Path) -> UpstreamAdapter:
    apiserver.answer = Answer(body=json.dumps(VALUES).encode())
    return asking(apiserver, ca_file)


def asking(
    apiserver: Apiserver,
    ca_file: Path,
    host: str = "127.0.0.1",
    authorization: Callable[[], str] = lambda: TOKEN,
) -> UpstreamAdapter:
    address = Address("keda/metrics", host, apiserver.port)
    return UpstreamAdapter(address, ReloadedCa(ca_file, "--forward-ca"), authorization)


def values(adapter: UpstreamAdapter, metric: str = "s0-prometheus", query: str = "", within_s: float = 60) -> Any:
    return read_values(adapter.values("shop", metric, query, monotonic() + within_s))


def failure(adapter: UpstreamAdapter, within_s: float = 60) -> str:
    with pytest.raises(UpstreamError) as failed:
        values(adapter, within_s=within_s)
    assert not isinstance(failed.value, UpstreamStatusError)
    assert TOKEN.removeprefix("Bearer ") not in str(failed.value)
    return str(failed.value)


def test_it_is_queried_with_beanscales_token_for_that_metric(adapter: UpstreamAdapter, apiserver: Apiserver) -> None:
    assert values(adapter, "datadogmetric@shop:a/b?c", "labelSelector=queue%3Dorders") == VALUES
    [asked] = apiserver.asked
    path = f"/apis/{GROUP_VERSION}/namespaces/shop/datadogmetric%40shop%3Aa%2Fb%3Fc?labelSelector=queue%3Dorders"
    assert asked.line == f"GET {path} HTTP/1.1"
    assert (asked.headers["authorization"], asked.headers["accept"]) == (TOKEN, "application/json")
    assert asked.headers.keys() == {"host", "accept", "accept-encoding", "user-agent", "via", "authorization"}


def test_one_connection_serves_many_queries(adapter: UpstreamAdapter, apiserver: Apiserver) -> None:
    for _ in range(3):
        values(adapter)
    assert len({asked.client_port for asked in apiserver.asked}) == 1


def test_a_connection_that_it_closes_is_opened_again(adapter: UpstreamAdapter, apiserver: Apiserver) -> None:
    """It may close one that is kept open just when the next question comes."""
    apiserver.hang_ups = 1
    assert values(adapter) == VALUES
    apiserver.hang_ups = 2
    assert "check that it is running and reachable at 127.0.0.1 port" in failure(adapter)
    assert len(apiserver.asked) == 4


def changed(item: dict[str, object] | None = None, **fields: object) -> bytes:
    return json.dumps({**VALUES, **({} if item is None else {"items": [{**ITEM, **item}]}), **fields}).encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            Answer(307, headers={"Location": "https://127.0.0.1/"}),
            "answered 307: redirect not followed",
            id="redirect",
        ),
        pytest.param(Answer(204), "answered 204 instead of 200", id="no content"),
        pytest.param(Answer(502, b"<html>bad gateway"), "answered 502 without a reason", id="proxy"),
        pytest.param(Answer(500, b"[]"), "answered 500 without a reason", id="failure"),
        pytest.param(Answer(200, b"ok"), "something that isn't a JSON object", id="garbage"),
        pytest.param(Answer(200, b"\xff\xfe"), "something that isn't a JSON object", id="no text"),
        pytest.param(Answer(200, b"[" * 100_000), "something that isn't a JSON object", id="deep"),
        pytest.param(Answer(200, changed(kind="Table")), "of kind 'Table'", id="kind"),
        pytest.param(Answer(200, changed(apiVersion="v1")), "('v1'), not ExternalMetricValueList", id="version"),
        pytest.param(Answer(200, changed(items={})), "whose items are not a list", id="no items"),
        pytest.param(Answer(200, changed({"value": float("nan")})), "isn't a JSON object", id="NaN"),
        pytest.param(Answer(200, changed(), cut=True), "closed the connection before", id="cut"),
        pytest.param(Answer(200, b" " * (MAX_BYTES + 1)), "answered with more than 4 MiB", id="huge"),
    ],
)
def test_an_invalid_response_is_not_passed_on(
    adapter: UpstreamAdapter, apiserver: Apiserver, answer: Answer, said: str
) -> None:
    apiserver.answer = answer
    assert said in failure(adapter)
    assert len(apiserver.asked) == 1
    apiserver.answer = Answer(body=changed())
    assert values(adapter) == VALUES


@pytest.mark.parametrize(
    ("subject", "account"),
    [
        ("system:serviceaccount:beanscale:server", "ServiceAccount beanscale/server"),
        ("jane", "beanscale's account 'jane'"),
        (7, "beanscale's account 7"),
        (None, "beanscale's account"),
    ],
)
def test_a_rejection_names_the_account_and_the_missing_permission(
    apiserver: Apiserver, ca_file: Path, subject: object, account: str
) -> None:
    adapter = asking(apiserver, ca_file, authorization=lambda: token_of(subject))
    apiserver.answer = Answer(401, b'{"kind": "Status", "message": "Unauthorized"}')
    assert failure(adapter) == (
        f"answered 401: Unauthorized; it rejected the token of {account}:"
        " it must verify tokens with this cluster (TokenReview)"
    )
    apiserver.answer = Answer(403, b'{"kind": "Status", "message": "x is forbidden"}')
    assert f"answered 403: x is forbidden; let {account} list all resources of" in failure(adapter)


def test_a_token_other_than_a_jwt_has_no_account_name(apiserver: Apiserver, ca_file: Path) -> None:
    for token in ("Bearer opaque", "Bearer a.!.b", "Bearer a.W10.b", "Bearer a..b"):
        apiserver.answer = Answer(403, b"")
        assert "let beanscale's account list" in failure(
            asking(apiserver, ca_file, authorization=lambda each=token: each)
        )


def test_its_error_messages_are_kept(adapter: UpstreamAdapter, apiserver: Apiserver) -> None:
    details = {"name": "x", "retryAfterSeconds": 7}
    status = {"kind": "Status", "code": 1, "reason": "Gone", "message": "no\r\nmore", "details": details}
    apiserver.answer = Answer(410, json.dumps(status).encode())
    with pytest.raises(UpstreamStatusError) as refused:
        values(adapter)
    data = refused.value
    assert (data.code, data.reason, data.message, data.retry_after_s) == (410, "Gone", "no more", 7)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"message": ""}, ("", "no reason given", 0)),
        ({"message": "a" * 9999}, ("", "a" * MAX_MESSAGE, 0)),
        ({"message": "a", "reason": 7, "details": []}, ("", "a", 0)),
        ({"message": "a", "reason": "Bad", "details": {"retryAfterSeconds": 1e9}}, ("Bad", "a", 0)),
        ({"message": "a", "details": {"retryAfterSeconds": True}}, ("", "a", 0)),
        ({"message": "a", "details": {"retryAfterSeconds": 99999}}, ("", "a", 0)),
    ],
)
def test_an_unusual_error_is_normalized(status: dict[str, Any], expected: tuple[str, str, int]) -> None:
    data = read_error(500, json.dumps({"kind": "Status", **status}).encode())
    assert isinstance(data, UpstreamStatusError)
    assert (data.reason, data.message, data.retry_after_s) == expected


@pytest.mark.parametrize("answer", [Answer(delay_s=60), Answer(body=b" " * 6000, drip_s=0.01)], ids=["silent", "drip"])
def test_slowness_ends_by_the_deadline(adapter: UpstreamAdapter, apiserver: Apiserver, answer: Answer) -> None:
    apiserver.answer = answer
    begun = monotonic()
    assert failure(adapter, within_s=0.1) == "timed out; check its pods"
    assert monotonic() - begun < 30, "the whole answer takes a minute"


def test_after_the_deadline_nothing_is_sent(adapter: UpstreamAdapter, apiserver: Apiserver) -> None:
    """After waiting for a thread."""
    assert failure(adapter, within_s=-1) == "timed out; check its pods"
    assert not apiserver.asked


def test_it_is_verified_before_it_receives_the_token(apiserver: Apiserver, ca_file: Path, tmp_path: Path) -> None:
    wrong_name = failure(asking(apiserver, ca_file, "localhost"))
    assert "not valid for 'localhost'; its certificate must name localhost" in wrong_name
    another = tmp_path / "another.crt"
    another.write_bytes(make_authority(["svc"], datetime.now(UTC), timedelta(days=1)).pem)
    assert "be signed by the configured CA" in failure(asking(apiserver, another))
    assert not apiserver.asked


def test_its_ca_can_be_replaced(adapter: UpstreamAdapter, ca_file: Path) -> None:
    assert values(adapter) == VALUES
    rotated = next_key_ring(None, ["127.0.0.1"], datetime.now(UTC))
    with serving(rotated.serving) as renewed:
        renewed.answer = Answer(body=changed())
        asked = asking(renewed, ca_file)
        assert "can't be queried" in failure(asked)
        ca_file.write_bytes(rotated.bundle)
        assert values(asked) == VALUES
    assert "can't be queried" in failure(adapter)


def test_a_port_without_a_listener_is_reported(ca_file: Path) -> None:
    assert failure(asking(Apiserver(1), ca_file)) == (
        "can't be queried: Connection refused; check that it is running and reachable at 127.0.0.1 port 1"
    )


def unreadable() -> str:
    raise KubeconfigError("can't read the pod's token")


def test_without_a_token_nothing_is_sent(apiserver: Apiserver, ca_file: Path) -> None:
    why = "can't be queried: can't read the pod's token"
    assert why in failure(asking(apiserver, ca_file, authorization=unreadable))
    assert not apiserver.asked


def resources(*names: object) -> bytes:
    listed = [{"name": name, "namespaced": True} for name in names]
    return json.dumps({"kind": "APIResourceList", "groupVersion": GROUP_VERSION, "resources": listed}).encode()


def test_its_discovery_names_its_metrics(adapter: UpstreamAdapter, apiserver: Apiserver) -> None:
    apiserver.answer = Answer(body=resources("job:rate5m", "externalmetrics", "job:rate5m"))
    assert adapter.metrics(monotonic() + 60) == ("externalmetrics", "job:rate5m")
    assert apiserver.asked[0].line == f"GET /apis/{GROUP_VERSION} HTTP/1.1"


def test_only_names_that_discovery_can_list_are_used() -> None:
    assert read_names(resources("*", "Upper", "a/b", "", "ü", "a b", "a\n", 7, None, "-a", "ok", "a" * 254)) == ("ok",)
    many = read_names(resources(*(f"m{number:04}" for number in range(2000))))
    assert (len(many), many[0]) == (MAX_NAMES, "m0000")
    for wrong in (b"{}", changed(), json.dumps({**json.loads(resources()), "resources": 7}).encode()):
        with pytest.raises(UpstreamError):
            read_names(wrong)


def test_content_is_passed_through() -> None:
    """An empty list too: the library under most adapters says so of a metric that it doesn't know."""
    for content in (
        changed(items=[]),
        changed(items=None),
        changed({"more": 1, "value": 7}, metadata={"continue": "x"}),
    ):
        assert read_values(content) == json.loads(content)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*VALUES, *ITEM]), inner, max_size=4),
    max_leaves=8,
)


@given(st.fixed_dictionaries(dict.fromkeys(ITEM, anything)), st.fixed_dictionaries({}, optional={"metadata": anything}))
def test_any_response_is_a_result_or_an_error(item: dict[str, Any], fields: dict[str, Any]) -> None:
    for content in (changed(item, **fields), json.dumps(item).encode()):
        for read in (read_values, read_names, lambda said: read_error(500, said)):
            with suppress(UpstreamError):
                read(content)
