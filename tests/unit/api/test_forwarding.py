"""What isn't ours is asked of the adapter that had the API before; what is ours never, and never waits for it."""

import asyncio
import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from app.api import forwarding as module
from app.api.forwarding import MAX_WAITING, Forwarding
from app.kube.certificates.renewal import KeyRing
from app.kube.credentials import ReloadedCa
from app.kube.upstream import MAX_CONNECTIONS, VIA, Address, UpstreamAdapter
from app.metrics.built_in import NAMES
from app.metrics.rules import Rules
from tests.unit.api.test_app import METRICS, TABLE, Headers, answer, api
from tests.unit.api.test_app import Answer as Got
from tests.unit.kube.apiserver import Answer, Apiserver
from tests.unit.kube.conftest import apiserver, cluster, listener
from tests.unit.kube.test_upstream import ITEM, VALUES, resources
from tests.unit.metrics.given import glob, rule

__all__ = ["apiserver", "cluster", "listener"]

pytestmark = pytest.mark.anyio
AGGREGATED = b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
RULE = "checkout-backlog"
OTHERS = "mail-backlog"
"""A rule that isn't for the namespace that asks here."""
THEIRS = b"s0-prometheus"
MOST_ASKED = MAX_CONNECTIONS + MAX_WAITING
WHO = "upstream adapter keda/metrics "


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing hangs the other may take its time."""
    monkeypatch.setattr(module, "DEADLINE_S", 60)


@dataclass
class Beside:
    """A beanscale, and the adapter that it asks."""

    adapter: Apiserver
    forwarding: Forwarding
    allowing: ASGIApp
    denying: ASGIApp

    async def get(self, path: bytes, query: bytes = b"", headers: Headers | None = None) -> Got:
        return await answer(self.allowing, "GET", path, query, [*(headers or []), ME])

    async def metric(self, name: bytes, query: bytes = b"", accept: bytes = b"", *more: tuple[bytes, bytes]) -> Got:
        return await self.get(METRICS + name, query, [(b"accept", accept), *more])

    async def names(self) -> list[list[str]]:
        """Its metrics as listed in all three discovery documents."""
        listed = json.loads((await self.get(METRICS.removesuffix(b"/namespaces/shop/"))).body)
        at_once = json.loads((await self.get(b"/apis", headers=[(b"accept", AGGREGATED)])).body)
        described = json.loads((await self.get(b"/openapi/v3/apis/external.metrics.k8s.io/v1beta1")).body)
        return [
            [each["name"] for each in listed["resources"]],
            [each["resource"] for each in at_once["items"][0]["versions"][0]["resources"]],
            [
                path.rpartition("/")[2]
                for path in described["paths"]
                if path.rpartition("/")[2] not in {"", "{resource}"}
            ],
        ]

    @property
    def figures(self) -> dict[str, float]:
        registry = CollectorRegistry()
        registry.register(self.forwarding)
        lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


ME = (b"authorization", b"Bearer me")


@pytest.fixture
def beside(apiserver: Apiserver, tmp_path: Path, cluster: KeyRing) -> Beside:
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(cluster.bundle)
    address = Address("keda/metrics", "127.0.0.1", apiserver.port)
    upstream_adapter = UpstreamAdapter(address, ReloadedCa(ca_file, "--forward-ca"), lambda: "Bearer ours")
    apiserver.answer = Answer(body=json.dumps(VALUES).encode())
    rules = (rule(RULE), rule(OTHERS, namespaces=glob("mail")))
    forwarding = Forwarding(upstream_adapter, Rules({each.name: each for each in rules}))

    allowing, denying = (replace(api(allows=allows), forwarding=forwarding).application() for allows in (True, False))
    return Beside(apiserver, forwarding, allowing, denying)


def status(got: Got) -> tuple[int, str, str]:
    content = json.loads(got.body)
    assert (content["kind"], content["code"]) == ("Status", got.code)
    return got.code, content["reason"], content["message"]


async def test_a_metric_of_the_upstream_adapter_is_forwarded_unchanged(beside: Beside) -> None:
    got = await beside.metric(THEIRS)
    assert (got.code, json.loads(got.body)) == (200, VALUES)
    [asked] = beside.adapter.asked
    assert asked.headers["authorization"] == "Bearer ours"
    assert asked.line == "GET /apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-prometheus HTTP/1.1"


async def test_a_forwarded_response_has_the_requested_representation(beside: Beside) -> None:
    assert yaml.safe_load((await beside.metric(THEIRS, accept=b"application/yaml")).body) == VALUES
    for as_kubectl_asks in (TABLE + b",application/json", b"application/vnd.kubernetes.protobuf,*/*"):
        assert json.loads((await beside.metric(THEIRS, accept=as_kubectl_asks)).body) == VALUES
    assert (await beside.metric(THEIRS, b"pretty=1")).body.startswith(b'{\n  "kind"')
    beside.adapter.answer = Answer(body=json.dumps({**VALUES, "items": [ITEM] * 2000}).encode())
    large = await beside.metric(THEIRS, b"", b"", (b"accept-encoding", b"gzip"))
    assert json.loads(gzip.decompress(large.body))["items"] == [ITEM] * 2000


async def test_large_forwarded_responses_are_handled_one_by_one(beside: Beside) -> None:
    beside.adapter.answer = Answer(body=json.dumps({**VALUES, "items": [ITEM] * 2000}).encode())
    for got in await asyncio.gather(*(beside.metric(THEIRS) for _ in range(MAX_CONNECTIONS))):
        assert len(json.loads(got.body)["items"]) == 2000


@pytest.mark.parametrize(
    ("query", "accept", "code"),
    [
        (b"", TABLE, 406),
        (b"", b"text/plain", 406),
        (b"watch=1", b"", 405),
        (b"labelSelector=a%20b%20c", b"", 400),
        (b"fieldSelector=a%3Db", b"", 400),
        (b"limit=many", b"", 400),
    ],
)
async def test_a_request_that_no_adapter_can_serve_is_not_forwarded(
    beside: Beside, query: bytes, accept: bytes, code: int
) -> None:
    got = await beside.metric(THEIRS, query, accept)
    assert got.code == code
    assert not beside.adapter.asked


async def test_the_selector_is_forwarded_and_other_parameters_are_not(beside: Beside) -> None:
    query = b"explain=1&labelSelector=queue%20in%20(a,b)&watch=false&limit=5&limit=6&continue=%c3%bc%ff"
    assert (await beside.metric(THEIRS, query)).code == 200
    asked = beside.adapter.asked[0].line.partition("?")[2].removesuffix(" HTTP/1.1")
    assert asked == "labelSelector=queue+in+%28a%2Cb%29&limit=5&limit=6&continue=%C3%BC%FF"


async def test_an_unauthorized_request_is_not_forwarded(beside: Beside) -> None:
    got = await answer(beside.denying, "GET", METRICS + THEIRS, b"", [ME])
    assert got.code == 403
    assert not beside.adapter.asked


@pytest.mark.parametrize(
    ("metric", "query"),
    [
        (b"tube-checkout", b""),
        (b"tube-vanished", b""),
        (b"TUBE-x", b""),
        (b"tube-", b""),
        (b"tube--bad", b""),
        (b"beanstalkd_tube_jobs", b"labelSelector=server%3Dnone"),
        (b"beanstalkd_tube_jobs", b"labelSelector=nolabel"),
        (b"Beanstalkd_Tube_anything", b""),
        (RULE.encode(), b""),
        (RULE.upper().encode(), b""),
    ],
)
async def test_a_name_of_beanscale_is_never_forwarded(beside: Beside, metric: bytes, query: bytes) -> None:
    await beside.forwarding.read_discovery()
    beside.adapter.asked.clear()
    await beside.metric(metric, query)
    assert not beside.adapter.asked


async def test_a_rule_of_other_namespaces_is_forwarded_like_an_unknown_name(beside: Beside) -> None:
    """A 403 of beanscale would reveal that the rule exists and hide the upstream metric of that name."""
    beside.adapter.answer = Answer(body=resources(OTHERS))
    await beside.forwarding.read_discovery()
    assert OTHERS in (await beside.names())[0]
    beside.adapter.asked.clear()
    beside.adapter.answer = Answer(body=json.dumps(VALUES).encode())
    for name in (OTHERS, "nothing-of-ours"):
        assert (await beside.metric(name.encode())).code == 200
    assert len(beside.adapter.asked) == 2


@pytest.mark.parametrize(
    "path",
    [
        b"shop/status",
        b"shop/finalize",
        b"shop/..",
        b"shop/%2E",
        b"%2e%2e/x",
        b"/x",
        b"Shop/x",
        b"a%00/x",
        b"a%2Fb/x",
        b"shop/x/y",
        b"shop/x%2Fy",
        b"shop",
    ],
)
async def test_an_ambiguous_path_is_not_forwarded(beside: Beside, path: bytes) -> None:
    got = await beside.get(METRICS.removesuffix(b"shop/") + path)
    assert got.code == 404
    assert not beside.adapter.asked


@pytest.mark.parametrize("before", [[], [(b"via", b"1.1 proxy")]], ids=["one Via", "two"])
async def test_a_forwarding_loop_ends(beside: Beside, before: list[tuple[bytes, bytes]]) -> None:
    got = await beside.metric(THEIRS, b"", b"", *before, (b"via", VIA.encode()))
    assert status(got)[:2] == (404, "NotFound")
    assert not beside.adapter.asked


@pytest.mark.parametrize(
    ("code", "fields", "expected"),
    [
        (404, {"reason": "NotFound", "message": "no s0-x"}, (404, "NotFound", "no s0-x")),
        (500, {"message": "prometheus is down"}, (500, "InternalError", "prometheus is down")),
        (429, {"message": "slow down"}, (429, "TooManyRequests", "slow down")),
        (418, {"message": "tea"}, (418, "", "tea")),
    ],
)
async def test_its_error_message_is_passed_through(
    beside: Beside, code: int, fields: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    beside.adapter.answer = Answer(code, json.dumps({"kind": "Status", **fields}).encode())
    assert status(await beside.metric(THEIRS)) == expected


async def test_its_retry_after_is_passed_through(beside: Beside) -> None:
    refusal = {"kind": "Status", "message": "busy", "details": {"retryAfterSeconds": 7}}
    beside.adapter.answer = Answer(503, json.dumps(refusal).encode())
    assert (await beside.metric(THEIRS)).header(b"retry-after") == b"7"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Answer(200, b"garbage"), "answered with something that isn't a JSON object"),
        (Answer(307, headers={"Location": "/"}), "answered 307"),
        (
            Answer(401, b'{"kind": "Status", "message": "Unauthorized"}'),
            "answered 401: Unauthorized; it rejected the token of",
        ),
        (Answer(403, b'{"kind": "Status", "message": "no"}'), "answered 403: no; let beanscale's account list"),
        (Answer(cut=True), "closed the connection before"),
    ],
)
async def test_its_failures_are_reported_as_its_own(beside: Beside, wrong: Answer, why: str) -> None:
    """And never as the caller's: a 401 of it would make clients throw away good credentials."""
    beside.adapter.answer = wrong
    code, reason, message = status(await beside.metric(THEIRS))
    assert (code, reason) == (503, "ServiceUnavailable")
    assert message.startswith(f"beanscale doesn't serve metric s0-prometheus, and {WHO}{why}")


async def test_a_response_nested_too_deeply_for_yaml_is_its_failure(beside: Beside) -> None:
    deep = '{"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "items": [%s%s]}'
    beside.adapter.answer = Answer(body=(deep % ("[" * 900, "]" * 900)).encode())
    got = await beside.metric(THEIRS, accept=b"application/yaml")
    assert got.code == 503
    assert "nested too deeply" in got.body.decode()


async def test_while_it_hangs_beanscales_metrics_are_served_and_its_queue_is_short(beside: Beside) -> None:
    go_on = Event()
    beside.adapter.answer = Answer(body=json.dumps(VALUES).encode(), held=go_on)
    waiting = [asyncio.create_task(beside.metric(THEIRS)) for _ in range(MOST_ASKED)]
    for _ in range(4 * MOST_ASKED):
        await asyncio.sleep(0)  # until all of them wait
    one_more = await beside.metric(THEIRS)
    assert f"has {MOST_ASKED} requests pending already; retry later" in status(one_more)[2]
    assert (await beside.metric(b"tube-vanished")).code == 200
    assert not any(each.done() for each in waiting)
    go_on.set()
    assert {got.code for got in await asyncio.gather(*waiting)} == {200}


async def test_each_forwarded_request_has_the_same_deadline_however_many_wait(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE_S", 2)
    go_on = Event()
    beside.adapter.answer = Answer(body=json.dumps(VALUES).encode(), held=go_on)
    begun = perf_counter()
    for got in await asyncio.gather(*(beside.metric(THEIRS) for _ in range(MOST_ASKED))):
        assert (got.code, "timed out" in got.body.decode()) == (503, True)
    assert perf_counter() - begun < 15, "one after the other they would have waited for 18 s"
    assert beside.figures['beanscale_forwarded_requests_total{code="503"}'] == MOST_ASKED
    go_on.set()
    monkeypatch.setattr(module, "DEADLINE_S", 60)
    assert (await beside.metric(THEIRS)).code == 200


async def test_its_metrics_are_listed_after_beanscales(beside: Beside) -> None:
    ours = [*NAMES, "tube-checkout"]
    assert await beside.names() == [ours] * 3
    beside.adapter.answer = Answer(body=resources("s0-rabbit", "externalmetrics", "tube-x", RULE))
    await beside.forwarding.read_discovery()
    assert await beside.names() == [[*ours, "externalmetrics", "s0-rabbit"]] * 3
    beside.adapter.answer = Answer(503)
    await beside.forwarding.read_discovery()
    assert await beside.names() == [[*ours, "externalmetrics", "s0-rabbit"]] * 3


async def test_each_change_of_its_state_is_logged_once(beside: Beside) -> None:
    seen = []
    with capture_logs() as logged:
        for wrong in (None, Answer(503), Answer(503), Answer(502), None, None):
            beside.adapter.answer = wrong or Answer(body=resources("externalmetrics"))
            await beside.forwarding.read_discovery()
            seen.append((beside.figures["beanscale_forward_up"], beside.forwarding.warning()))
    assert [(line["event"], line.get("error", "")[:12]) for line in logged] == [
        ("upstream metric discovery succeeded", ""),
        ("upstream metric discovery failed", "answered 503"),
        ("upstream metric discovery failed", "answered 502"),
        ("upstream metric discovery succeeded", ""),
    ]
    assert [up for up, _ in seen] == [1, 0, 0, 0, 1, 1]
    assert seen[0][1] is None
    assert seen[1][1] == "upstream adapter keda/metrics answered 503 without a reason; see its log"


async def test_before_the_first_request_its_state_is_unknown(beside: Beside) -> None:
    assert beside.figures["beanscale_forward_up"] == 0
    assert "not read yet" in (beside.forwarding.warning() or "")


async def test_its_discovery_is_read_periodically(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_S", 0.01)
    keeping = asyncio.create_task(beside.forwarding.run())
    async with asyncio.timeout(60):
        while len(beside.adapter.asked) < 3:
            await asyncio.sleep(0.01)
    keeping.cancel()


async def test_responses_are_counted_by_status_code(beside: Beside) -> None:
    for code in (200, 404, 404):
        content = VALUES if code == 200 else {"kind": "Status", "message": "no"}
        beside.adapter.answer = Answer(code, json.dumps(content).encode())
        await beside.metric(THEIRS)
    figures = beside.figures
    assert figures['beanscale_forwarded_requests_total{code="200"}'] == 1
    assert figures['beanscale_forwarded_requests_total{code="404"}'] == 2
    assert figures["beanscale_forwarded_request_duration_seconds_count"] == 3
