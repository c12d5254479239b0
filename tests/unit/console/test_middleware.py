"""No access without a session, and no action that the console's own page didn't send."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator

import pytest
from starlette.datastructures import Headers
from structlog.testing import capture_logs

from app.console.login import LIFETIME_S
from app.console.middleware import HEADERS, MAX_BODY, client_address
from tests.unit.console.console import PASSWORD, Browser, Console
from tests.unit.console.moments import at

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.login.WRONG_PASSWORD_S", 0.01)


@pytest.fixture
async def signed_in() -> AsyncIterator[tuple[Console, Browser]]:
    console = Console()
    async with console.browser() as browser:
        await browser.sign_in()
        yield console, browser


@pytest.mark.parametrize("path", ["/", "/tube?server=eu&name=orders", "/autoscalers", "/autoscaler?name=x", "/nothing"])
async def test_a_browser_without_session_is_redirected_to_sign_in(path: str) -> None:
    async with Console().browser() as browser:
        answer = await browser.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
        assert "orders" not in answer.text


@pytest.mark.parametrize("path", ["/api/overview", "/api/tube?server=eu&name=orders", "/events?page_name=overview"])
async def test_a_program_without_session_is_rejected(path: str) -> None:
    async with Console().browser() as browser:
        assert (await browser.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["/login", "/healthz"])
async def test_some_pages_require_no_session(path: str) -> None:
    async with Console().browser() as browser:
        assert (await browser.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/login/../", "/login/..%2f", "//", "/healthz/", "/LOGIN", "/static/../api/overview", "/static/x/..%2f..%2f"],
)
async def test_no_spelling_of_a_path_bypasses_the_session(path: str) -> None:
    async with Console().browser() as browser:
        answer = await browser.get(path)
        assert answer.status_code in {303, 404, 401}
        assert "orders" not in answer.text


async def test_the_password_starts_a_session() -> None:
    async with Console().browser() as browser:
        answer = await browser.sign_in()
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "orders" in (await browser.get("/")).text


async def test_the_cookie_is_http_only_and_same_site() -> None:
    async with Console().browser() as browser:
        cookie, of_browser = (await browser.sign_in()).headers.get_list("set-cookie")
        name, *attributes = cookie.split("; ")
        assert set(attributes) == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=strict"}
        assert len(name) > len("beanscale=") + 40
        name, *attributes = of_browser.split("; ")
        assert set(attributes) == {"Path=/", "Max-Age=7776000", "HttpOnly", "SameSite=strict"}
        assert len(name) > len("beanscale-browser=") + 40


async def test_over_https_the_cookie_is_secure() -> None:
    async with Console(prefix="/beans").browser() as browser:
        for headers in ({"x_forwarded_proto": "https"}, {"origin": "https://console"}):
            cookie = (await browser.sign_in(**headers)).headers["set-cookie"]
            assert cookie.endswith("; Secure")
        assert not (await browser.sign_in(origin="http://console")).headers["set-cookie"].endswith("; Secure")
        assert "; Path=/beans;" in cookie


async def test_two_consoles_on_two_ports_of_a_host_have_separate_sessions() -> None:
    one, two = Console(), Console()
    async with one.browser(base="http://localhost:8081") as first, two.browser(base="http://localhost:8082") as second:
        await first.sign_in()
        second.client.cookies = first.client.cookies  # as a browser does: it takes no notice of ports
        await second.sign_in()
        first.client.cookies = second.client.cookies
        assert (await first.get("/api/overview")).status_code == 200
        assert (await second.get("/api/overview")).status_code == 200


async def test_a_cookie_chosen_by_an_attacker_is_never_a_session() -> None:
    async with Console().browser() as browser:
        browser.client.cookies.set("beanscale", "chosen-by-an-attacker", domain="console")
        answer = await browser.sign_in()
        assert "chosen-by-an-attacker" not in answer.headers["set-cookie"]
        unauthenticated = {"cookie": "beanscale=chosen-by-an-attacker"}
        assert (await browser.client.get("/api/overview", headers=unauthenticated)).status_code == 401


async def test_signing_in_again_ends_the_previous_session(signed_in: tuple[Console, Browser]) -> None:
    _, browser = signed_in
    before = browser.client.cookies["beanscale"]
    await browser.sign_in()
    assert browser.client.cookies["beanscale"] != before
    browser.client.cookies.set("beanscale", before, domain="console")
    browser.client.cookies.delete("beanscale")
    assert (await browser.get("/api/overview", cookie=f"beanscale={before}")).status_code == 401


async def test_signing_out_ends_the_session_and_deletes_the_cookie(signed_in: tuple[Console, Browser]) -> None:
    _, browser = signed_in
    cookie, token = browser.client.cookies["beanscale"], await browser.token()
    answer = await browser.client.post("/logout", data={"csrf": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await browser.get("/api/overview", cookie=f"beanscale={cookie}")).status_code == 401


async def test_a_session_ends_by_itself(signed_in: tuple[Console, Browser]) -> None:
    console, browser = signed_in
    assert (await browser.get("/api/overview")).status_code == 200
    console.now = at(LIFETIME_S + 1)
    assert (await browser.get("/api/overview")).status_code == 401


async def test_a_changed_password_ends_all_sessions(signed_in: tuple[Console, Browser]) -> None:
    console, browser = signed_in
    console.secret[0] = b"another"
    await console.password.refresh()
    assert (await browser.get("/api/overview")).status_code == 401
    assert (await browser.sign_in()).status_code == 401
    assert (await browser.sign_in("another")).status_code == 303


@pytest.mark.parametrize("guess", ["", "sword fis", "sword fish ", "SWORD FISH", "ü", "x" * 5000])
async def test_a_wrong_password_is_rejected(guess: str) -> None:
    async with Console().browser() as browser:
        answer = await browser.sign_in(guess)
        assert answer.status_code == 401
        assert "Wrong password" in answer.text
        assert "set-cookie" not in answer.headers


async def test_wrong_passwords_are_limited_and_others_can_sign_in() -> None:
    console = Console()
    async with console.browser() as guesser, console.browser("10.0.0.2") as other:
        answers = await asyncio.gather(*(guesser.sign_in(str(number)) for number in range(30)))
        assert sorted({answer.status_code for answer in answers}) == [401, 429]
        assert sum(answer.status_code == 401 for answer in answers) == 10
        refused = await guesser.sign_in(PASSWORD)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        assert (await other.sign_in()).status_code == 303


async def test_a_wrong_password_takes_time_and_delays_no_other_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.login.WRONG_PASSWORD_S", 3600)
    console = Console()
    async with console.browser() as guesser, console.browser("10.0.0.2") as other:
        waiting = [asyncio.create_task(guesser.sign_in("wrong")) for _ in range(5)]
        assert (await other.sign_in()).status_code == 303
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in waiting)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_action_of_the_consoles_page_is_accepted(signed_in: tuple[Console, Browser]) -> None:
    console, browser = signed_in
    answer = await browser.act(
        await browser.token(), b'{"x": 1}', origin="http://console", sec_fetch_site="same-origin"
    )
    assert (answer.status_code, console.acted) == (200, [b'{"x": 1}'])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"origin": "http://evil.example"}, id="another site's page"),
        pytest.param({"origin": "null"}, id="a sandboxed page"),
        pytest.param({"origin": "null", "host": ""}, id="a sandboxed page of a host without a name"),
        pytest.param({"origin": "http://console:8080"}, id="another port of ours"),
        pytest.param({"origin": "http://console.evil.example"}, id="a name that begins like ours"),
        pytest.param({"origin": "ftp://console"}, id="no page at all"),
        pytest.param({"origin": ""}, id="nothing in it"),
        pytest.param({"origin": "http://console", "sec_fetch_site": "cross-site"}, id="the browser says so"),
        pytest.param({"sec_fetch_site": "same-site"}, id="another host of the same site"),
        pytest.param({"sec_fetch_site": "none"}, id="no page asked"),
    ],
)
async def test_an_action_of_another_site_is_rejected(
    signed_in: tuple[Console, Browser], headers: dict[str, str]
) -> None:
    console, browser = signed_in
    answer = await browser.act(await browser.token(), **headers)
    assert (answer.status_code, console.acted) == (403, [])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        pytest.param("https://console.example", "console.example:443", id="HTTPS"),
        pytest.param("http://console.example", "console.example:80", id="HTTP"),
        pytest.param("https://[fd00::1]", "[fd00::1]:443", id="IPv6"),
        pytest.param("https://Console.example", "console.example", id="another case"),
    ],
)
async def test_a_proxy_can_add_the_default_port_to_the_host(origin: str, host: str) -> None:
    console = Console(open_to_all=True)
    async with console.browser() as browser:
        assert (await browser.act(await browser.token(), origin=origin, host=host)).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        pytest.param("http://console.example", "console.example:443", id="HTTPS's port with HTTP"),
        pytest.param("https://console.example", "console.example:80", id="HTTP's port with HTTPS"),
        pytest.param("https://console.example:8443", "console.example", id="a port that the host lacks"),
    ],
)
async def test_another_port_is_another_origin(origin: str, host: str) -> None:
    console = Console(open_to_all=True)
    async with console.browser() as browser:
        assert (await browser.act(await browser.token(), origin=origin, host=host)).status_code == 403


PROXIES = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "fd00::/8")))


async def test_behind_a_trusted_proxy_wrong_passwords_of_one_client_lock_out_no_other() -> None:
    console = Console(trusted_proxies=PROXIES)
    async with console.browser("10.0.0.1") as proxy:
        attacker, user = {"x-forwarded-for": "1.2.3.4, 203.0.113.1"}, {"x-forwarded-for": "203.0.113.2"}
        statuses = [(await proxy.sign_in("wrong", **attacker)).status_code for _ in range(11)]
        assert statuses == [401] * 10 + [429]
        with capture_logs() as lines:
            assert (await proxy.sign_in(PASSWORD, **user)).status_code == 303
        assert lines[0]["source"] == "203.0.113.2"


async def test_behind_an_unknown_proxy_a_browser_that_signed_in_before_isnt_locked_out() -> None:
    console = Console()
    async with console.browser() as attacker, console.browser() as user:
        await user.sign_in()
        statuses = [(await attacker.sign_in("wrong")).status_code for _ in range(11)]
        assert statuses == [401] * 10 + [429]
        assert (await user.sign_in()).status_code == 303


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        pytest.param("10.0.0.1", ["203.0.113.1"], "203.0.113.1", id="one proxy"),
        pytest.param("10.0.0.1", ["203.0.113.1, 10.0.0.2"], "203.0.113.1", id="two proxies"),
        pytest.param("10.0.0.1", ["203.0.113.1", "10.0.0.2"], "203.0.113.1", id="two headers"),
        pytest.param("10.0.0.1", ["1.2.3.4, 203.0.113.1"], "203.0.113.1", id="what the client itself sent"),
        pytest.param("10.0.0.1", ["10.9.9.9, 10.0.0.2"], "10.9.9.9", id="a client in the proxies' network"),
        pytest.param("10.0.0.1", ["203.0.113.1:4711"], "203.0.113.1", id="with a port"),
        pytest.param("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1", id="IPv6 with a port"),
        pytest.param("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1", id="an IPv4 proxy on an IPv6 socket"),
        pytest.param("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1", id="not an address"),
        pytest.param("10.0.0.1", ["203.0.113.1", *["10.0.0.2"] * 9], "203.0.113.1", id="ten proxies"),
        pytest.param("10.0.0.1", ["203.0.113.1", *["10.0.0.2"] * 3000], "10.0.0.2", id="an endless list"),
        pytest.param("10.0.0.1", [""], "10.0.0.1", id="empty"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="no header"),
        pytest.param("203.0.113.9", ["203.0.113.1"], "203.0.113.9", id="a peer that isn't trusted"),
    ],
)
def test_the_client_is_the_last_address_that_isnt_a_trusted_proxy(peer: str, forwarded: list[str], source: str) -> None:
    headers = Headers(raw=[(b"x-forwarded-for", entry.encode()) for entry in forwarded])
    assert client_address({"client": (peer, 1)}, headers, PROXIES) == source


async def test_another_site_cant_sign_in_or_out(signed_in: tuple[Console, Browser]) -> None:
    _, browser = signed_in
    assert (await browser.sign_in(origin="http://evil.example")).status_code == 403
    foreign = {"origin": "http://evil.example"}
    assert (await browser.client.post("/logout", headers=foreign)).status_code == 403
    assert (await browser.get("/api/overview")).status_code == 200


@pytest.mark.parametrize("token", [None, "", "wrong"])
async def test_an_action_without_the_pages_token_is_rejected(
    signed_in: tuple[Console, Browser], token: str | None
) -> None:
    console, browser = signed_in
    answer = await browser.act(token, origin="http://console")
    assert (answer.status_code, console.acted) == (403, [])
    assert answer.json()["error"].startswith("The CSRF token is missing or expired")


async def test_another_sessions_token_is_rejected(signed_in: tuple[Console, Browser]) -> None:
    console, browser = signed_in
    async with console.browser() as other:
        await other.sign_in()
        assert (await browser.act(await other.token())).status_code == 403
    assert console.acted == []


async def test_an_action_without_a_session_is_rejected() -> None:
    console = Console()
    async with console.browser() as browser:
        assert (await browser.act("token")).status_code == 401
    assert console.acted == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_post_performs_an_action(signed_in: tuple[Console, Browser], method: str) -> None:
    console, browser = signed_in
    answer = await browser.client.request(method, "/actions/test", headers={"X-CSRF-Token": await browser.token()})
    assert (answer.status_code, console.acted) == (405, [])


async def test_read_only_is_enforced_by_the_server() -> None:
    console = Console(read_only=True)
    async with console.browser() as browser:
        await browser.sign_in()
        token = await browser.token()
        answer = await browser.act(token)
        assert (answer.status_code, console.acted) == (403, [])
        assert "read-only" in answer.json()["error"]
        unknown = await browser.client.post("/actions/anything/else", headers={"X-CSRF-Token": token})
        assert unknown.status_code == 403


async def test_a_body_has_a_limit(signed_in: tuple[Console, Browser]) -> None:
    console, browser = signed_in
    token = await browser.token()
    assert (await browser.act(token, b"x" * MAX_BODY)).status_code == 200
    assert (await browser.act(token, b"x" * (MAX_BODY + 1))).status_code == 413

    async def without_length() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * (1 << 20)

    answer = await browser.client.post("/actions/test", content=without_length(), headers={"X-CSRF-Token": token})
    assert answer.status_code == 413
    assert [len(body) for body in console.acted] == [MAX_BODY]


async def test_an_unauthenticated_body_has_a_small_limit() -> None:
    async with Console().browser() as browser:
        assert (await browser.sign_in("x" * (1 << 14))).status_code == 413


@pytest.mark.parametrize(
    "path", ["/", "/login", "/api/overview", "/nothing", "/healthz", "/tube?server=no&name=orders", "/api/tube?name=-"]
)
async def test_every_response_forbids_framing_sniffing_and_foreign_scripts(
    signed_in: tuple[Console, Browser], path: str
) -> None:
    answer = await signed_in[1].get(path)
    assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_static_files_are_immutable_and_their_url_changes_with_their_content() -> None:
    async with Console().browser() as browser:
        page = (await browser.get("/login")).text
        address = page.partition('rel="stylesheet" href="')[2].split('"')[0]
        answer = await browser.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert "immutable" in answer.headers["cache-control"]
        other = address.replace(address.split("/")[2], "0" * 16)
        assert (await browser.get(other)).status_code == 404


@pytest.mark.parametrize("name", ["../main.py", "..%2fmain.py", "%2e%2e/main.py", "/etc/passwd", "nothing.css"])
async def test_no_other_file_is_served(name: str) -> None:
    async with Console().browser() as browser:
        page = (await browser.get("/login")).text
        version = page.partition("/static/")[2].split("/")[0]
        assert (await browser.client.get(f"http://console/static/{version}/{name}")).status_code != 200


async def test_with_a_path_prefix_every_url_has_it() -> None:
    console = Console(prefix="/tools/beans")
    async with console.browser() as browser:
        assert (await browser.client.get("/")).status_code == 404
        assert (await browser.client.get("/tools/beansprout")).status_code == 404
        bare = await browser.client.get("/tools/beans")
        assert (bare.status_code, bare.headers["location"]) == (308, "/tools/beans/")
        assert (await browser.get("/tube")).headers["location"] == "/tools/beans/login?next=%2Ftube"
        assert (await browser.sign_in()).headers["location"] == "/tools/beans/"
        page = (await browser.get("/")).text
        assert 'action="/tools/beans/logout"' in page
        assert 'href="/tools/beans/static/' in page
        assert 'href="/"' not in page
        assert (await browser.act(await browser.token())).status_code == 200
        assert (await browser.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        pytest.param("/tube?server=eu&name=a/b", "/tube?server=eu&name=a/b", id="back where they were"),
        pytest.param("https://evil.example", "/", id="another site"),
        pytest.param("//evil.example", "/", id="another host"),
        pytest.param("/\\evil.example", "/", id="another host, as some browsers read it"),
        pytest.param("/x\r\nset-cookie: a=b", "/", id="a header"),
        pytest.param("/\tx", "/", id="a tab that a browser drops"),
        pytest.param("", "/", id="nothing"),
        pytest.param("/" + "x" * 5000, "/", id="without end"),
    ],
)
async def test_signing_in_redirects_to_no_other_site(wanted: str, there: str) -> None:
    async with Console().browser() as browser:
        answer = await browser.client.post("/login", data={"password": PASSWORD, "next": wanted})
        assert answer.headers["location"] == there
        cookies = [cookie.partition("=")[0] for cookie in answer.headers.get_list("set-cookie")]
        assert cookies == ["beanscale", "beanscale-browser"]


async def test_without_a_password_every_client_has_access_and_tokens_are_still_required() -> None:
    console = Console(open_to_all=True)
    async with console.browser() as browser:
        token = await browser.token()
        assert (await browser.act(None)).status_code == 403
        assert (await browser.act("wrong")).status_code == 403
        assert (await browser.act(token, origin="http://evil.example")).status_code == 403
        assert (await browser.act(token)).status_code == 200
        assert (await browser.get("/login")).headers["location"] == "/"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:8081", 200, id="localhost"),
        pytest.param("127.0.0.1:8081", 200, id="its address"),
        pytest.param("[::1]:8081", 200, id="its IPv6 address"),
        pytest.param("evil.example:8081", 403, id="a name that another site resolves to this address"),
        pytest.param("localhost.evil.example", 403, id="a name that begins like it"),
        pytest.param("10.0.0.1", 403, id="another address"),
        pytest.param("127.0.0.1@evil.example", 403, id="a user's name before it"),
        pytest.param("[::1", 403, id="half an address"),
        pytest.param("]", 403, id="nonsense"),
    ],
)
async def test_without_a_password_foreign_host_names_are_rejected(host: str, status: int) -> None:
    async with Console(open_to_all=True, only_loopback=True).browser() as browser:
        assert (await browser.get("/", host=host)).status_code == status


async def test_actions_and_rejections_are_in_the_audit_log(signed_in: tuple[Console, Browser]) -> None:
    _, browser = signed_in
    token = await browser.token()
    with capture_logs() as lines:
        await browser.act(token)
        await browser.act("wrong")
        await browser.sign_in("wrong")
    shown = [(line["event"], line["path"], line["status"], line.get("error", "")) for line in lines]
    assert shown == [
        ("audit", "/actions/test", 200, ""),
        ("audit", "/actions/test", 403, "the CSRF token is missing or expired: reload the page and retry"),
        ("audit", "/login", 401, "wrong password"),
    ]
    assert {line["source"] for line in lines} == {"10.0.0.1"}
    assert lines[0]["session"] == lines[1]["session"]
    assert token not in str(lines)
    assert browser.client.cookies["beanscale"] not in str(lines)


async def test_unauthenticated_requests_dont_fill_the_log() -> None:
    async with Console().browser() as browser:
        with capture_logs() as lines:
            await ask_in_vain(browser)
    assert 1 <= len(lines) < 5
    assert len(str(lines)) < 5000


async def ask_in_vain(browser: Browser) -> None:
    for _ in range(100):
        await browser.client.post("/login", headers={"origin": "http://evil.example"})
        await browser.client.post("/" + "x" * 50_000, headers={"origin": "http://evil.example"})


async def test_a_form_has_at_most_ten_fields() -> None:
    async with Console().browser() as browser:
        for fields, status in ((10, 401), (11, 400)):
            form = {"password": "x"} | {str(number): "" for number in range(fields - 1)}
            assert (await browser.client.post("/login", data=form)).status_code == status


async def test_an_unauthenticated_form_that_doesnt_arrive_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.middleware.FORM_S", 0.05)
    never = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"password="
        await never.wait()

    async with Console().browser() as browser:
        async with asyncio.timeout(60):
            answer = await browser.client.post("/login", content=slowly())
        assert answer.status_code == 408


@pytest.mark.parametrize("source", ["10.0.0.1", "10.0.0.2"])
async def test_unauthenticated_forms_that_dont_arrive_keep_nobody_from_signing_in(source: str) -> None:
    """Behind an ingress or a port-forward, all have the same address."""
    console, go_on = Console(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"password=x"
        await go_on.wait()

    async with console.browser("10.0.0.1") as slow, console.browser(source) as other:
        waiting = [asyncio.create_task(slow.client.post("/login", content=slowly())) for _ in range(30)]
        while sum(each.done() for each in waiting) < 20:  # ten of them are awaited
            await asyncio.sleep(0.01)
        assert (await other.sign_in()).status_code == 303
        assert {each.result().status_code for each in waiting if each.done()} == {503}
        go_on.set()
        statuses = {answer.status_code for answer in await asyncio.gather(*waiting)}
        assert statuses <= {401, 429, 503}


async def test_the_number_of_concurrent_bodies_is_limited(signed_in: tuple[Console, Browser]) -> None:
    _, browser = signed_in
    token, go_on = await browser.token(), asyncio.Event()
    under_way: list[str] = []

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        under_way.append("one more")
        await go_on.wait()
        yield b"}"

    acting = [asyncio.create_task(browser.act(token, slowly())) for _ in range(16)]  # type: ignore[arg-type]
    while len(under_way) < 16:
        await asyncio.sleep(0.01)
    refused = await browser.act(token)
    assert (refused.status_code, "oo many requests at once" in refused.json()["error"]) == (503, True)
    go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*acting)} == {200}
    assert (await browser.act(token)).status_code == 200


async def test_without_sign_in_there_is_no_sign_out() -> None:
    async with Console(open_to_all=True).browser() as browser, Console().browser() as other:
        assert "Sign out" not in (await browser.get("/")).text
        await other.sign_in()
        assert "Sign out" in (await other.get("/")).text
