"""One tube: its numbers, its chart, its next jobs."""

import json
import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.console import Person, Tube, until


def card(page: Page, state: str) -> Locator:
    return page.locator(f".job.{state}")


def test_a_job_that_is_put_shows_at_once_in_numbers_chart_and_card(person: Person, tube: Tube) -> None:
    client = tube("tube-live")
    page = person.opens_tube("tube-live")
    expect(page.locator(".count.ready dd")).to_have_text("0")
    expect(card(page, "ready")).to_contain_text("No ready jobs.")
    job = client.put(b"hello")
    expect(page.locator(".count.ready dd")).to_have_text("1")
    expect(card(page, "ready")).to_contain_text(f"job {job}")
    expect(card(page, "ready").locator("pre")).to_have_text("hello")
    expect(page.locator(".legend li", has_text="ready")).to_contain_text("1")
    assert page.locator("path.area.ready").get_attribute("d")


def test_the_next_job_of_each_state_has_a_card_with_its_stats(person: Person, tube: Tube) -> None:
    client = tube("tube-cards")
    client.put(b"first", priority=7, ttr=90)
    client.put(b"later", delay=600)
    client.bury(client.reserve())
    client.put(b"now", priority=12345)
    page = person.opens_tube("tube-cards")
    expect(card(page, "ready").locator("pre")).to_have_text("now")
    expect(card(page, "ready")).to_contain_text("12,345")
    expect(card(page, "delayed").locator("pre")).to_have_text("later")
    expect(card(page, "delayed")).to_contain_text(re.compile(r"ready in\s*(9|10) min"))
    expect(card(page, "buried").locator("pre")).to_have_text("first")
    expect(card(page, "buried")).to_contain_text("once")


def test_a_body_is_shown_as_json_text_or_hex(person: Person, tube: Tube) -> None:
    tube("tube-forms").put(json.dumps({"order": 17, "items": ["bean"]}).encode())
    page = person.opens_tube("tube-forms")
    body = card(page, "ready").locator("pre")
    expect(body).to_contain_text('"order": 17,\n')
    card(page, "ready").get_by_role("button", name="Text").click()
    expect(body).to_have_text('{"order": 17, "items": ["bean"]}')
    card(page, "ready").get_by_role("button", name="Hex").click()
    expect(body).to_contain_text("7b 22 6f 72 64 65 72 22")


def test_a_long_body_is_cut_and_its_size_shown(person: Person, tube: Tube) -> None:
    tube("tube-long").put(b"x" * 65535)
    page = person.opens_tube("tube-long")
    expect(card(page, "ready").locator(".forms")).to_contain_text("64 KiB")
    assert len(card(page, "ready").locator("pre").inner_text()) <= 65536


def test_a_pause_is_a_note_and_an_event(person: Person, tube: Tube) -> None:
    client = tube("tube-paused")
    client.put(b"x")
    page = person.opens_tube("tube-paused")
    client.pause_tube("tube-paused", 120)
    expect(page.locator("#notes")).to_contain_text(re.compile(r"paused, (1 min \d+ s|2 min) left"))
    expect(page.locator("#events")).to_contain_text("paused for 2 min")
    expect(page.locator("svg .happened")).to_have_count(1)
    expect(fact(page, "trend")).to_have_text("paused")


def test_an_unknown_tube_is_reported_as_missing_with_no_jobs(person: Person) -> None:
    page = person.opens_tube("never-seen-before")
    expect(page.locator("#notes")).to_contain_text("no such tube")
    expect(page.locator(".count.ready dd")).to_have_text("0")


def test_the_pointer_shows_values_of_the_chart(person: Person, tube: Tube) -> None:
    tube("tube-pointed-at").put(b"x")
    page = person.opens_tube("tube-pointed-at")
    expect(page.locator(".legend")).to_contain_text("ready 1")
    box = page.locator(".plot").bounding_box()
    assert box
    right, middle = box["x"] + box["width"], box["y"] + 120

    def newest_is_read() -> bool:
        """The chart's last moment, which may be from before the job: there is one every five seconds."""
        page.mouse.move(right - 14, middle)
        page.mouse.move(right - 12, middle)
        return re.search(r"ready\s*1", page.locator(".readout").inner_text()) is not None

    until(newest_is_read)
    page.mouse.move(5, 5)
    expect(page.locator(".readout")).to_be_hidden()


def test_any_job_is_found_by_its_id(person: Person, tube: Tube) -> None:
    job = tube("tube-elsewhere").put(b"found me")
    page = person.opens_tube("tube-here")
    page.get_by_label("Job", exact=True).fill(str(job))
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#found")).to_contain_text("Ready job in tube tube-elsewhere")
    expect(page.locator("#found pre")).to_have_text("found me")
    page.get_by_label("Job", exact=True).fill("99999999")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_contain_text("There is no job 99999999")


def test_a_tube_that_requires_a_rule_has_a_note(person: Person, tube: Tube) -> None:
    tube("mail/eu").put(b"job")
    expect(person.opens_tube("mail/eu").locator("#notes")).to_contain_text("define a rule for this tube under metrics:")
    page = person.goes_to("/", q="mail/eu")
    expect(page.get_by_text("needs a rule", exact=True)).to_be_visible()


def fact(page: Page, name: str) -> Locator:
    return page.locator("#stats div", has=page.get_by_text(name, exact=True)).locator("dd")


def opens_with_history(person: Person, name: str) -> Page:
    """Before the second sample of a new console, no trend is known."""
    page = person.opens_tube(name)
    expect(fact(page, "trend")).not_to_have_text("unknown")
    return page


def test_a_tube_that_grows_is_never_said_to_become_empty(person: Person, tube: Tube) -> None:
    client = tube("tube-grows")
    client.put(b"x")
    page = opens_with_history(person, "tube-grows")
    for _ in range(16):
        client.put(b"x")
    for _ in range(10):
        client.delete(client.reserve())
    expect(fact(page, "trend")).to_have_text(re.compile(r"^growing by [\d.]+/s$"))
    expect(fact(page, "drain time on this server, if nothing is put")).to_have_text(re.compile(r"\d+ s"))
    assert "empty in" not in page.locator("#stats").inner_text()
    for _ in range(7):
        client.delete(client.reserve())
    expect(fact(page, "trend")).to_have_text("empty")


def test_what_is_deleted_or_moved_here_is_no_progress(person: Person, tube: Tube) -> None:
    client = tube("tube-cleared")
    page = opens_with_history(person, "tube-cleared")
    for _ in range(60):
        client.put(b"x")
    expect(fact(page, "trend")).to_have_text(re.compile("^growing by"))
    page.wait_for_timeout(5500)  # until the history has them
    person.chooses("Delete…", How_many=60)
    expect(page.locator(".count.ready dd")).to_have_text("0")
    expect(fact(page, "trend")).to_have_text(re.compile(r"^growing by [\d.]+/s, without what was changed here$"))
    expect(fact(page, "drain time on this server, if nothing is put")).to_have_count(0)


def test_jobs_that_leave_without_a_deletion_are_no_jobs_any_more(person: Person, tube: Tube) -> None:
    client = tube("tube-buries")
    page = opens_with_history(person, "tube-buries")
    for _ in range(40):
        client.put(b"x")
    expect(fact(page, "trend")).to_have_text(re.compile("^growing by"))
    for _ in range(40):
        client.bury(client.reserve())
    for _ in range(40):
        job = client.peek_buried()
        client.delete(job)
    client.put(b"later", delay=600)
    expect(fact(page, "trend")).to_have_text("empty")


def test_an_invalid_number_has_its_reason(person: Person) -> None:
    page = person.goes_to("/")
    module = str(page.locator("script[type=module]").get_attribute("src")).replace("overview.js", "words.js")
    row = {"invalid": {"total": "total-jobs: x", "putPerSecond": "total-jobs: x"}, "fresh": True, "notes": []}
    words = f"async (row) => {{ const w = await import('{module}');"
    assert page.evaluate(words + " return w.reasonOf(row, 'putPerSecond') }", row) == "no valid total-jobs: x"
    assert page.evaluate(words + " return w.notesOf(row, 1).map((one) => one.words) }", row) == [
        "no valid total-jobs: x"
    ]
