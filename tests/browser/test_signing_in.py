"""Who comes in, and where they get to."""

import re
import time

from playwright.sync_api import expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import PASSWORD, ConsoleProcess, Person


def test_a_client_without_session_gets_the_sign_in_page_and_then_the_requested_page(
    new_person: NewPerson, console: ConsoleProcess
) -> None:
    visitor = new_person(console)
    page = visitor.goes_to("/autoscalers")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{console.url}/autoscalers")
    expect(page.get_by_role("heading", level=1)).to_have_text("Autoscalers")


def test_a_wrong_password_is_reported_and_the_right_one_still_works(
    new_person: NewPerson, console: ConsoleProcess
) -> None:
    visitor = new_person(console)
    page = visitor.signs_in("wrong")
    expect(page.get_by_role("alert")).to_have_text("Wrong password.")
    expect(page.get_by_label("Password")).to_be_focused()
    visitor.signs_in()
    expect(page).to_have_url(f"{console.url}/")


def test_repeated_wrong_passwords_have_to_wait_and_sessions_stay(
    new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd
) -> None:
    console = start_console(f"--beanstalkd=eu={queue.host}:{queue.port}")
    inside = new_person(console)
    inside.comes_in()
    guesser = new_person(console)

    def guess() -> str:
        return guesser.signs_in("wrong").get_by_role("alert").inner_text()

    assert [guess() for _ in range(10)] == ["Wrong password."] * 10
    status, late = 0, True
    while late:  # there is another guess each six seconds
        began = time.monotonic()
        if wait := re.search(r"Too many wrong passwords: retry in (\d+) s", guess()):
            right = guesser.context.request.post(f"{console.url}/login", form={"password": PASSWORD}, max_redirects=0)
            status, late = right.status, time.monotonic() - began > int(wait[1]) - 1
    assert status == 429, "not even the right one, for now"
    inside.opens_tube("default")


def test_the_cookie_can_be_neither_read_by_scripts_nor_sent_by_other_sites(
    new_person: NewPerson, console: ConsoleProcess
) -> None:
    visitor = new_person(console)
    page = visitor.signs_in()
    expect(page).to_have_url(f"{console.url}/")
    assert page.evaluate("document.cookie") == ""
    cookies = visitor.context.cookies()
    assert {(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies} == {(True, "Strict")}


def test_signing_out_ends_the_session(new_person: NewPerson, console: ConsoleProcess) -> None:
    visitor = new_person(console)
    page = visitor.signs_in()
    visitor.waits_until_live()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/login"))
    visitor.goes_to("/")
    expect(page).to_have_url(re.compile("/login"))


def test_a_page_without_session_redirects_to_the_sign_in_page_and_back(
    new_person: NewPerson, console: ConsoleProcess
) -> None:
    one = new_person(console)
    one.comes_in()
    page = one.opens_tube("ended-session")
    one.context.request.post(
        f"{console.url}/logout", form={"csrf": page.locator("meta[name=csrf]").get_attribute("content") or ""}
    )
    expect(page).to_have_url(re.compile(r"/login\?next=.*ended-session"))


def test_everything_works_below_a_path(new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd) -> None:
    console = start_console(f"--beanstalkd=eu={queue.host}:{queue.port}", "--path-prefix=/tools/beans")
    one = new_person(console)
    page = one.signs_in()
    expect(page).to_have_url(f"{console.url}/")
    one.waits_until_live()
    page.get_by_label("Search tubes").fill("default")
    page.get_by_role("link", name="default").click()
    expect(page).to_have_url(re.compile("/tools/beans/tube"))
    one.waits_until_live()
    page.get_by_role("link", name="Autoscalers").click()
    expect(page).to_have_url(f"{console.url}/autoscalers")


def test_a_missing_page_is_reported(person: Person) -> None:
    page = person.goes_to("/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    page.get_by_role("link", name="All tubes").click()
    person.waits_until_live()
