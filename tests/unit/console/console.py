"""A console without beanstalkd and cluster, asked as over HTTP."""

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.beanstalkd.demand import Demand
from app.beanstalkd.reading import ServerState, Snapshot
from app.clock import Instant
from app.console.autoscalers import AutoscalerStore
from app.console.events import EventLog
from app.console.feed import Feeds
from app.console.history import History, PastTubes
from app.console.login import LoginLimiter, LoginRoutes, Session, Sessions
from app.console.middleware import SecurityMiddleware
from app.console.overview import View
from app.console.page_data import PageData
from app.console.passwords import Password
from app.console.rendering import Rendering, StaticFiles
from app.console.routes import Routes
from app.settings import Network
from tests.unit.console.moments import MAX_AGE_S, at, server, tube

PASSWORD = "sword fish"  # noqa: S105 - of no console but this one


@dataclass
class Console:
    """What it shows and who may see it; `now` is set by the test."""

    states: tuple[ServerState, ...] = (server(tube(ready=3)),)
    prefix: str = ""
    read_only: bool = False
    open_to_all: bool = False
    only_loopback: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    now: Instant = field(default_factory=lambda: at(0))
    acted: list[bytes] = field(default_factory=list)
    """What reached the action `/actions/test`."""
    known: AutoscalerStore = field(default_factory=lambda: AutoscalerStore("there is no cluster"))
    sessions: Sessions = field(default_factory=Sessions)
    secret: list[bytes] = field(default_factory=lambda: [PASSWORD.encode()])

    def __post_init__(self) -> None:
        self.history, self.events, self.past, self.demand = History(), EventLog(), PastTubes(), Demand()
        self.thread, self._snapshot = ThreadPoolExecutor(1), Snapshot(())
        self.password = Password(lambda: self.secret[0], self.sessions.end_all)
        self.data = PageData(self._view, self.demand, self.thread, self.known, None, lambda _: None)
        self.feeds = Feeds(self.data, lambda: self.now)
        self.guard = self._guard()

    def _guard(self) -> SecurityMiddleware:
        static = StaticFiles()
        rendering = Rendering(self.prefix, static, read_only=self.read_only, version="1")
        signing_in = LoginRoutes(
            None if self.open_to_all else self.password,
            self.sessions,
            LoginLimiter(self.now.monotonic_s),
            rendering,
            self.prefix,
            lambda: self.now,
        )
        pages = Routes(self.data, self.feeds, rendering, static, signing_in)
        return SecurityMiddleware(
            pages.application([Route("/actions/test", self._act, methods=["POST"])]),
            self.sessions,
            Session(float("inf"), "everyone") if self.open_to_all else None,
            only_loopback=self.only_loopback,
            read_only=self.read_only,
            prefix=self.prefix,
            clock=lambda: self.now,
            trusted_proxies=self.trusted_proxies,
        )

    async def _act(self, request: Request) -> Response:
        self.acted.append(await request.body())
        return JSONResponse({"ok": True, "message": "done", "count": None, "id": None})

    def _view(self) -> View:
        if self._snapshot.servers is not self.states:
            self._snapshot = Snapshot(self.states)
        return View(self._snapshot, self.now, MAX_AGE_S, self.history, self.events, self.past)

    @asynccontextmanager
    async def browser(self, source: str = "10.0.0.1", base: str = "http://console") -> AsyncIterator["Browser"]:
        """One that keeps cookies and follows nothing."""
        await self.password.refresh()
        transport = httpx.ASGITransport(self.guard, client=(source, 1))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield Browser(client, self.prefix)


@dataclass
class Browser:
    client: httpx.AsyncClient
    prefix: str = ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(self.prefix + path, headers=_spelt(headers))

    async def sign_in(self, password: str = PASSWORD, **headers: str) -> httpx.Response:
        form = {"password": password}
        return await self.client.post(f"{self.prefix}/login", data=form, headers=_spelt(headers))

    async def token(self) -> str:
        """As its page has it."""
        page = (await self.get("/")).text
        return page.partition('<meta name="csrf')[2].partition('content="')[2].partition('"')[0]

    async def act(self, token: str | None, body: bytes = b"{}", **headers: str) -> httpx.Response:
        sent: Mapping[str, Any] = _spelt(headers) | ({"X-CSRF-Token": token} if token is not None else {})
        return await self.client.post(f"{self.prefix}/actions/test", content=body, headers=sent)


def _spelt(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
