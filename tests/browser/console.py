"""One `beanscale console`, the real process, and the ways of a person through its pages."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import greenstalk
import httpx
from playwright.sync_api import Browser, BrowserContext, Page, expect

PASSWORD = "correct horse battery staple"  # noqa: S105 - of no other console
PATIENCE_MS = 30_000
"""A machine that does much else may stand still for seconds."""
TOASTS_STAY = """{
  const later = setTimeout;
  window.setTimeout = (what, ms, ...more) => later(what, /box\\.remove/.test(what) ? 600000 : ms, ...more);
}"""
"""Messages of success disappear by themselves; on a slow machine that can be before a test reads them."""

expect.set_options(timeout=PATIENCE_MS)


class ConsoleProcess:
    """It listens on a loopback port; its log is in a file."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.prefix = next((option.split("=")[1] for option in options if option.startswith("--path-prefix=")), "")
        folder.mkdir(parents=True, exist_ok=True)
        password = folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        self.log = folder / "console.log"
        cluster = [] if any(option.startswith("--kubeconfig") for option in options) else ["--no-kubernetes"]
        common = f"--port={self.port}", f"--password-file={password}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "console", *common, *cluster, *options],
                stderr=log,
                stdout=log,
                env=os.environ | {"KUBECONFIG": os.devnull},
            )
        until(self._answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            return httpx.get(f"{self.url}/healthz", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Person:
    """A user with their own browser."""

    def __init__(self, browser: Browser, console: ConsoleProcess, **context: object) -> None:
        self.console = console
        self.context: BrowserContext = browser.new_context(**context)  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.add_init_script(TOASTS_STAY)
        self.page: Page = self.context.new_page()
        self.troubles: list[str] = []
        """What the pages' scripts raised and what the browser refused to run."""
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: object) -> None:
        text = getattr(message, "text", "")
        if getattr(message, "type", "") == "error" and "Failed to load resource" not in text:
            self.troubles.append(text)

    def goes_to(self, path: str, **query: str | int) -> Page:
        """Open a page of the console."""
        self.page.goto(f"{self.console.url}{path}{'?' + urlencode(query) if query else ''}")
        return self.page

    def signs_in(self, password: str = PASSWORD) -> Page:
        self.goes_to("/login")
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        return self.page

    def comes_in(self) -> Page:
        """Signs in, and is there."""
        self.signs_in().wait_for_url(f"{self.console.url}/")
        return self.page

    def opens_tube(self, name: str, server: str = "eu") -> Page:
        """A tube's page, once it is live."""
        self.goes_to("/tube", server=server, name=name)
        return self.waits_until_live()

    def waits_until_live(self) -> Page:
        expect(self.page.locator("#connection")).to_have_text("live")
        return self.page

    def chooses(self, button: str, **fields: str | int) -> None:
        """An action's button, then its dialog: fill in and go."""
        self.page.get_by_role("button", name=button, exact=True).first.click()
        dialog = self.page.get_by_role("dialog")
        for label, value in fields.items():
            dialog.get_by_label(label.replace("_", " "), exact=False).first.fill(str(value))
        self.confirms()

    def confirms(self) -> None:
        self.page.get_by_role("dialog").locator("button[type=submit]").click()

    def is_told(self, sentence: str | re.Pattern[str]) -> None:
        """By the console, of what an action did."""
        expect(self.page.locator("#toasts .toast").last).to_contain_text(sentence)

    def leaves(self) -> None:
        self.context.close()


def count(page: Page, state: str) -> str:
    """The big number of a state on a tube's page."""
    return page.locator(f".count.{state} dd").inner_text()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


type Tube = Callable[[str], greenstalk.Client]
"""Opens a client that uses and watches one tube."""
