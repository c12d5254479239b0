"""The console's routes: pages, their JSON and their feeds.

Templates and static files, both read once; every value that a template shows is escaped.

What each page shows, as JSON: served once, embedded in the page, or sent again and again by its feed.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from app.console.errors import RequestError, error_handlers
from app.console.feed import Feeds
from app.console.login import LoginRoutes, Session
from app.console.page_data import PageAnswers
from app.console.rendering import Rendering, Static

PAGES: Mapping[str, str] = {
    "/": "overview",
    "/tube": "tube",
    "/autoscalers": "autoscalers",
    "/autoscaler": "autoscaler",
}
_STREAM = {"x-accel-buffering": "no"}  # nginx would keep events back until it has a buffer full

type Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Pages:
    """What routes lead to."""

    answers: PageAnswers
    feeds: Feeds
    rendering: Rendering
    static: Static
    login: LoginRoutes

    def application(self, more: Sequence[BaseRoute] = ()) -> Starlette:
        """All routes, below the path prefix; `more`: those of actions."""
        routes = [
            *(Route(path, self._page(page)) for path, page in PAGES.items()),
            *(Route(f"/api/{page}", self._json(page)) for page in PAGES.values()),
            Route("/events", self._events),
            Route("/login", self.login.page),
            Route("/login", self.login.sign_in, methods=["POST"]),
            Route("/logout", self.login.sign_out, methods=["POST"]),
            Route("/static/{version}/{name:path}", self._static),
            Route("/healthz", _healthz),
            *more,
        ]
        application = Starlette(routes=routes, exception_handlers=error_handlers(self._error))
        application.router.redirect_slashes = False  # it knows of no path prefix, and takes the Host header's word
        return application

    def _page(self, page: str) -> Endpoint:
        async def answer(request: Request) -> Response:
            initial = await self.answers.of(page, dict(request.query_params))
            return self.rendering.page(page, initial=initial, **self._whose(request))

        return answer

    def _json(self, page: str) -> Endpoint:
        async def answer(request: Request) -> Response:
            return JSONResponse(await self.answers.of(page, dict(request.query_params)))

        return answer

    async def _events(self, request: Request) -> Response:
        page, given = _page_and_query(request)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self.feeds.are_full:
            raise RequestError(f"{len(self.feeds)} pages are open, the limit for live pages: close some", 503)
        await self.answers.of(page, given)
        session: Session = request.scope["state"]["session"]
        stream = self.feeds.stream(lambda: self.answers.of(page, given), session)
        return StreamingResponse(stream, media_type="text/event-stream", headers=_STREAM)

    async def _static(self, request: Request) -> Response:
        return self.static.answer(request.path_params["version"], request.path_params["name"])

    def _error(self, request: Request, status: int, message: str) -> Response:
        return self.rendering.page(
            "error", status, initial=None, message=message, status=status, **self._whose(request)
        )

    def _whose(self, request: Request) -> dict[str, Any]:
        """What a template needs to know of whoever looks."""
        session: Session | None = request.scope["state"]["session"]
        signed_in = session is not None and self.login.password is not None
        return {"csrf": session.token if session else "", "signed_in": signed_in}


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _page_and_query(request: Request) -> tuple[str, dict[str, str]]:
    """`page_name` names the page, because the overview has a `page` of its own."""
    given = dict(request.query_params)
    return given.pop("page_name", ""), given
