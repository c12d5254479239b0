"""The console of the release in a real browser: its password, a load put by hand, and the pods that come of it."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.console import Person
from tests.cluster.release import TUBE, Release

pytestmark = pytest.mark.timeout(300)

WORKERS = "beanscale-hello-world"
LONG_MS = 60_000
DESKTOP = {"width": 1360, "height": 850}


@dataclass(frozen=True)
class Deployed:
    """The console's Service."""

    url: str


@pytest.fixture(scope="module")
def writable(release: Release) -> Iterator[Release]:
    """With a console that may act."""
    release.upgrade({"console": {"readOnly": False}})
    release.kubectl("rollout", "status", "deployment/beanscale-console", "--timeout=60s", within_s=70)
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", "90s")


@pytest.fixture(scope="module")
def person(browser: Browser, writable: Release) -> Iterator[Person]:
    """Somebody who signed in with what the NOTES told them to read."""
    password = b64decode(writable.read("secret/beanscale-console")["data"]["password"]).decode()
    somebody = Person(browser, Deployed(f"http://{writable.address('console')}"), viewport=DESKTOP)  # type: ignore[arg-type]
    somebody.context.set_default_timeout(20_000)
    somebody.signs_in(password).wait_for_url("**/")
    yield somebody
    troubles = somebody.troubles
    somebody.leaves()
    assert troubles == []


def test_a_load_put_by_hand_brings_the_pods_that_were_predicted(
    person: Person, writable: Release, pictures: Path
) -> None:
    page = person.goes_to("/autoscaler", namespace=writable.namespace, name=WORKERS)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{writable.namespace}/{WORKERS}")
    expect(page.locator("#sentence")).to_contain_text("1 pod")
    with paused(writable):  # so that no count depends on this machine's pace
        person.chooses("Put a load…", Into_tube=TUBE, Jobs=20, A_second=20)
        expect(page.locator("#lab")).to_contain_text("20 of 20 jobs put", timeout=LONG_MS)
        expect(page.locator(".plot .line.predicted")).to_have_count(1)
        writable.wait_for_pods_ready(10)
        expect(page.locator("#sentence")).to_contain_text("10 pods", timeout=LONG_MS)
        page.screenshot(path=pictures / "cluster-autoscaler.png", full_page=True)
        person.opens_tube(TUBE, server="beanstalkd").screenshot(path=pictures / "cluster-tube.png", full_page=True)
        person.goes_to("/")
        person.waits_until_live().screenshot(path=pictures / "cluster-overview.png", full_page=True)
    writable.wait_for_pods_wanted(1, within_s=120)


@contextmanager
def paused(release: Release) -> Iterator[None]:
    """Nobody takes a job of the workers' tube."""
    with release.beanstalkd() as client:
        client.pause_tube(TUBE, 600)
        try:
            yield
        finally:
            client.pause_tube(TUBE, 0)


def test_what_it_may_not_read_it_says(person: Person, writable: Release) -> None:
    """An autoscaler that isn't there, and a namespace without any."""
    page = person.goes_to("/autoscaler", namespace=writable.namespace, name="nobody")
    expect(page.locator("main")).to_contain_text("nobody")
