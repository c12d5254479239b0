"""Whatever a client that isn't signed in sends to the console: no internal error, no access, and time in proportion."""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message
from structlog.testing import capture_logs

from app.console.action_input import action_input
from app.console.errors import RequestError
from app.console.login import local_path, session_cookie
from app.console.middleware import client_address, cross_site_reason, is_loopback_host
from app.settings import parse_networks
from tests.linear_time import PHASES, is_linear
from tests.unit.console.console import PASSWORD, Console
from tests.unit.console.moments import at

FORM = b"application/x-www-form-urlencoded"
HEADER = b'content-disposition: form-data; name="file"; filename="x"\r\n\r\n'
RIGHT = quote_plus(PASSWORD).encode()
PROXIES = parse_networks("10.0.0.0/8,fd00::/8")
Pairs = list[tuple[bytes, bytes]]

anything = st.binary(max_size=16)
routes = b"/ /login /logout /healthz /tube /job /api/overview /api/jobs /events /actions/put /static/ /static/tube.js"
paths = st.sampled_from(routes.decode().split()) | st.text("/.%25\0é\n\\", max_size=12).map(lambda rest: "/" + rest)
values = st.one_of(
    anything,
    st.text('beanscale-8081=;,"\\ ', max_size=40).map(str.encode),
    st.text("0123456789abcdef.:[],/% ", max_size=30).map(str.encode),
    st.sampled_from(
        [b"https://console", b"http://[", b"null", b"same-origin", b"[::1]:8081", b"localhost:99999", FORM]
    ),
)
names = st.sampled_from(
    b"cookie cookie host origin sec-fetch-site x-forwarded-for x-forwarded-proto x-csrf-token content-type".split()
)
fields = st.sampled_from([b"password", b"next", b"csrf", b"", b"a"])
forms = st.one_of(
    anything,
    st.lists(st.tuples(fields, anything | st.just(RIGHT)).map(b"=".join), max_size=12).map(b"&".join),
    st.text("a=&%+4;\ud800", max_size=30).map(lambda text: text.encode(errors="surrogatepass")),
)


async def asked(console: Console, method: str, target: tuple[str, bytes], headers: Pairs, body: bytes) -> Message:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    path, query = target
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": headers,
        "client": ("10.0.0.1", 1),
        "server": ("10.0.0.2", 8080),
        "root_path": "",
    }
    await console.guard(scope, receive, send)
    start, *rest = sent
    return {**start, "body": b"".join(each.get("body", b"") for each in rest)}


@pytest.fixture(scope="module")
def console() -> Console:
    console = Console(trusted_proxies=PROXIES)
    asyncio.run(console.password.refresh())
    return console


@settings(max_examples=300)
@given(
    st.sampled_from(["GET", "POST", "POST", "HEAD", "PUT"]),
    st.tuples(paths, anything),
    st.lists(st.tuples(names, values), max_size=5),
    forms,
)
@example("POST", ("/login", b""), [(b"content-type", FORM)], b"password=%ff\xed\xa0\x80")
@example("POST", ("/login", b""), [(b"content-type", FORM)], b"next=//evil.example&password=" + RIGHT)
@example("POST", ("/login", b""), [(b"content-type", FORM)], b"next=/%5Cevil.example&password=" + RIGHT)
@example("POST", ("/login", b""), [(b"content-type", FORM)], b"next=/%0d%0aset-cookie:a&password=" + RIGHT)
@example("POST", ("/login", b""), [(b"content-type", b"multipart/form-data; boundary=b")], b"--b\r\n\r\n")
@example("POST", ("/logout", b""), [(b"origin", b"http://[")], b"")
@example("GET", ("/login", b"next=%ed%a0%80"), [(b"cookie", b"beanscale=\xff")], b"")
@example("GET", ("/tube", b"\xff"), [], b"")
def test_any_request_without_a_session_is_answered_and_shows_nothing(
    console: Console, method: str, target: tuple[str, bytes], headers: Pairs, body: bytes
) -> None:
    console.now = at(console.now.monotonic_s + 10)  # a wrong password is allowed every six seconds
    with pytest.MonkeyPatch.context() as patch, capture_logs() as logged:
        patch.setattr("app.console.login.WRONG_PASSWORD_S", 0)
        got = asyncio.run(asked(console, method, target, headers, body))
    assert got["status"] < 500
    assert not [entry for entry in logged if entry["log_level"] in {"error", "critical"}]
    assert b"orders" not in got["body"]
    for name, value in got["headers"]:
        assert not {0, 10, 13} & {*name, *value}
        if name == b"location":
            assert value.startswith(b"/")
            assert not value.startswith((b"//", b"/\\"))
        if name == b"set-cookie" and b"Max-Age=0" not in value:
            assert RIGHT in body
            assert b"; Secure" in value


def multipart(body: bytes, media_type: bytes = b"multipart/form-data; boundary=b") -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", media_type)]}
    with warnings.catch_warnings():
        # Starlette's parser leaves the file of a form that isn't complete to the garbage collector. It is in memory.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            asyncio.run(action_input(Request(scope, receive)))
        except RequestError as error:
            assert error.status == 400  # noqa: PT017 - any other end is a failure


parts = st.sampled_from(
    [
        b"--b\r\n",
        b"\r\n--b\r\n",
        b"\r\n--b--\r\n",
        b'Content-Disposition: form-data; name="tube"\r\n',
        b'content-disposition: form-data; name="file"; filename="x"\r\n',
        b"Content-Disposition: form-data; name*=utf-8''%ff; filename*=x''%ff\r\n",
        b"Content-Type: text/plain; charset=utf-99\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"\r\n",
        b"\r",
        b"--",
        b"x",
    ]
)


@settings(max_examples=200)
@given(
    st.lists(parts | anything, max_size=10).map(b"".join),
    st.just(b"multipart/form-data; boundary=b")
    | st.text("boundary=b;\"*'% charset", max_size=30).map(lambda rest: b"multipart/form-data;" + rest.encode()),
)
@example(b"", b"multipart/form-data")
@example(b"--b\r\n" + HEADER + b"cut", b"multipart/form-data; boundary=b")
@example(b"--b\r\n", b"multipart/form-data; boundary=b; charset=none")
def test_any_multipart_form_is_read_or_a_bad_request(body: bytes, media_type: bytes) -> None:
    multipart(body, media_type)


def as_headers(name: str) -> Callable[[str], Headers]:
    return lambda value: Headers(raw=[(b"host", b"console:8081"), (name.encode(), value.encode("latin-1"))])


@pytest.mark.parametrize(
    ("read", "size"),
    [
        pytest.param(lambda text: session_cookie(as_headers("cookie")(text)), 1 << 15, id="cookie"),
        pytest.param(lambda text: cross_site_reason(as_headers("origin")(text)), 1 << 15, id="origin"),
        pytest.param(is_loopback_host, 1 << 15, id="host"),
        pytest.param(local_path, 1 << 15, id="next"),
        pytest.param(
            lambda text: client_address({"client": ("10.0.0.1", 1)}, as_headers("x-forwarded-for")(text), PROXIES),
            1 << 15,
            id="x-forwarded-for",
        ),
        pytest.param(lambda text: multipart(text.encode()), 1 << 18, id="multipart"),
        pytest.param(lambda text: multipart(b"--b\r\n" + text.encode()), 1 << 18, id="header of a part"),
        pytest.param(lambda text: multipart(b"--b\r\n" + HEADER + text.encode()), 1 << 18, id="body of a part"),
    ],
)
@settings(max_examples=20, phases=PHASES)
@given(st.text(max_size=4), st.text('a=b;:,"\\/[]- \r\n%1.', min_size=1, max_size=6), st.text(max_size=2))
@example("", " ", "x")
@example("[", "1", "")
@example("", "10.0.0.1,", "")
@example("", "\r\n--", "")
@example("", "\r\n--b\r\n", "")
@example("", "\r", "")
@example('Content-Disposition: form-data; name="', '\\"', "")
@example("Content-Disposition: form-data", '; name*0="a"', "")
def test_time_is_linear(read: Callable[[str], object], size: int, before: str, piece: str, after: str) -> None:
    before, after = (text.encode("latin-1", "replace").decode("latin-1") for text in (before, after))
    assert is_linear(lambda most: read(before + piece * (most // len(piece)) + after), size)


def test_a_long_form_takes_time_in_proportion(console: Console) -> None:
    for piece in (b"a=%41&", b"&", b"password=", b"+", b"%", b"=&"):
        headers = [(b"content-type", FORM)]

        def sign_in(size: int, piece: bytes = piece, headers: Pairs = headers) -> None:
            console.now = at(console.now.monotonic_s + 10)
            asyncio.run(asked(console, "POST", ("/login", b""), headers, piece * (size // len(piece))))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.console.login.WRONG_PASSWORD_S", 0)
            assert is_linear(sign_in, 1 << 13)
