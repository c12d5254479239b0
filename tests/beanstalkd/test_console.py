"""The real console process over HTTP, beside a real beanstalkd that lives, dies and comes back."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import greenstalk
import httpx
import pytest

from tests.beanstalkd.conftest import Beanstalkd

PASSWORD = "sword fish soup"  # noqa: S105 - of no console but this one
ODD = "a/b;c$(d)+E."

Json = dict[str, Any]


def command(**options: Any) -> list[str]:
    named = [
        f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
        for name, value in options.items()
    ]
    return [sys.executable, "-m", "app", "console", *named]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Console:
    """One `beanscale console` on a loopback port, its log in a file, and a browser that is signed in."""

    def __init__(self, folder: Path, server: str, **options: Any) -> None:
        self.port = free_port()
        self._log = folder / "console.log"
        password = folder / "password"
        password.write_text(f"{PASSWORD}\n", encoding="utf-8")
        given = {"beanstalkd": f"eu={server}", "port": self.port, "no_kubernetes": True}
        given |= {"password_file": password} if "auth" not in options else {}
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(command(**given | options), stderr=stderr)
        self.base = f"http://127.0.0.1:{self.port}{options.get('path_prefix', '')}"
        self.browser = httpx.Client(timeout=60)
        until(self._answers)
        if "auth" not in options:
            until(self._signs_in)  # the password is read after the console listens

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def _signs_in(self) -> bool:
        return self.browser.post(f"{self.base}/login", data={"password": PASSWORD}).status_code == 303

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.browser.get(self.base + path, params=query)

    def row(self, tube: str, **wanted: Any) -> Json | None:
        """Of that tube, if it has these values."""
        rows = self.get("/api/overview", q=tube).json()["tubes"]
        return next((row for row in rows if row["tube"] == tube and row.items() >= wanted.items()), None)

    def tube(self, name: str) -> Json:
        answer = self.get("/api/tube", server="eu", name=name)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def memory_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])

    def events(self, page: str, **query: Any) -> Iterator[Json]:
        """What its feed says."""
        with self.browser.stream("GET", f"{self.base}/events", params={"page_name": page, **query}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: ") and line != "data: {}":
                    yield json.loads(line.removeprefix("data: "))

    def end(self) -> None:
        self.browser.close()
        self.process.kill()
        self.process.wait()


type Start = Callable[..., Console]


@pytest.fixture
def start(tmp_path: Path, beanstalkd: Beanstalkd) -> Iterator[Start]:
    consoles: list[Console] = []

    def start_one(**options: Any) -> Console:
        folder = tmp_path / str(len(consoles))
        folder.mkdir()
        consoles.append(Console(folder, f"{beanstalkd.host}:{beanstalkd.port}", **options))
        return consoles[-1]

    yield start_one
    for console in consoles:
        console.end()


@pytest.fixture
def client(beanstalkd: Beanstalkd) -> Iterator[greenstalk.Client]:
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None) as client:
        yield client


def until[T](look: Callable[[], T], seconds: float = 60) -> T:
    """The first result that counts as true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return seen


def test_a_new_job_is_shown_within_seconds(start: Start, client: greenstalk.Client) -> None:
    console = start()
    client.use("orders")
    client.put(b"now")
    client.put(b"later", delay=60)
    row = until(lambda: console.row("orders", ready=1, delayed=1))
    assert row is not None
    assert (row["delayed"], row["reserved"], row["buried"], row["using"], row["watching"]) == (1, 0, 0, 1, 0)
    assert row["notes"] == ["no-watchers"]
    assert "orders" in console.get("/").text
    assert "Traceback" not in console.log


def test_the_audit_log_says_which_jobs_were_shown_to_whom(start: Start, client: greenstalk.Client) -> None:
    console = start(log_format="json")
    client.use("orders")
    job = client.put(b"confidential")
    until(lambda: console.row("orders", ready=1))
    console.get("/api/jobs", server="eu", name="orders")
    console.get("/api/job", server="eu", id=job)
    console.get("/api/find", server="eu", name="orders", q="confidential")
    console.get("/api/job", server="eu", id=job + 1)
    lines = [json.loads(line) for line in console.log.splitlines() if '"audit"' in line and '"/api/' in line]
    assert [(line["path"], line["server"], line["jobs"]) for line in lines] == [
        (path, "eu", [job]) for path in ("/api/jobs", "/api/job", "/api/find")
    ]
    assert len({(line["source"], line["session"]) for line in lines}) == 1
    assert "confidential" not in console.log


def test_the_consoles_connection_is_no_worker(start: Start) -> None:
    console = start()
    row = until(lambda: console.row("default"))
    assert row is not None
    assert (row["watching"], row["using"]) == (0, 0)


def test_a_feed_reports_changes_as_they_happen(start: Start, client: greenstalk.Client) -> None:
    console = start()
    until(lambda: console.row("default"))
    client.use("orders")
    feed = console.events("tube", server="eu", name="orders")
    assert next(feed)["tube"]["gone"] in {True, False}
    client.put(b"x")
    began = time.monotonic()
    for shown in feed:
        if shown["tube"]["ready"] == 1:
            break
    assert time.monotonic() - began < 15
    feed.close()


def test_a_tube_with_an_unusual_name_is_shown_like_any_other(start: Start, client: greenstalk.Client) -> None:
    console = start()
    client.use(ODD)
    client.put(b"x")
    until(lambda: console.row(ODD))
    page = console.get("/tube", server="eu", name=ODD)
    assert page.status_code == 200
    assert ODD in page.text
    assert console.tube(ODD)["tube"]["ready"] == 1


def test_a_vanished_tube_stays_with_zeros(start: Start, beanstalkd: Beanstalkd) -> None:
    console = start()
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, use="fleeting") as client:
        until(lambda: console.row("fleeting"))
        assert client.stats_tube("fleeting")
    row = until(lambda: console.row("fleeting", gone=True))
    assert row is not None
    assert (row["ready"], row["fresh"]) == (0, True)


def test_beanstalkd_stops_and_returns_while_the_page_is_open(
    start: Start, beanstalkd: Beanstalkd, client: greenstalk.Client
) -> None:
    console = start(max_age="3s")
    client.use("orders")
    client.put(b"x")
    until(lambda: console.row("orders", ready=1))
    feed = console.events("tube", server="eu", name="orders")
    for shown in feed:
        if shown["tube"]["ready"] == 1:
            break

    beanstalkd.stop()
    seen = []
    for shown in feed:
        seen.append(shown["tube"]["ready"])
        if shown["tube"]["ready"] is None and shown["server"]["failure"] == "connection refused":
            break
    assert set(seen) <= {1, None}  # as it was while that was fresh, then unknown: never 0
    assert shown["server"]["up"] is False
    assert shown["tube"]["fresh"] is False
    assert "unknown" in console.get("/").text or "can&#39;t be read" in console.get("/").text

    beanstalkd.start()
    for shown in feed:
        if shown["tube"]["fresh"]:
            break
    assert (shown["tube"]["ready"], shown["server"]["up"]) == (0, True)  # a restart without a binlog forgets all
    for shown in feed:
        if {"down", "up", "loss"} <= {event["kind"] for event in shown["events"]}:
            break
    assert shown["server"]["restartedAt"] is not None
    feed.close()
    assert "Traceback" not in console.log


def test_the_history_has_a_gap_where_nothing_was_known(start: Start, beanstalkd: Beanstalkd) -> None:
    console = start(max_age="3s")
    until(lambda: 0 in console.tube("orders")["history"]["ready"])
    beanstalkd.stop()
    until(lambda: None in console.tube("orders")["history"]["ready"][1:])


def test_a_console_whose_beanstalkd_was_never_read_has_the_reason(start: Start, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    console = start()
    until(lambda: console.get("/api/overview").json()["servers"][0]["failure"])
    server = console.get("/api/overview").json()["servers"][0]
    assert (server["up"], server["failure"], server["tubes"]) == (False, "connection refused", None)
    assert console.tube("orders")["tube"]["ready"] is None


def test_a_draining_server_is_reported(start: Start, beanstalkd: Beanstalkd) -> None:
    console = start(max_age="3s")

    def drains() -> Any:
        return console.get("/api/overview").json()["servers"][0]["draining"]

    until(lambda: drains() is False)
    beanstalkd.drain()
    until(lambda: drains() is True)
    beanstalkd.stop()
    until(lambda: drains() is None)


def test_sigterm_ends_it_soon_while_pages_are_open(start: Start) -> None:
    console = start()
    feed = console.events("overview")
    next(feed)
    console.process.terminate()
    assert console.process.wait(60) == 0  # the feed itself would never end
    feed.close()
    assert "Traceback" not in console.log


def test_a_page_that_doesnt_read_delays_no_other_and_uses_no_memory(start: Start, client: greenstalk.Client) -> None:
    console = start()
    for number in range(200):
        client.use(f"tube-{number:03}-" + "x" * 180)
        client.put(b"x")
    until(lambda: console.get("/api/overview").json()["total"] >= 200)
    cookie = f"beanscale={console.browser.cookies[f'beanscale-{console.port}']}"
    head = f"GET /events?page_name=overview&size=200 HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n".encode()
    sleepers = []
    for _ in range(20):
        sleeper = socket.create_connection(("127.0.0.1", console.port))
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.sendall(head)
        sleepers.append(sleeper)
    time.sleep(3)
    before_kb = console.memory_kb()
    took_s = []
    for turn in range(40):
        client.use(f"tube-{turn:03}-" + "x" * 180)
        client.put(b"x")
        time.sleep(0.2)
        began = time.monotonic()
        assert console.get("/api/overview").status_code == 200
        took_s.append(time.monotonic() - began)
    assert sorted(took_s)[20] < 1
    assert console.memory_kb() - before_kb < 20_000
    for sleeper in sleepers:
        sleeper.close()


def test_feeds_are_limited_and_the_next_page_gets_the_error(start: Start) -> None:
    console = start()
    until(lambda: console.row("default"))
    cookie = f"beanscale={console.browser.cookies[f'beanscale-{console.port}']}"
    head = f"GET /events?page_name=autoscalers HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n".encode()
    open_feeds = [socket.create_connection(("127.0.0.1", console.port)) for _ in range(200)]
    for feed in open_feeds:
        feed.sendall(head)
        assert b"200 OK" in feed.recv(4096)
    refused = console.get("/events", page_name="overview")
    assert refused.status_code == 503
    assert "200 pages are open" in refused.json()["error"]
    for feed in open_feeds:
        feed.close()

    def is_live() -> bool:
        params = {"page_name": "overview"}
        with console.browser.stream("GET", f"{console.base}/events", params=params) as answer:
            return answer.status_code == 200

    until(is_live)


def test_wrong_passwords_are_limited(start: Start) -> None:
    console = start()
    with httpx.Client(base_url=console.base, timeout=60) as guesser:

        def guess() -> int:
            return guesser.post("/login", data={"password": "x"}).status_code

        assert [guess() for _ in range(8)] == [401] * 8  # each costs a second
        until(lambda: guess() == 429)  # there is another guess each six seconds
    assert console.get("/api/overview").status_code == 200


def test_with_a_prefix_every_page_is_served(start: Start) -> None:
    console = start(path_prefix="/tools/beans")
    assert console.get("/").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{console.port}/").status_code == 404
    assert httpx.get(f"http://127.0.0.1:{console.port}/api/overview").status_code == 404


def test_a_large_body_is_accepted_and_a_larger_one_rejected(start: Start) -> None:
    console = start()
    page = console.get("/").text
    token = re.findall(r'<meta name="csrf[^"]*" content="([^"]+)"', page)[0]
    action, headers = (
        f"{console.base}/actions/there-is-none",
        {"X-CSRF-Token": token, "Content-Type": "application/json"},
    )
    body = b'{"server": "eu", "tube": "a"}'.ljust(4 << 20)
    assert console.browser.post(action, content=body, headers=headers).status_code == 404
    assert console.browser.post(action, content=b"x" * ((4 << 20) + 1), headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param({"auth": "none", "bind": "0.0.0.0"}, "lets anyone change every queue", id="open to the world"),  # noqa: S104
        pytest.param({"bind": "0.0.0.0"}, "a generated password would be logged", id="password in a log"),  # noqa: S104
        pytest.param({"path_prefix": "beans"}, "isn't a path prefix", id="a prefix without a slash"),
        pytest.param({"path_prefix": "/a/../b"}, "isn't a path prefix", id="a prefix that climbs"),
        pytest.param({"path_prefix": '/"><script>'}, "isn't a path prefix", id="a prefix of markup"),
        pytest.param({"trusted_proxies": "10.0.0.0/33"}, "expected addresses or CIDRs", id="no network"),
        pytest.param({"password_secret": "a/b", "no_kubernetes": True}, "needs a cluster", id="no cluster"),
        pytest.param({"password_file": "/nowhere"}, "does not exist", id="no such file"),
    ],
)
def test_an_unintended_open_console_is_one_sentence(options: Json, why: str) -> None:
    ended = subprocess.run(
        command(beanstalkd="127.0.0.1:1", port=1, **options), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert why in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_outside_a_cluster_the_password_is_generated_and_shown_once(beanstalkd: Beanstalkd, tmp_path: Path) -> None:
    log = tmp_path / "log"
    port = free_port()
    with log.open("wb") as stderr:
        address = f"{beanstalkd.host}:{beanstalkd.port}"
        process = subprocess.Popen(command(beanstalkd=address, port=port, no_kubernetes=True), stderr=stderr)
    try:
        until(lambda: "listening" in log.read_text(encoding="utf-8"))
        password = re.findall(r"password=(\S+)", log.read_text(encoding="utf-8"))[0]
        answer = httpx.post(f"http://127.0.0.1:{port}/login", data={"password": password}, timeout=60)
        assert answer.status_code == 303
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_without_a_password_only_this_machine_has_access(start: Start) -> None:
    console = start(auth="none")
    assert console.get("/").status_code == 200
    rebound = httpx.get(f"{console.base}/", headers={"host": f"evil.example:{console.port}"})
    assert rebound.status_code == 403
