"""Ten thousand tubes: the page stays as quick as with ten."""

import socket
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole

TUBES = 10_000
FRAME_S = 1 / 60
FRAMES = """() => new Promise((resolve) => {
  let frames = 0;
  const end = performance.now() + 3000;
  const frame = (now) => {
    frames += 1;
    scrollBy(0, frames % 40 < 20 ? 25 : -25);
    if (now < end) requestAnimationFrame(frame);
    else resolve(frames);
  };
  requestAnimationFrame(frame);
})"""
"""Scrolls up and down for three seconds; in how many frames."""


def fill(server: Beanstalkd) -> None:
    """One job in each tube."""
    with socket.create_connection((server.host, server.port)) as connection, connection.makefile("rb") as answers:
        for start in range(0, TUBES, 100):
            some = range(start, start + 100)
            connection.sendall(b"".join(b"use tube-%05d\r\nput 1 0 60 1\r\nx\r\n" % number for number in some))
            for _ in range(200):
                answers.readline()


def main_thread_s(page: Page) -> Callable[[], float]:
    """How many seconds of a processor the page has had for all that it does itself, however busy the machine is."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def used_s() -> float:
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")

    return used_s


@pytest.mark.timeout(240)
def test_ten_thousand_tubes_stay_smooth(
    new_person: NewPerson, start_console: StartConsole, beanstalkd: Beanstalkd
) -> None:
    fill(beanstalkd)
    person = new_person(start_console(f"--beanstalkd={beanstalkd.host}:{beanstalkd.port}", "--auth=none"))
    page = person.goes_to("/", sort="tube", size=200)
    expect(page.locator("#total")).to_have_text("10,001 tubes", timeout=60_000)
    person.waits_until_live()
    used_s = main_thread_s(page)
    before_s = used_s()
    frames = page.evaluate(FRAMES)
    assert (used_s() - before_s) / frames < FRAME_S / 2
    before_s = used_s()
    page.get_by_label("Search tubes").fill("tube-09999")
    expect(page.locator("#total")).to_have_text("1 tube")
    assert used_s() - before_s < 0.5
    assert page.locator("#tubes tbody tr").count() == 1
