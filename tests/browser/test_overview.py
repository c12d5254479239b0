"""All tubes on one page."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import Person, Tube


def cell(page: Page, tube: str, column: str) -> Locator:
    link = page.get_by_role("link", name=tube, exact=True)
    return page.locator("#tubes tbody tr", has=link).locator(f"td.{column}")


def test_a_new_job_is_shown_without_a_reload(person: Person, tube: Tube) -> None:
    client = tube("overview-live")
    page = person.goes_to("/", q="overview-live")
    person.waits_until_live()
    expect(cell(page, "overview-live", "ready")).to_have_text("0")
    page.evaluate("window.stillTheSamePage = true")
    client.put(b"x", delay=0)
    client.put(b"x", delay=600)
    expect(cell(page, "overview-live", "ready")).to_have_text("1")
    expect(cell(page, "overview-live", "delayed")).to_have_text("1")
    assert page.evaluate("window.stillTheSamePage")


def test_rates_workers_and_notes_are_shown(person: Person, tube: Tube) -> None:
    client = tube("overview-notes")
    client.ignore("default")
    for _ in range(30):
        client.put(b"x")
    client.bury(client.reserve())
    page = person.goes_to("/", q="overview-notes")
    expect(cell(page, "overview-notes", "buried")).to_have_text("1")
    expect(cell(page, "overview-notes", "watching")).to_have_text("1")
    expect(cell(page, "overview-notes", "putPerSecond")).to_have_text(re.compile(r"[\d.]+"))
    expect(cell(page, "overview-notes", "notes")).to_contain_text("buried jobs")
    expect(page.locator("#tubes tbody .sparkline").first).to_be_visible()


def test_searching_sorting_and_paging_are_in_the_url_and_in_the_browser_history(person: Person, tube: Tube) -> None:
    for number in range(12):
        client = tube(f"paged-{number:02}")
        for _ in range(number):
            client.put(b"x")
    page = person.goes_to("/", size=5)
    person.waits_until_live()
    page.get_by_label("Search tubes").fill("paged")
    expect(page.locator("#total")).to_have_text("12 tubes")
    expect(page).to_have_url(re.compile("q=paged"))
    shown = page.locator("#tubes tbody .name a")
    expect(shown).to_have_text(["paged-11", "paged-10", "paged-09", "paged-08", "paged-07"])
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#where")).to_have_text("page 2 of 3")
    expect(shown.first).to_have_text("paged-06")
    page.get_by_role("link", name="Tube", exact=True).click()
    expect(shown.first).to_have_text("paged-00")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("Tube")
    page.go_back()
    expect(shown.first).to_have_text("paged-06")
    page.reload()
    expect(shown.first).to_have_text("paged-06")
    page.get_by_label("Search tubes").fill("nothing-like-it")
    expect(page.locator("#nothing")).to_have_text("No tube has “nothing-like-it” in its name.")


def test_a_vanished_tube_stays_with_zeros_unless_hidden(person: Person, tube: Tube) -> None:
    client = tube("overview-vanishes")
    page = person.goes_to("/", q="overview-vanishes")
    person.waits_until_live()
    expect(cell(page, "overview-vanishes", "ready")).to_have_text("0")
    client.close()
    expect(cell(page, "overview-vanishes", "notes")).to_have_text("seen earlier")
    expect(cell(page, "overview-vanishes", "ready")).to_have_text("0")
    page.get_by_label("tubes seen earlier").uncheck()
    expect(page.locator("#nothing")).to_be_visible()


@pytest.mark.timeout(240)
def test_a_stopped_server_is_unknown_until_it_is_back(
    new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd, beanstalkd: Beanstalkd
) -> None:
    console = start_console(
        f"--beanstalkd=eu={queue.host}:{queue.port}",
        f"--beanstalkd=us={beanstalkd.host}:{beanstalkd.port}",
        "--max-age=2s",
    )
    one = new_person(console)
    one.comes_in()
    one.goes_to("/", q="us default")
    page = one.waits_until_live()
    expect(cell(page, "default", "ready")).to_have_text("0")
    beanstalkd.stop()
    expect(cell(page, "default", "ready")).to_have_text("unknown")
    expect(cell(page, "default", "notes")).to_contain_text("last read")
    eu, us = (page.locator(".server", has=page.get_by_text(name, exact=True)) for name in ("eu", "us"))
    expect(us).to_have_attribute("data-up", "no")
    expect(us).to_contain_text("can't be read")
    expect(eu).to_have_attribute("data-up", "yes")
    beanstalkd.start()
    expect(cell(page, "default", "ready")).to_have_text("0", timeout=60_000)
    expect(us).to_contain_text("restarted")


@pytest.mark.timeout(240)
def test_a_lost_console_is_reported_and_reconnected(
    new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd, tube: Tube
) -> None:
    options = f"--beanstalkd=eu={queue.host}:{queue.port}", "--auth=none"
    console = start_console(*options)
    page = new_person(console).goes_to("/", q="lost-and-found")
    client = tube("lost-and-found")
    expect(cell(page, "lost-and-found", "ready")).to_have_text("0")
    console.end()
    expect(page.locator("#connection")).to_have_text("connection to the console lost, retrying")
    client.put(b"x")
    start_console(*options, port=console.port)
    expect(page.locator("#connection")).to_have_text("live", timeout=60_000)
    expect(cell(page, "lost-and-found", "ready")).to_have_text("1")


def test_without_a_feed_the_page_polls(person: Person, tube: Tube) -> None:
    client = tube("overview-unfed")
    page = person.page
    page.route("**/events?*", lambda route: route.abort())
    person.goes_to("/", q="overview-unfed")
    expect(page.locator("#connection")).to_contain_text("retrying")
    client.put(b"x")
    expect(cell(page, "overview-unfed", "ready")).to_have_text("1")


def test_a_rejection_isnt_reported_as_a_lost_connection(person: Person) -> None:
    page = person.goes_to("/")
    person.waits_until_live()
    page.evaluate("document.getElementById('search').maxLength = 1000")
    page.get_by_label("Search tubes").fill("x" * 300)
    expect(page.locator("#connection")).to_have_text("A search has at most 200 characters.")
    page.get_by_label("Search tubes").fill("x")
    person.waits_until_live()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("amount(0.004)", "< 0.01"),
        ("amount('0.004')", "< 0.01"),
        ("amount(0)", "0"),
        ("amount(0.005)", "0.01"),
        ("rate(0.01)", "< 0.1"),
        ("rate(0)", "0"),
        ("count(null)", "unknown"),
        ("amount(null)", "unknown"),
    ],
)
def test_a_small_number_is_never_shown_as_zero(person: Person, words: str, said: str) -> None:
    page = person.goes_to("/")
    module = str(page.locator("script[type=module]").get_attribute("src")).replace("overview.js", "words.js")
    assert page.evaluate(f"async () => (await import('{module}')).{words}") == said


@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [
        ("1", "jobs", "1 job"),
        ("1.001", "jobs", "1 job"),
        ("2", "jobs", "2 jobs"),
        ("1", "jobs/min", "1 job/min"),
        ("1", "orders", "1 orders"),
        ("1", "ms", "1 ms"),
        ("1", "address", "1 address"),
    ],
)
def test_only_known_units_have_a_singular(person: Person, number: str, unit: str, said: str) -> None:
    page = person.goes_to("/")
    module = str(page.locator("script[type=module]").get_attribute("src")).replace("overview.js", "words.js")
    assert page.evaluate(f"async () => (await import('{module}')).measured('{number}', '{unit}')") == said


def test_a_hidden_tab_requests_nothing_and_is_live_when_shown(person: Person) -> None:
    page = person.goes_to("/")
    person.waits_until_live()
    hide = (
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    asked: list[str] = []
    page.evaluate(hide, True)
    expect(page.locator("#connection")).to_have_text("paused while hidden")
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1500)
    assert asked == []
    page.evaluate(hide, False)
    expect(page.locator("#connection")).to_have_text("live")
    assert any("/events" in url for url in asked)
