"""Hostile bodies and names are shown as text."""

import zlib

import pytest
from playwright.sync_api import expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import Person, Tube

BODIES = [
    pytest.param(b"</script><script>window.__pwned = 1</script>", "<script>window.__pwned", id="closes the script"),
    pytest.param(b"<img src=x onerror='window.__pwned = 1'>", "<img src=x onerror", id="an image that fails"),
    pytest.param(b'{"a": "</script><svg onload=window.__pwned=1>"}', "<svg onload", id="markup in JSON"),
    pytest.param(b"\x1b[31mred\x1b]0;title\x07", "1b 5b 33 31 6d", id="a terminal's commands"),
    pytest.param("photo\u202egpj.exe".encode(), "photo⟦U+202E⟧gpj.exe", id="right to left"),
    pytest.param(bytes(range(256)), "00 01 02 03", id="binary"),
    pytest.param(b"<b>" * 21845, "<b><b><b>", id="64 KiB of markup"),
    pytest.param(b"delete 1\r\nput 0 0 60 1\r\nx\r\n", "delete 1", id="beanstalkd's commands"),
    pytest.param(b"{{ 7*7 }}${7*7}<%= 7*7 %>", "{{ 7*7 }}${7*7}", id="templates"),
    pytest.param(b"", "The body is empty.", id="nothing"),
]


@pytest.mark.parametrize(("body", "shown"), BODIES)
def test_a_body_is_only_ever_text(person: Person, tube: Tube, body: bytes, shown: str) -> None:
    name = f"hostile-{zlib.crc32(body)}"
    tube(name).put(body)
    page = person.opens_tube(name)
    card = page.locator(".job.ready")
    expect(card).to_contain_text(shown)
    for form in card.locator(".forms button").all():
        form.click()
    assert card.locator("script, img, svg, b, iframe").count() == 0
    assert page.evaluate("window.__pwned") is None


@pytest.mark.parametrize(
    "name", ["a/../b;c=d&e", "$(x)+1.2-3_4", "x" * 200, "constructor", "hasOwnProperty", "__proto__"]
)
def test_every_legal_name_is_shown_and_links_to_its_tube(person: Person, tube: Tube, name: str) -> None:
    name = name.replace("&", "").replace("=", "")
    tube(name).put(b"x")
    page = person.goes_to("/", q=name)
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    person.waits_until_live()
    expect(page.locator(".count.ready dd")).to_have_text("1")


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=window.__pwned=1>", "a\r\nput 0 0 1 1\r\nx", "-x", "x" * 201, "ä", ""]
)
def test_an_illegal_name_is_rejected_and_reaches_no_server(person: Person, name: str) -> None:
    page = person.goes_to("/tube", server="eu", name=name)
    expect(page.get_by_role("heading", level=1)).to_have_text("Bad request")
    assert page.evaluate("window.__pwned") is None


def test_a_search_is_text(person: Person) -> None:
    page = person.goes_to("/", q="</script><script>window.__pwned=1</script>\"'><img src=x onerror=window.__pwned=1>")
    person.waits_until_live()
    expect(page.locator("#nothing")).to_contain_text("<script>")
    assert page.evaluate("window.__pwned") is None


def test_a_control_character_pasted_as_a_tubes_name_is_rejected(person: Person, tube: Tube) -> None:
    client = tube("pasted")
    client.put(b"x")
    page = person.opens_tube("pasted")
    page.locator(".job.ready").get_by_role("button", name="Move…").click()
    page.get_by_role("dialog").get_by_label("To tube").fill("x y<script>")
    person.confirms()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    assert client.stats_tube("pasted")["current-jobs-ready"] == 1


def test_no_page_can_frame_the_console(new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd) -> None:
    console = start_console(f"--beanstalkd=eu={queue.host}:{queue.port}", "--auth=none")
    one = new_person(console)
    one.page.goto("about:blank")
    one.page.set_content(f'<iframe src="{console.url}/"></iframe>')
    while not any(frame.url.startswith("chrome-error:") for frame in one.page.frames[1:]):
        one.page.wait_for_timeout(50)
    one.page.wait_for_timeout(500)
    one.troubles.clear()  # the browser may say that it refused
