"""A real beanstalkd, a real console and a real Chromium, shared by all tests: each has its own tubes and tab."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import greenstalk
import pytest
from playwright.sync_api import Browser, StorageState, sync_playwright

from app.kube.certificates.renewal import next_key_ring
from tests.beanstalkd.conftest import Beanstalkd, beanstalkd, running_beanstalkd
from tests.browser.cluster import Cluster
from tests.browser.console import ConsoleProcess, Person, Tube
from tests.unit.kube.apiserver import kubeconfig, serving

__all__ = ["beanstalkd"]  # a fixture: one of its own, for a test that stops it

type NewPerson = Callable[..., Person]
type StartConsole = Callable[..., ConsoleProcess]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "Chromium isn't installed: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=120_000)
        yield running
        running.close()


@pytest.fixture(scope="session")
def queue() -> Iterator[Beanstalkd]:
    yield from running_beanstalkd()


@pytest.fixture(scope="session")
def console(queue: Beanstalkd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleProcess]:
    process = ConsoleProcess(tmp_path_factory.mktemp("console"), f"--beanstalkd=eu={queue.host}:{queue.port}")
    yield process
    process.end()


@pytest.fixture(scope="session")
def signed_in(browser: Browser, console: ConsoleProcess) -> StorageState:
    """The cookie of a signed-in user."""
    person = Person(browser, console)
    person.comes_in()
    state = person.context.storage_state()
    person.leaves()
    return state


@pytest.fixture
def new_person(browser: Browser) -> Iterator[NewPerson]:
    """Open browsers at a console; fail at the end if a script failed."""
    people: list[Person] = []

    def comes(console: ConsoleProcess, **context: object) -> Person:
        people.append(Person(browser, console, **context))
        return people[-1]

    yield comes
    for person in people:
        person.leaves()
    assert [trouble for person in people for trouble in person.troubles] == []


@pytest.fixture
def person(new_person: NewPerson, console: ConsoleProcess, signed_in: StorageState) -> Person:
    """A signed-in user."""
    return new_person(console, storage_state=signed_in)


@pytest.fixture
def start_console(tmp_path: Path) -> Iterator[StartConsole]:
    """Starts a console of one's own."""
    started: list[ConsoleProcess] = []

    def start(*options: str, port: int | None = None) -> ConsoleProcess:
        started.append(ConsoleProcess(tmp_path / str(len(started)), *options, port=port))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def tube(queue: Beanstalkd) -> Iterator[Tube]:
    clients: list[greenstalk.Client] = []

    def opened(name: str) -> greenstalk.Client:
        clients.append(greenstalk.Client((queue.host, queue.port), encoding=None, use=name, watch=name))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: $BEANSCALE_SCREENSHOTS, to keep them."""
    kept = os.environ.get("BEANSCALE_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def started(queue: Beanstalkd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, ConsoleProcess]]:
    ring, folder = next_key_ring(None, ["127.0.0.1"], datetime.now(UTC)), tmp_path_factory.mktemp("cluster")
    with serving(ring.serving) as apiserver:
        cluster = Cluster(apiserver)
        cluster.has_pods(2, 14)
        configuration = kubeconfig(folder / "config", apiserver.address, ring.bundle, token="t")  # noqa: S106 - never verified
        options = f"--beanstalkd=eu={queue.host}:{queue.port}", f"--kubeconfig={configuration}", "--auth=none"
        console = ConsoleProcess(folder, *options)
        yield cluster, console
        console.end()


@pytest.fixture
def cluster(started: tuple[Cluster, ConsoleProcess]) -> Cluster:
    return started[0]


@pytest.fixture
def guest(new_person: NewPerson, started: tuple[Cluster, ConsoleProcess]) -> Person:
    """A user of the console with a cluster, which requires no sign-in."""
    return new_person(started[1])
