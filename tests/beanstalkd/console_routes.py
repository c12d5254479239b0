"""Console routes without the middleware that guards them."""

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.console.errors import error_handlers


def with_errors(routes: Sequence[BaseRoute], audits: list[dict[str, Any]] | None = None) -> ASGIApp:
    """Return an application that responds to errors as the console does; `audits` gets what each request logs."""
    handlers = error_handlers(lambda status, message: PlainTextResponse(message, status))
    inner = Starlette(routes=routes, exception_handlers=handlers)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        audit: dict[str, Any] = {}
        if audits is not None:
            audits.append(audit)
        scope["state"] = {"audit": audit}
        await inner(scope, receive, send)

    return application
