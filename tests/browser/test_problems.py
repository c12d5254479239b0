"""Problems of workers come first: those that are stuck, and jobs that exceed their time to run."""

import re
import time
from pathlib import Path

import greenstalk
import pytest
from playwright.sync_api import Page, expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import Person, Tube


@pytest.fixture
def visitor(new_person: NewPerson, start_console: StartConsole, beanstalkd: Beanstalkd) -> Person:
    """Somebody at a console of a beanstalkd of one's own."""
    return new_person(start_console(f"--beanstalkd=eu={beanstalkd.host}:{beanstalkd.port}", "--auth=none"))


def client(beanstalkd: Beanstalkd, tube: str) -> greenstalk.Client:
    return greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use=tube, watch=tube)


def test_workers_that_take_no_job_are_stuck(visitor: Person, beanstalkd: Beanstalkd, pictures: Path) -> None:
    with (
        client(beanstalkd, "stuck") as worker,
        client(beanstalkd, "paused") as other,
        client(beanstalkd, "busy") as busy,
    ):
        for each in (worker, other, busy):
            each.put(b"x")
            each.put(b"x")
        other.pause_tube("paused", 600)
        busy.reserve()
        page = visitor.goes_to("/")
        expect(page.locator("#problems")).to_contain_text("Workers on eu are stuck: jobs are ready in stuck, and")
        page.screenshot(path=pictures / "stuck-overview.png", full_page=True)
        page.locator("#problems").get_by_role("link", name="stuck").click()
        expect(page.locator("#notes")).to_contain_text(re.compile(r"workers stuck: for \d+ s none took a ready job"))
        worker.delete(worker.reserve())
        expect(page.locator("#notes")).not_to_contain_text("stuck")


def reserved_after_timeout(worker: greenstalk.Client, second: greenstalk.Client) -> None:
    """Reserve the job that `worker` holds for too long."""
    deadline = time.monotonic() + 30
    while True:
        worker.stats()  # beanstalkd 1.12 may notice a timeout only at the next command of that connection
        try:
            second.reserve(timeout=0)
        except greenstalk.TimedOutError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_timeouts_are_shown_with_their_rate(visitor: Person, beanstalkd: Beanstalkd, pictures: Path) -> None:
    page = visitor.goes_to("/")
    visitor.waits_until_live()
    with client(beanstalkd, "slow") as worker, client(beanstalkd, "slow") as second:
        worker.put(b"x", ttr=1)
        worker.reserve()
        reserved_after_timeout(worker, second)
        expect(page.locator("#problems")).to_contain_text(
            re.compile(r"Jobs on eu exceed their time to run \(TTR\), (< )?[\d.]+ per second")
        )
        page.screenshot(path=pictures / "timeouts-overview.png", full_page=True)
        visitor.opens_tube("slow")
        expect(page.locator("#notes")).to_contain_text("timeouts/s on eu")


def found(page: Page, job: int) -> str:
    page.get_by_label("Job", exact=True).fill(str(job))
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#found")).to_contain_text("Reserved job")
    return page.locator("#found").inner_text()


def test_the_card_of_a_reserved_job_counts_its_time_down(person: Person, tube: Tube) -> None:
    worker = tube("reserved-card")
    job = worker.put(b"x", ttr=200)
    worker.reserve()
    page = person.opens_tube("reserved-card")
    assert re.search(r"time left\s+3 min 1\d s", found(page, job))
    expect(page.locator("#found")).to_contain_text(re.compile(r"time left\s*3 min 1[0-5] s"))
    page.get_by_role("button", name="Newest jobs").click()
    expect(page.locator("#hits li")).to_contain_text("reserved, time left 3 min")


def test_an_overdue_job_is_said_in_hours(person: Person) -> None:
    page = person.goes_to("/")
    module = str(page.locator("script[type=module]").get_attribute("src")).replace("overview.js", "words.js")
    said = page.evaluate(f"async () => (await import('{module}')).timeLeft('reserved', -4200)")
    assert said == ["overdue by", "1 h 10 min"]
