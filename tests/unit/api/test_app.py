"""Any request gets a well-formed response, in little time, and never an internal error."""

import asyncio
import gc
import gzip
import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import process_time
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from app.api.app import Api
from app.api.audit import Audit
from app.api.authentication import Authenticator
from app.api.authorization import Authorizer
from app.api.discovery import version_info
from app.api.external_metrics import ExternalMetrics
from app.api.limits import Limits
from app.api.probes import Probe
from app.api.telemetry import Telemetry
from app.http.connection import MAX_HEAD
from app.http.server import HttpServer
from app.kube.auth_config import AuthConfigWatcher
from app.kube.certificates.controller import CertificateController
from app.kube.errors import KubernetesError
from app.kube.reviews import Decision, TokenOwner, User
from tests.unit.api.requests import scope
from tests.unit.api.test_authentication import AGGREGATOR, TRUST
from tests.unit.metrics.test_evaluation import known, tube

pytestmark = pytest.mark.anyio
METRICS = b"/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/"
TABLE = b"application/json;as=Table;v=v1;g=meta.k8s.io"
Headers = list[tuple[bytes, bytes]]
HARMLESS = frozenset(range(0x20, 0x7F))
MOST_S = 3
"""Far more than any takes, and far less than anything that isn't linear would."""


def owner(token: str) -> TokenOwner:
    return TokenOwner(None if token == "nobodys" else User(token, ("dev",)))  # noqa: S105 - a name, not a password


def api(*, allows: bool) -> Api:
    """Every token is valid; all users have all permissions, or none."""
    auth_config = AuthConfigWatcher()
    auth_config.current = TRUST
    authenticator = Authenticator(auth_config, owner)
    limits = Limits()
    telemetry = Telemetry(CertificateController(("localhost",)), limits, HttpServer())
    return Api(
        audit=Audit("all", telemetry.observe),
        limits=limits,
        authenticator=authenticator,
        authorizer=Authorizer(lambda _user, _what: Decision(allows, "a role\nsays <so> \udcff")),
        probes=[Probe(path, {"ping": lambda: None}) for path in ("/healthz", "/livez", "/readyz")],
        telemetry=telemetry,
        context=lambda: known(eu=[tube("checkout", ready=3)], us=[tube("Checkout"), tube("a/b")]),
        external_metrics=ExternalMetrics(lambda *_: None),
        version=version_info("0.1.0"),
        port=443,
    )


ALLOWING_API, DENYING_API = api(allows=True), api(allows=False)
ALLOWING, DENYING = ALLOWING_API.application(), DENYING_API.application()


@dataclass
class Answer:
    """What came back."""

    code: int
    headers: Headers
    body: bytes = field(repr=False)

    def header(self, name: bytes) -> bytes:
        return b"".join(value for each, value in self.headers if each == name)


async def answer(
    to: ASGIApp, method: str, path: bytes, query: bytes, headers: Headers, certificate: Any = None
) -> Answer:
    return await answer_to(scope(path, query, *headers, method=method, certificate=certificate), to)


async def answer_to(asked: Any, to: ASGIApp) -> Answer:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    await to(asked, receive, send)
    start, *pieces = sent
    return Answer(start["status"], start["headers"], b"".join(piece["body"] for piece in pieces))


def one_of(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split())


anything = st.binary(max_size=12) | st.text(max_size=6).map(str.encode)
escaped = anything.map(lambda raw: quote(raw, safe=""))
metrics = (
    one_of(
        "tube-checkout tube-Checkout tube-x beanstalkd_tube_jobs beanstalkd_tube_drain_seconds"
        " beanstalkd_tube_next_job_age_seconds backlog tube-"
    )
    | escaped
)
segments = one_of("apis api v1 external.metrics.k8s.io v1beta1 namespaces shop proxy watch status tube-a") | escaped
paths = st.one_of(
    metrics.map(lambda metric: METRICS.decode() + metric),
    one_of("/ /apis /version /metrics /openapi/v2 /openapi/v3 /openapi/v3/version /readyz /livez/ping /healthz"),
    st.lists(segments, max_size=8).map(lambda parts: "/" + "/".join(parts)),
    st.text("/%ab.0~", max_size=12).map(lambda rest: "/" + rest),
).map(str.encode)
parameters = one_of(
    "labelSelector fieldSelector timeout timeoutSeconds limit watch continue resourceVersion resourceVersionMatch"
    " sendInitialEvents includeObject pretty verbose exclude hash explain"
)
preferences = st.one_of(
    one_of("1 0 true 10s Exact NotOlderThan tube=checkout state%20in(ready,buried) server!=eu metadata.name=a Object"),
    st.text("tube=!(),<> in0-", max_size=16).map(quote),
    escaped,
)
queries = st.lists(st.tuples(parameters, preferences).map("=".join), max_size=2).map(
    lambda parts: "&".join(parts).encode()
)
names = one_of(
    "accept accept accept accept-encoding content-type user-agent if-none-match audit-id authorization x-forwarded-for"
    " x-remote-user x-remote-group x-remote-uid x-remote-extra-%4 x-remote-extra- impersonate-user impersonate-group"
    " impersonate-uid impersonate-extra-a%2fb impersonate-"
).map(str.encode)
texts = st.one_of(
    st.sampled_from([b"application/yaml", TABLE, TABLE.replace(b"json", b"yaml"), b"*/*", b"gzip", b"curl/8"]),
    one_of("system:masters system:serviceaccount:a:b system:anonymous *").map(str.encode),
    st.text("ab*/;=,q01. ", max_size=30).map(str.encode),
    anything,
)
proofs = st.sampled_from(
    [
        (None, ()),
        (None, (b"authorization", b"Bearer me")),
        (None, (b"authorization", b"Bearer \xff,me")),
        (None, (b"authorization", b"Bearer nobodys")),
        (AGGREGATOR, ()),
        (AGGREGATOR, (b"x-remote-user", b"me")),
        (AGGREGATOR, (b"x-remote-user", b"\xff")),
    ]
)


@given(
    st.sampled_from([ALLOWING, ALLOWING, DENYING]),
    one_of("GET GET GET HEAD POST DELETE FOO"),
    paths | paths | anything,
    queries | queries | anything,
    st.lists(st.tuples(names, texts), max_size=3),
    proofs,
)
async def test_any_request_gets_a_well_formed_response(
    to: ASGIApp, method: str, path: bytes, query: bytes, head: Headers, proof: Any
) -> None:
    certificate, header = proof
    headers = [*([header] if header else []), *head]
    got = await answer(to, method, path, query, headers, certificate)
    assert got.code < 500 or got.code == 503  # the first query of an age has no value yet
    assert list(problems(got)) == []


async def test_each_response_from_the_cache_has_only_its_own_audit_id() -> None:
    context = known(eu=[tube("checkout", ready=3)])
    to = replace(ALLOWING_API, context=lambda: context).application()
    for audit_id in (b"first", b"second"):
        headers = [(b"authorization", b"Bearer me"), (b"audit-id", audit_id)]
        got = await answer(to, "GET", METRICS + b"tube-checkout", b"", headers)
        assert (got.code, got.header(b"audit-id")) == (200, audit_id)


def problems(got: Answer) -> Iterator[str]:
    """What is wrong with its form."""
    if not all(HARMLESS.issuperset(name + value) for name, value in got.headers):
        yield "a header has an odd character"
    if not got.header(b"audit-id") or not got.header(b"cache-control"):
        yield "a header is missing"
    body = got.body
    if got.code != 304 and int(got.header(b"content-length")) != len(body):
        yield "the length is wrong"
    if got.header(b"content-encoding") == b"gzip":
        body = gzip.decompress(body)
    read = {b"application/json": json.loads, b"application/yaml": yaml.safe_load}
    reading = read.get(got.header(b"content-type").partition(b";")[0])
    content = reading(body) if reading and body else {"text": body.decode()}
    if content.get("kind") == "Status" and content["code"] != got.code:
        yield "the code is another one than the Status tells"
    if got.code >= 400 and not {"kind", "paths", "text"} & content.keys():
        yield "a refusal without a reason"


def filled(piece: bytes) -> bytes:
    return piece * (MAX_HEAD // len(piece))


def numbered(piece: bytes) -> bytes:
    return b"".join(piece % number for number in range(MAX_HEAD // (len(piece) + 4)))


def header(name: bytes, value: bytes) -> dict[str, Any]:
    return {"headers": [(name, value)]}


def of_metric(query: bytes) -> dict[str, Any]:
    return {"path": METRICS + b"beanstalkd_tube_jobs", "query": query}


@pytest.mark.parametrize(
    "giant",
    [
        header(b"accept", filled(b",")),
        header(b"accept", numbered(b"a/b;q=0.%d,")),
        header(b"accept", b"a/b" + numbered(b";c%d=d")),
        header(b"accept", b"a/b;q=" + filled(b"1")),
        header(b"authorization", b"Bearer " + filled(b"a ")),
        {"headers": [(b"impersonate-extra-%d" % number, b"a") for number in range(5000)]},
        {"headers": [(b"if-none-match", filled(b"W/,"))], "path": b"/openapi/v3"},
        {"path": filled(b"/%01")},
        {"path": filled(b"/%01"), "to": DENYING},
        {"path": METRICS + b"tube-" + filled(b"a")},
        {"query": b"timeout=" + filled(b"0s")},
        {"query": b"timeout=" + filled(b"9") + b"s"},
        of_metric(b"labelSelector=a" + filled(b"+")),
        of_metric(b"labelSelector=a>" + filled(b"0")),
        of_metric(b"labelSelector=" + filled(b"a.")),
        of_metric(b"fieldSelector=a=" + filled(b"%5C")),
        of_metric(b"limit=" + filled(b"9")),
    ],
    ids="-".join,
)
async def test_the_largest_accepted_request_takes_little_time(giant: dict[str, Any]) -> None:
    headers = [(b"authorization", b"Bearer me"), *giant.get("headers", ())]
    begun = process_time()
    got = await answer(giant.get("to", ALLOWING), "GET", giant.get("path", b"/"), giant.get("query", b""), headers)
    assert process_time() - begun < MOST_S
    assert got.code < 500


class Head(list[tuple[bytes, bytes]]):
    """Headers whose references can be counted."""


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer nobodys")],
        [(b"authorization", b"Bearer somebodys")],
        [(b"authorization", b"Bearer somebodys"), (b"impersonate-user", b"else")],
        [(b"accept", b"application/vnd.kubernetes.protobuf")],
    ],
)
async def test_a_rejected_request_leaves_nothing_in_memory(headers: Headers) -> None:
    def hangs(*_: object) -> NoReturn:
        raise KubernetesError("https://k can't be asked", reason="Unreachable")

    bewildered = replace(DENYING_API, authorizer=Authorizer(hangs)).application()
    gc.collect()
    gc.disable()  # a circle of references would wait for it
    try:
        for to in (DENYING, bewildered):
            head = Head(headers)
            asked = {**scope("/metrics"), "headers": head}
            assert (await answer_to(asked, to)).code in {401, 403, 406, 500}
            del asked
            held = weakref.ref(head)
            del head
            await asyncio.sleep(0)  # the task that asked ends
            assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "header",
    [
        b"impersonate-user",
        b"impersonate-group",
        b"impersonate-uid",
        b"impersonate-extra-a%2fb",
        b"impersonate-extra-",
        b"impersonate-",
        b"impersonate-foo",
        b"impersonate-user-",
        b"impersonate_user",
    ],
)
@pytest.mark.parametrize("path", [b"/livez", b"/metrics", b"/nope", METRICS + b"tube-checkout"])
async def test_impersonation_is_rejected_and_never_ignored(header: bytes, path: bytes) -> None:
    for value in (b"system:masters", b""):
        got = await answer(ALLOWING, "GET", path, b"", [(b"authorization", b"Bearer me"), (header, value)])
        assert (got.code, json.loads(got.body)["reason"]) == (403, "Forbidden")
        assert b"impersonation is not supported here" in got.body


@pytest.mark.parametrize("path", [b"/metrics%0a", b"/livez%0a", b"/version%0a", b"/openapi/v2%0A", b"/readyz/ping%0a"])
async def test_a_line_break_after_a_path_makes_it_another_path(path: bytes) -> None:
    assert (await answer(ALLOWING, "GET", path, b"", [(b"authorization", b"Bearer me")])).code == 404
    assert (await answer(DENYING, "GET", path, b"", [])).code == 403


@pytest.mark.parametrize(("shown", "listed"), [(True, True), (False, False)])
@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (b"/apis", b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        (b"/apis/external.metrics.k8s.io/v1beta1", b"*/*"),
        (b"/openapi/v3/apis/external.metrics.k8s.io/v1beta1", b"*/*"),
    ],
)
async def test_excluded_tubes_are_in_no_discovery_document_and_have_their_metrics(
    path: bytes, accept: bytes, shown: bool, listed: bool
) -> None:
    to = replace(ALLOWING_API, discovery_tubes=shown).application()
    headers = [(b"authorization", b"Bearer me"), (b"accept", accept)]
    got = await answer(to, "GET", path, b"", headers)
    assert (got.code, b"tube-checkout" in got.body) == (200, listed)
    value = await answer(to, "GET", METRICS + b"beanstalkd_tube_jobs", b"labelSelector=tube%3Dcheckout", headers[:1])
    assert (value.code, b'"checkout"' in value.body) == (200, True)
