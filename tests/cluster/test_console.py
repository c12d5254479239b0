"""The console of the release in a real browser: its password, a load put by hand, and the pods that come of it."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.console import Person
from tests.cluster.commands import eventually
from tests.cluster.observing import handed_out
from tests.cluster.release import PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(900)

WORKERS = "beanscale-hello-world"
LONG_MS = 120_000
DESKTOP = {"width": 1360, "height": 850}


@dataclass(frozen=True)
class Deployed:
    """The console's Service."""

    url: str


@pytest.fixture(scope="module")
def writable(release: Release) -> Iterator[Release]:
    """With a console that may act."""
    release.upgrade({"console": {"readOnly": False}})
    release.wait_for_rollout("deployment/beanscale-console")
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)


@pytest.fixture(scope="module")
def person(browser: Browser, writable: Release) -> Iterator[Person]:
    """A user who signed in with the password that the NOTES show how to read."""
    password = b64decode(writable.read("secret/beanscale-console")["data"]["password"]).decode()
    visitor = Person(browser, Deployed(f"http://{writable.address('console')}"), viewport=DESKTOP)  # type: ignore[arg-type]
    visitor.signs_in(password).wait_for_url("**/")
    yield visitor
    visitor.leaves()
    # Chromium says that it trusts no page that comes by plain HTTP from elsewhere with this header; it does no harm.
    assert [each for each in visitor.troubles if "Cross-Origin-Opener-Policy" not in each] == []


def test_a_load_test_reaches_the_predicted_pods(person: Person, writable: Release, pictures: Path) -> None:
    page = person.goes_to("/autoscaler", namespace=writable.namespace, name=WORKERS)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{writable.namespace}/{WORKERS}")
    expect(page.locator("#sentence")).to_contain_text("1 pod")
    with writable.beanstalkd() as client:  # what a pod gets done is known by what it did
        jobs = [client.put(b"first", ttr=60) for _ in range(2)]
        handed_out(client, jobs, within_s=60)
    person.chooses("Start…", Into_tube=TUBE, Jobs=100, Per_second=50)
    expect(page.locator(".plot .line.predicted")).to_have_count(1, timeout=LONG_MS)
    expect(page.locator("#load-test")).to_contain_text("100 of 100 jobs put", timeout=LONG_MS)
    expect(page.locator("#sentence")).to_contain_text("10 pods", timeout=LONG_MS)
    page.screenshot(path=pictures / "cluster-autoscaler.png", full_page=True)
    person.opens_tube(TUBE, server="beanstalkd").screenshot(path=pictures / "cluster-tube.png", full_page=True)
    person.goes_to("/")
    person.waits_until_live().screenshot(path=pictures / "cluster-overview.png", full_page=True)
    eventually(lambda: writable.value(f"tube-{TUBE}") == "0", "all jobs done", within_s=240)
    writable.wait_for_pods_wanted(1)


def test_a_missing_permission_is_shown(person: Person, writable: Release) -> None:
    """An autoscaler that isn't there, and a namespace without any."""
    page = person.goes_to("/autoscaler", namespace=writable.namespace, name="nobody")
    expect(page.locator("main")).to_contain_text("nobody")
