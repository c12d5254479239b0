"""Errors of all routes: raised where they are found, and turned into a response here, in one format.

Scripts get JSON, `{"error": "<sentence>"}`; people get a page. Either way the status fits and the sentence is the same.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.jobs.actions import RefusedError
from app.jobs.client import BeanstalkdError
from app.settings import SettingError
from app.text import capital

FOR_SCRIPTS = ("/api/", "/events", "/actions/")
"""Paths whose errors are JSON."""
_WORDS: Mapping[int, str] = {
    404: "there is no such page",
    405: "this path doesn't accept this method",
    500: "internal error, see the console log; the action may have been applied: check before you retry",
}


class RequestError(Exception):
    """A request that the console doesn't fulfill; `str()` is a clause that names the cause."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


_STATUS: Mapping[type[Exception], int] = {
    SettingError: 400,
    RefusedError: 409,
    BeanstalkdError: 503,
}
"""HTTP status of each exception that other packages raise."""

type ErrorPage = Callable[[int, str], Response]
"""Renders status and sentence for people."""


def error_handlers(page: ErrorPage) -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """Return Starlette's exception handlers, for every exception that a route raises."""

    async def respond(request: Request, error: Exception) -> Response:
        message, status = message_and_status(error)
        request.scope["state"]["audit"]["error"] = message
        if request.scope["path"].startswith(FOR_SCRIPTS):
            return error_response(message, status)
        return page(status, sentence(message))

    return dict.fromkeys((RequestError, *_STATUS, HTTPException, Exception), respond)


def message_and_status(error: Exception) -> tuple[str, int]:
    """Return the clause and the HTTP status for an exception; an unknown one is an internal error (500)."""
    if isinstance(error, RequestError):
        return str(error), error.status
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return str(error), status
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _WORDS.get(status, "the console doesn't accept this request"), status


def error_response(message: str, status: int) -> JSONResponse:
    """Return the JSON for one error; `message` is a clause."""
    return JSONResponse({"error": sentence(message)}, status)


def sentence(clause: str) -> str:
    """Return a clause with a capital and a full stop, as the console shows it."""
    return f"{capital(clause)}{'' if clause.endswith('.') else '.'}"
