"""A console that shows and changes nothing."""

from playwright.sync_api import expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import Tube


def test_read_only_has_no_buttons_and_is_enforced_by_the_server(
    new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd, tube: Tube
) -> None:
    client = tube("only-read")
    client.put(b"x")
    console = start_console(f"--beanstalkd=eu={queue.host}:{queue.port}", "--read-only")
    one = new_person(console)
    one.comes_in()
    page = one.opens_tube("only-read")
    expect(page.locator("#actions")).to_contain_text("Read-only")
    expect(page.locator(".job.ready pre")).to_have_text("x")
    expect(page.locator("#actions button, .job .actions button")).to_have_count(0)
    status = page.evaluate(
        """async () => (await fetch("/actions/delete-some", {method: "POST", headers: {
          "Content-Type": "application/json", "X-CSRF-Token": document.querySelector("meta[name=csrf]").content},
          body: JSON.stringify({server: "eu", tube: "only-read", state: "ready", count: 1})})).status"""
    )
    assert status == 403
    assert client.stats_tube("only-read")["current-jobs-ready"] == 1
