"""The console's routes: pages, their JSON, their feeds, signing in, and static files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.console.errors import error_handlers
from app.console.feed import Feeds
from app.console.login import LoginRoutes, Session
from app.console.page_data import PageData
from app.console.rendering import Rendering, StaticFiles

PAGES = {"overview": "/", "tube": "/tube", "autoscalers": "/autoscalers", "autoscaler": "/autoscaler"}


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes and what they use."""

    data: PageData
    feeds: Feeds
    rendering: Rendering
    static: StaticFiles
    login: LoginRoutes

    def application(self, more: Sequence[BaseRoute] = ()) -> Starlette:
        """Return the application of all routes, below the path prefix; `more`: those of actions and jobs."""
        application = Starlette(
            routes=[
                *(Route(path, partial(self._page, name)) for name, path in PAGES.items()),
                *(Route(f"/api/{name}", partial(self._json, name)) for name in PAGES),
                Route("/events", self.feeds, methods=["GET"]),
                Route("/login", self.login.page),
                Route("/login", self.login.sign_in, methods=["POST"]),
                Route("/logout", self.login.sign_out, methods=["POST"]),
                Route("/static/{version}/{name:path}", self.static.serve),
                Route("/healthz", PlainTextResponse("ok\n"), methods=["GET"]),
                *more,
            ],
            exception_handlers=error_handlers(self._error),
        )
        application.router.redirect_slashes = False  # it doesn't know the path prefix, and trusts the Host header
        return application

    async def _page(self, name: str, request: Request) -> Response:
        page = await self.data.get(name, dict(request.query_params))
        session: Session = request.scope["state"]["session"]
        signed_in = self.login.password is not None
        render = partial(self.rendering.page, name, csrf=session.token, signed_in=signed_in, initial=page.data)
        return await self.data.run(render)

    async def _json(self, name: str, request: Request) -> Response:
        page = await self.data.get(name, dict(request.query_params))
        return Response(page.json, media_type="application/json")

    def _error(self, status: int, message: str) -> Response:
        return self.rendering.page("error", status, message=message, status=status)
