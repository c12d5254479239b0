"""Layout and accessibility of the pages. Screenshots are stored in $BEANSCALE_SCREENSHOTS."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.cluster import Cluster
from tests.browser.conftest import NewPerson
from tests.browser.console import ConsoleProcess, Person, Tube
from tests.unit.explain.cluster import event

DESKTOP, PHONE = {"width": 1360, "height": 850}, {"width": 360, "height": 740}
TUBES = ("checkout", "emails", "invoices/monthly", "search-index", "thumbnails", "webhooks")
ORDER = {"order": 1017, "customer": {"name": "Zoë"}, "items": [{"sku": "bean", "count": 3}]}


@pytest.fixture
def scene(tube: Tube, cluster: Cluster) -> None:
    """Some tubes with jobs, and an autoscaler that uses one, which beanscale has scaled."""
    created = datetime.fromtimestamp(time.time() - 40, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = "Scaled Deployment/orders from 1 to 2: tube-orders is 14, target 2 per pod: 14 ÷ 2 = 7 → 7 pods"
    cluster.reported(
        event("Scaled", words, created=created),
        event("NotScaled", "unbroken" * 50, created="2026-01-01T00:00:00Z", kind="Warning"),
    )
    cluster.has_pods(2, 14, annotations={"immediate": "true", "scale-to-zero": "5m"})
    for number, name in enumerate(TUBES):
        client = tube(name)
        for _ in range(3 * number + 2):
            client.put(json.dumps(ORDER).encode(), delay=0 if number % 2 else 300)
        client.put(b"once more")
        client.bury(client.reserve())
        client.put(b"</script><script>not today</script>")
    orders = tube("orders")
    for _ in range(14):
        orders.put(json.dumps(ORDER).encode())


def overview(person: Person) -> Page:
    person.goes_to("/")
    return person.waits_until_live()


def tube_page(person: Person) -> Page:
    page = person.opens_tube("orders")
    expect(page.locator(".job.ready pre")).to_be_visible()
    return page


def dialog(person: Person) -> Page:
    page = person.opens_tube("webhooks")
    page.get_by_role("button", name="Empty…").click()
    return page


def put_dialog(person: Person) -> Page:
    page = person.opens_tube("webhooks")
    page.get_by_role("button", name="Put a job…").click()
    return page


def autoscalers(person: Person) -> Page:
    page = person.goes_to("/autoscalers")
    expect(page.get_by_role("link", name="shop/orders")).to_be_visible()
    return page


def autoscaler(person: Person) -> Page:
    autoscalers(person).get_by_role("link", name="shop/orders").click()
    expect(person.page.locator(".answer")).to_contain_text("pods")
    expect(person.page.locator("#events")).to_contain_text("Scaled Deployment/orders")
    return person.page


def missing(person: Person) -> Page:
    return person.goes_to("/nowhere")


PAGES = [overview, tube_page, dialog, put_dialog, autoscalers, autoscaler, missing]


@pytest.mark.parametrize("page_of", PAGES, ids=lambda page: page.__name__)
@pytest.mark.parametrize(
    ("theme", "size"),
    [
        pytest.param("light", DESKTOP, id="light"),
        pytest.param("dark", DESKTOP, id="dark"),
        pytest.param("light", PHONE, id="phone"),
    ],
)
@pytest.mark.usefixtures("scene")
def test_a_page_fits_and_axe_finds_nothing_in_it(
    new_person: NewPerson,
    started: tuple[Cluster, ConsoleProcess],
    pictures: Path,
    page_of: Callable[[Person], Page],
    theme: str,
    size: dict[str, int],
) -> None:
    person = new_person(started[1], color_scheme=theme, viewport=size, reduced_motion="reduce")
    page = page_of(person)
    name = f"{page_of.__name__}-{'phone' if size is PHONE else theme}.png"
    page.screenshot(path=pictures / name, full_page="dialog" not in name)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    person.troubles.clear()  # the browser logs a missing page too
    assert found_by_axe(page) == []


def test_the_sign_in_page_is_accessible(new_person: NewPerson, console: ConsoleProcess, pictures: Path) -> None:
    page = new_person(console).goes_to("/login")
    page.screenshot(path=pictures / "login.png")
    assert found_by_axe(page) == []


def found_by_axe(page: Page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}" for each in violations for node in each["nodes"]
    ]


def test_nothing_moves_with_reduced_motion(new_person: NewPerson, started: tuple[Cluster, ConsoleProcess]) -> None:
    person = new_person(started[1], reduced_motion="reduce")
    page = overview(person)
    assert page.evaluate("document.getAnimations().length") == 0
