"""Jobs found by what is in them."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import Person, Tube


def hits(page: Page) -> Locator:
    return page.locator("#hits li")


def test_jobs_are_found_by_their_text_and_link_to_their_card(person: Person, tube: Tube) -> None:
    client = tube("find-text")
    wanted = client.put(b"<b>Order 17</b> of beans", delay=600)
    client.put(b"something else")
    page = person.opens_tube("find-text")
    page.keyboard.press("f")
    page.keyboard.type("ORDER 17")
    page.keyboard.press("Enter")
    expect(hits(page)).to_have_count(1)
    expect(hits(page)).to_contain_text(re.compile(rf"job {wanted}\s*delayed · put .* · 24 bytes\s*<b>Order 17</b>"))
    expect(page.locator("#find-summary")).to_contain_text("Found in 1 of 2 jobs of this tube. Examined")
    expect(page.locator("#find-summary")).to_contain_text("These are all jobs of the tube.")
    expect(page.locator("#go-on")).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_contain_text("Delayed job")
    expect(page.locator("#found pre")).to_have_text("<b>Order 17</b> of beans")
    expect(page.locator("#found")).to_be_focused()
    page.goto(str(hits(page).get_by_role("link").evaluate("link => link.href")))
    expect(page.locator("#found pre")).to_have_text("<b>Order 17</b> of beans")


def test_the_newest_jobs_are_shown_fifty_at_a_time_on_a_phone_and_read_only_too(
    new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd, tube: Tube
) -> None:
    client = tube("find-newest")
    put = [client.put(b"x" * 65000 if number == 59 else b"\x00%d" % number) for number in range(60)]
    console = start_console(f"--beanstalkd=eu={queue.host}:{queue.port}", "--read-only")
    one = new_person(console, viewport={"width": 360, "height": 740})
    one.comes_in()
    page = one.opens_tube("find-newest")
    page.get_by_role("button", name="Newest jobs").click()
    expect(hits(page)).to_have_count(50)
    expect(hits(page).first).to_contain_text(f"job {put[-1]}")
    expect(page.locator("#find-summary")).to_contain_text("the limit of 50 jobs")
    page.get_by_role("button", name=f"Continue below ID {put[10]}").press("Enter")
    expect(hits(page)).to_have_count(60)
    expect(hits(page).nth(50).get_by_role("link")).to_be_focused()
    expect(hits(page).last).to_contain_text(f"job {put[0]}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
