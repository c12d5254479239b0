"""Failures are on every page within a second: of a beanstalkd, of the cluster, and of the console itself."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import greenstalk
import pytest
from playwright.sync_api import Page, expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.cluster import HPAS, Cluster
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import ConsoleProcess, Person, Tube, until
from tests.unit.explain.cluster import METRICS

DESKTOP, PHONE = {"width": 1360, "height": 850}, {"width": 360, "height": 740}
READY = 39


@pytest.fixture
def jobs(beanstalkd: Beanstalkd) -> None:
    """52 in tube `mail`."""
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use="mail") as client:
        for number in range(52):
            client.put(b"x", delay=0 if number % 4 else 600)


@pytest.fixture
def watched(beanstalkd: Beanstalkd, start_console: StartConsole, jobs: None) -> ConsoleProcess:  # noqa: ARG001
    """A console of one's own, of a beanstalkd that a test may stop."""
    return start_console(f"--beanstalkd=eu={beanstalkd.host}:{beanstalkd.port}", "--auth=none")


def overview(person: Person) -> Page:
    page = person.goes_to("/", q="mail")
    expect(page.locator("#tubes tbody td.ready")).to_have_text(str(READY))
    return person.waits_until_live()


def tube_page(person: Person) -> Page:
    page = person.opens_tube("mail")
    expect(page.locator(".job.ready pre")).to_be_visible()
    page.get_by_role("button", name="Newest jobs").click()
    expect(page.locator("#hits li").first).to_be_visible()
    return page


def autoscalers(person: Person) -> Page:
    person.goes_to("/autoscalers")
    return person.waits_until_live()


PAGES = [overview, tube_page, autoscalers]
MARKED = {
    overview: ["#tubes tr.stale", ".server.late"],
    tube_page: ["#counts.stale", "#server.warn", ".legend .unknown", "section:has(#finding) .when-late"],
    autoscalers: ["#late >> text=beanstalkd eu"],
}
"""What marks a page's numbers while a server is late."""


def ms_until(page: Page, state: str) -> float:
    """When the header came to this state, by the browser's clock."""
    return float(
        page.evaluate(
            """state => new Promise(done => {
              const sign = document.getElementById('connection');
              const check = () => sign.dataset.state === state ? done(Date.now()) : setTimeout(check, 10);
              check();
            })""",
            state,
        )
    )


def seconds_read_ago(page: Page) -> float:
    words = page.locator("#connection").inner_text()
    found = re.search(r"last read (.*) s ago", words)
    assert found, words
    return float(found[1])


@pytest.mark.parametrize("page_of", PAGES, ids=lambda page: page.__name__)
@pytest.mark.parametrize(
    ("theme", "size"),
    [
        pytest.param("light", DESKTOP, id="light"),
        pytest.param("dark", DESKTOP, id="dark"),
        pytest.param("light", PHONE, id="phone"),
    ],
)
def test_a_killed_beanstalkd_is_on_the_page_within_a_second(
    new_person: NewPerson,
    watched: ConsoleProcess,
    beanstalkd: Beanstalkd,
    pictures: Path,
    page_of: Callable[[Person], Page],
    theme: str,
    size: dict[str, int],
) -> None:
    person = new_person(watched, color_scheme=theme, viewport=size)
    page = page_of(person)
    title = page.title()
    killed_ms = page.evaluate("Date.now()")
    beanstalkd.stop()
    assert ms_until(page, "late") - killed_ms < 1000
    expect(page.locator("#connection")).to_have_text(re.compile(r"beanstalkd eu can't be read · last read \d s ago"))
    assert page.title() == f"⚠ {title}"
    assert str(page.locator("link[rel=icon]").get_attribute("href")).endswith("bean-late.svg")
    for marked in MARKED[page_of]:
        expect(page.locator(marked).first).to_be_visible()
    earlier_s = seconds_read_ago(page)
    until(lambda: seconds_read_ago(page) >= earlier_s + 2)
    page.screenshot(
        path=pictures / f"late-{page_of.__name__}-{'phone' if size is PHONE else theme}.png", full_page=True
    )
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    beanstalkd.start()
    person.waits_until_live()
    assert page.title() == title
    for marked in MARKED[page_of]:
        expect(page.locator(marked).first).to_be_hidden()


def test_the_chart_ends_with_the_last_good_reading(
    new_person: NewPerson, watched: ConsoleProcess, beanstalkd: Beanstalkd
) -> None:
    page = tube_page(new_person(watched))
    expect(page.locator("path.area.ready")).to_have_attribute("d", re.compile("L"))

    def gap_px() -> float:
        """Between the area's end and the frame's."""
        right = max(
            float(x) for x in re.findall(r"[ML]([\d.]+),", page.locator("path.area.ready").get_attribute("d") or "")
        )
        return page.locator(".plot").bounding_box()["width"] - 8 - right  # type: ignore[index]

    assert gap_px() < 1
    beanstalkd.stop()
    ms_until(page, "late")
    second_px = (DESKTOP["width"] - 150) / 60
    until(lambda: 1.5 * second_px < gap_px())
    expect(page.locator(".plot rect.blank").last).to_be_visible()
    page.wait_for_timeout(3000)
    assert gap_px() > 3.5 * second_px


def test_unknown_is_never_in_the_color_of_a_number(
    new_person: NewPerson,
    beanstalkd: Beanstalkd,
    start_console: StartConsole,
    jobs: None,  # noqa: ARG001
) -> None:
    console = start_console(f"--beanstalkd=eu={beanstalkd.host}:{beanstalkd.port}", "--auth=none", "--max-age=2s")
    person = new_person(console)

    def colors(page: Page, of: str) -> set[str]:
        return set(page.locator(of).evaluate_all("all => all.map(one => getComputedStyle(one).color)"))

    page = overview(person)
    numbers = colors(page, "#tubes td.number:not(.zero, .unknown)")
    beanstalkd.stop()
    expect(page.locator("#tubes td.ready")).to_have_text("unknown")
    assert colors(page, "#tubes td.unknown").isdisjoint(numbers)
    assert page.locator("#tubes td.number:not(.unknown)").count() == 0
    page = person.goes_to("/tube", server="eu", name="mail")
    expect(page.locator(".count.ready dd")).to_have_text("unknown")
    for unknown in ("#counts .unknown", ".legend .unknown", "#stats .unknown"):
        assert page.locator(unknown).first.is_visible()
        assert colors(page, unknown) == colors(page, "#counts dt")


def test_a_beanstalkd_that_hangs_is_late_before_it_fails(
    new_person: NewPerson, watched: ConsoleProcess, beanstalkd: Beanstalkd
) -> None:
    person = new_person(watched)
    page = overview(person)
    beanstalkd.freeze()
    try:
        expect(page.locator("#connection")).to_have_text(
            re.compile(r"beanstalkd eu doesn't reply · last read \d s ago")
        )
        expect(page.locator("#tubes td.notes")).to_contain_text(re.compile(r"last read \d s ago"))
        expect(page.locator(".server")).to_contain_text("can't be read: timed out · last read")
    finally:
        beanstalkd.thaw()
    person.waits_until_live()


def test_of_two_servers_only_the_tubes_of_the_killed_one_are_marked(
    new_person: NewPerson,
    start_console: StartConsole,
    queue: Beanstalkd,
    beanstalkd: Beanstalkd,
    tube: Tube,
    jobs: None,  # noqa: ARG001
) -> None:
    tube("mail").put(b"x")
    person = new_person(
        start_console(
            f"--beanstalkd=eu={beanstalkd.host}:{beanstalkd.port}",
            f"--beanstalkd=us={queue.host}:{queue.port}",
            "--auth=none",
        )
    )
    page = person.goes_to("/", q="mail")
    rows = page.locator("#tubes tbody tr", has=page.get_by_text("mail", exact=True))  # not those of other tests
    expect(rows).to_have_count(2)
    person.waits_until_live()
    beanstalkd.stop()
    expect(page.locator("#connection")).to_contain_text("beanstalkd eu can't be read · last read")
    expect(page.locator("#tubes tr.stale")).to_have_count(1)
    expect(page.locator("#tubes tr.stale")).to_contain_text("eu")
    person.opens_tube("mail", server="us")  # nothing that this page shows is late


def test_a_restart_is_told_with_the_jobs_before_and_after(
    new_person: NewPerson, watched: ConsoleProcess, beanstalkd: Beanstalkd
) -> None:
    page = tube_page(new_person(watched))
    beanstalkd.restart()
    expect(page.locator("#events")).to_contain_text("beanstalkd eu restarted: 52 jobs before, 0 after")
    expect(page.locator("svg .happened.error title", has_text="52 jobs before, 0 after")).to_have_count(1)
    expect(page.locator("#find-summary")).to_contain_text("Search again")
    expect(page.locator("#hits li")).to_have_count(0)
    page = new_person(watched).goes_to("/")
    expect(page.locator(".server .says.warn")).to_contain_text("52 jobs before, 0 after")


def test_a_restart_that_kept_all_jobs_is_no_alarm(
    new_person: NewPerson, beanstalkd: Beanstalkd, start_console: StartConsole, tmp_path: Path
) -> None:
    (tmp_path / "binlog").mkdir()
    beanstalkd.keep_jobs(tmp_path / "binlog")
    beanstalkd.restart()
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use="mail") as client:
        for _ in range(52):
            client.put(b"x")
    person = new_person(start_console(f"--beanstalkd=eu={beanstalkd.host}:{beanstalkd.port}", "--auth=none"))
    page = person.opens_tube("mail")
    expect(page.locator(".count.ready dd")).to_have_text("52")
    beanstalkd.restart()
    expect(page.locator("#events")).to_contain_text("beanstalkd eu restarted: 52 jobs before, 52 after")
    expect(page.locator("svg .happened:not(.error) title", has_text="52 after")).to_have_count(1)
    page = person.goes_to("/")
    expect(page.locator(".server .says")).to_contain_text("52 jobs before, 52 after")
    assert page.locator(".server .says.warn").count() == 0


@pytest.mark.parametrize("page_of", PAGES, ids=lambda page: page.__name__)
def test_a_page_without_a_feed_isnt_live(
    new_person: NewPerson, watched: ConsoleProcess, pictures: Path, page_of: Callable[[Person], Page]
) -> None:
    page = page_of(new_person(watched))
    watched.process.send_signal(signal.SIGSTOP)
    try:
        expect(page.locator("#connection")).to_have_text(re.compile(r"no data from the console for \d s"))
        for marked in MARKED[page_of]:
            expect(page.locator(marked).first).to_be_visible()
        page.screenshot(path=pictures / f"silent-{page_of.__name__}.png", full_page=True)
    finally:
        watched.process.send_signal(signal.SIGCONT)
    expect(page.locator("#connection")).to_have_text("live", timeout=60_000)
    killed_ms = page.evaluate("Date.now()")
    watched.end()
    assert ms_until(page, "lost") - killed_ms < 1000
    expect(page.locator("#connection")).to_have_text("connection to the console lost, retrying")
    assert page.title().startswith("⚠ ")


def test_a_cluster_that_cant_be_read_is_on_its_pages(
    guest: Person, cluster: Cluster, tube: Tube, pictures: Path
) -> None:
    tube("orders")
    cluster.has_pods(2, 14)
    page = guest.goes_to("/autoscalers")
    expect(page.get_by_role("link", name="shop/orders")).to_be_visible()
    guest.waits_until_live()
    cluster.fails(HPAS)
    expect(page.locator("#connection")).to_have_text(re.compile(r"Kubernetes can't be read · last read \d+ s ago"))
    expect(page.locator("#late")).to_contain_text("Kubernetes can't be read: ")
    page.screenshot(path=pictures / "late-cluster.png", full_page=True)
    cluster.has_pods(2, 14)
    guest.waits_until_live()


def test_a_metric_that_the_cluster_doesnt_serve_isnt_live(guest: Person, cluster: Cluster, tube: Tube) -> None:
    tube("orders")
    cluster.has_pods(2, 14)
    page = guest.goes_to("/autoscalers")
    page.get_by_role("link", name="shop/orders").click()
    guest.waits_until_live()
    cluster.fails(f"{METRICS}/tube-orders?explain=true")
    expect(page.locator("#connection")).to_have_text("a metric has no value")
    expect(page.locator("#connection")).to_have_attribute("data-state", "late")
    cluster.has_pods(2, 14)
    guest.waits_until_live()


@pytest.mark.parametrize("path", ["/?q=mail", "/tube?server=eu&name=mail", "/autoscalers"])
def test_a_page_without_javascript_shows_a_failure(
    new_person: NewPerson, watched: ConsoleProcess, beanstalkd: Beanstalkd, path: str
) -> None:
    overview(new_person(watched))
    beanstalkd.stop()
    plain = new_person(watched, java_script_enabled=False)

    def is_shown() -> bool:
        return "can't be read: connection refused · last read" in plain.goes_to(path).locator("main").inner_text()

    until(is_shown)
