"""Pages show foreign content as text, and invalid requests get one sentence."""

from urllib.parse import quote

import httpx
import pytest

from app.console.events import Event
from app.settings import Server
from app.text import known
from tests.unit.console.console import Browser, Console
from tests.unit.console.moments import at, server, tube, unread

pytestmark = pytest.mark.anyio
MARKUP = "<script>alert(1)</script>"


def console(**more: object) -> Console:
    return Console(open_to_all=True, **more)  # type: ignore[arg-type]


async def test_a_failure_and_an_event_with_markup_in_it_are_text() -> None:
    here = console(states=(server(tube(), failure=f"answered {MARKUP}"), unread("us", f"answered '\"{MARKUP}")))
    here.events.add([Event(at(0).unix_s, "down", f"</script>{MARKUP}", Server("eu", "eu.example", 11300))])
    async with here.browser() as browser:
        for path in ("/", "/tube?server=eu&name=orders"):
            page = (await browser.get(path)).text
            assert "<script>alert" not in page
            assert "</script><script>" not in page


@pytest.mark.parametrize(
    "path",
    [
        f"/?q={MARKUP}",
        f"/tube?server={MARKUP}&name=orders",
        f"/tube?server=eu&name={MARKUP}",
        f"/autoscaler?namespace={MARKUP}&name={MARKUP}",
        f"/?sort={MARKUP}",
        f"/?page={MARKUP}",
        f"/{MARKUP}",
        f"/login?next=/{MARKUP}",
    ],
)
async def test_no_query_becomes_markup(path: str) -> None:
    async with console().browser() as browser, Console().browser() as anonymous:
        assert "<script>alert" not in (await browser.get(path)).text
        assert "<script>alert" not in (await anonymous.get(path)).text


@pytest.mark.parametrize("name", ["a/b", "a;b", "$(x)", "a+b", "(.)", "UPPER_", "x" * 200])
async def test_a_tube_with_any_name_has_a_page(name: str) -> None:
    async with console(states=(server(tube(name, ready=7)),)).browser() as browser:
        answer = await browser.client.get("/api/tube", params={"server": "eu", "name": name})
        assert (answer.json()["tube"]["tube"], answer.json()["tube"]["ready"]) == (name, 7)
        page = await browser.client.get("/tube", params={"server": "eu", "name": name})
        assert page.status_code == 200
        overview = (await browser.get("/")).text
        assert quote(name, safe="/") in overview


@pytest.mark.parametrize(
    ("query", "status", "why"),
    [
        pytest.param({"server": "eu", "name": "a\r\nuse b"}, 400, "is not a valid tube name", id="a second command"),
        pytest.param({"server": "eu", "name": "-x"}, 400, "is not a valid tube name", id="a name beanstalkd refuses"),
        pytest.param({"server": "eu", "name": "x" * 201}, 400, "is not a valid tube name", id="a name too long"),
        pytest.param({"server": "eu", "name": "ü"}, 400, "is not a valid tube name", id="not ASCII"),
        pytest.param({"server": "eu"}, 400, "is not a valid tube name", id="no name"),
        pytest.param({"name": "orders"}, 404, "No beanstalkd named ''", id="no server"),
        pytest.param(
            {"server": "eu\r\nx", "name": "orders"}, 404, "No beanstalkd named", id="a server with a line break"
        ),
    ],
)
async def test_an_invalid_search_is_one_sentence(query: dict[str, str], status: int, why: str) -> None:
    async with console().browser() as browser:
        for path in ("/api/tube", "/tube"):
            answer = await browser.client.get(path, params=query)
            assert answer.status_code == status
        answer = await browser.client.get("/api/tube", params=query)
        assert answer.json().keys() == {"error"}
        assert why in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


async def test_a_feed_of_an_unknown_page_is_rejected() -> None:
    async with console().browser() as browser:
        assert (await browser.get("/events?page_name=nothing")).status_code == 400
        assert (await browser.get("/events?page_name=tube&server=eu&name=-")).status_code == 400
        assert (await browser.get("/events")).status_code == 400


async def test_without_a_cluster_the_autoscalers_page_has_the_reason() -> None:
    async with console().browser() as browser:
        answer = (await browser.get("/api/autoscalers")).json()
        assert (answer["available"], answer["why"], answer["autoscalers"]) == (False, "there is no cluster", [])
        one = await browser.get("/api/autoscaler?namespace=shop&name=orders")
        assert (one.status_code, one.json()["error"]) == (404, "Autoscalers can't be read: there is no cluster.")
        assert "there is no cluster" in (await browser.get("/autoscalers")).text


async def test_an_open_page_is_read_every_second() -> None:
    here = console()
    async with here.browser() as browser:
        await browser.get("/tube?server=eu&name=looked-at")
        await browser.get("/")
    assert here.demand.tubes(here.now) == ("looked-at", "orders")


async def test_a_page_contains_its_json_as_data() -> None:
    async with console(states=(server(tube(), failure="</script>"),)).browser() as browser:
        page = (await browser.get("/")).text
        data = page.partition('id="initial">')[2].partition("</script>")[0]
        assert '"failure": "\\u003c/script\\u003e"' in data


async def test_head_starts_no_feed() -> None:
    async with console().browser() as browser:
        answer = await browser.client.head("/events?page_name=overview")
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/", "/api/overview", "/events?page_name=overview"])
async def test_an_unexpected_error_is_one_sentence_and_is_logged(path: str) -> None:
    here = console(states=None)
    transport = httpx.ASGITransport(here.guard, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        answer = await client.get(path)
        assert answer.status_code == 500
        said = answer.text if path == "/" else answer.json()["error"]
        assert "Internal error, see the console log" in said
        assert answer.headers["x-frame-options"] == "DENY"
    with pytest.raises(TypeError):
        await httpx.AsyncClient(transport=httpx.ASGITransport(here.guard), base_url="http://console").get(path)


async def test_an_unexpected_error_in_an_action_is_one_sentence() -> None:
    here = console(acted=None)
    transport = httpx.ASGITransport(here.guard, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        token = await Browser(client).token()
        answer = await Browser(client).act(token)
        assert answer.status_code == 500
        assert "may have been applied: check before you retry" in answer.json()["error"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (None, "unknown"),
        (0, "0"),
        (12345, "12,345"),
        (0.0, "0.0"),
        (0.04, "< 0.1"),
        (0.05, "0.1"),
        (1234.56, "1,234.6"),
    ],
)
def test_a_number_is_formatted_for_people_and_a_small_one_never_as_zero(number: float | None, said: str) -> None:
    assert known(number) == said
