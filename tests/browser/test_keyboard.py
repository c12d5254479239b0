"""The console without a mouse."""

import re

from playwright.sync_api import expect

from tests.browser.console import Person, Tube, until


def test_a_tube_is_searched_for_chosen_and_opened_by_keys_alone(person: Person, tube: Tube) -> None:
    for number in range(3):
        tube(f"keys-{number}")
    page = person.goes_to("/", sort="tube")
    person.waits_until_live()
    page.keyboard.press("/")
    expect(page.get_by_label("Search tubes")).to_be_focused()
    page.keyboard.type("keys-")
    expect(page.locator("#total")).to_have_text("3 tubes")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="keys-0")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="keys-2")).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("keys-1")
    person.waits_until_live()
    page.keyboard.press("a")
    expect(page).to_have_url(re.compile("/autoscalers"))
    person.waits_until_live()
    page.keyboard.press("t")
    expect(page.get_by_label("Search tubes")).to_be_visible()


def test_letters_in_a_field_are_letters(person: Person) -> None:
    page = person.goes_to("/")
    person.waits_until_live()
    page.get_by_label("Search tubes").click()
    page.keyboard.type("a?tj/")
    expect(page.get_by_label("Search tubes")).to_have_value("a?tj/")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_keys_are_listed_and_escape_closes_the_list(person: Person) -> None:
    page = person.goes_to("/")
    person.waits_until_live()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("search tubes")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_focus_stays_in_its_row_while_numbers_change(person: Person, tube: Tube) -> None:
    client = tube("focused")
    page = person.goes_to("/", q="focused")
    person.waits_until_live()
    expect(page.locator("td.ready")).to_have_text("0")
    page.keyboard.press("j")
    client.put(b"x")
    expect(page.locator("td.ready")).to_have_text("1")
    expect(page.get_by_role("link", name="focused")).to_be_focused()


def test_the_charts_values_are_read_by_arrow_keys(person: Person, tube: Tube) -> None:
    client = tube("read-by-arrows")
    client.put(b"x")
    page = person.opens_tube("read-by-arrows")
    expect(page.locator(".legend")).to_contain_text("ready 1")
    page.locator(".plot").focus()

    def newest_is_read() -> bool:
        """The chart's last moment, which may be from before the job."""
        page.keyboard.press("End")
        return "ready 1" in page.locator("#chart [role=status]").inner_text()

    until(newest_is_read)
    expect(page.locator(".readout")).to_contain_text("ready")
    page.keyboard.press("Escape")
    expect(page.locator(".readout")).to_be_hidden()


def test_the_chart_is_a_table_too(person: Person, tube: Tube) -> None:
    tube("as-a-table").put(b"x")
    page = person.opens_tube("as-a-table")
    page.get_by_role("button", name="as a table").press("Enter")
    table = page.get_by_role("region", name=re.compile("as a table"))
    expect(table.get_by_role("columnheader", name="ready")).to_be_visible()
    page.keyboard.press("Enter")
    expect(table).to_be_hidden()
