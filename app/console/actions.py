"""What each action is asked with, as something that can be done: read whole before anything is.

What an action is asked with: JSON, or a form with a file, as checked values. Every mistake is one sentence.

Which beanstalkd a page means, as an address to connect to.

POST /actions/NAME: what a person does, and what came of it in a sentence.

The guard has checked session, token, origin and read-only before anything here runs.
"""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app.clock import Instant
from app.console.action_input import BadInputError, fields_of
from app.console.action_requests import NAMES, Find, NamedTube, Wanted, named_tube, wanted
from app.console.events import Event
from app.console.load_test import Labs
from app.console.threads import BusyError, Threads
from app.jobs.actions import (
    Done,
    RefusedError,
)
from app.jobs.client import BeanstalkdError
from app.settings import SettingError


class _NoSuchActionError(Exception):
    pass


_STATUS: dict[type[Exception], int] = {
    BadInputError: 400,
    SettingError: 400,
    _NoSuchActionError: 404,
    RefusedError: 409,
    BeanstalkdError: 502,
    BusyError: 503,
}


class Actions:
    """All of them."""

    def __init__(
        self,
        find: Find,
        labs: Labs,
        threads: Threads,
        tell: Callable[[Sequence[Event]], None],
        clock: Callable[[], Instant],
    ) -> None:
        self._find = find
        self._labs = labs
        self._threads = threads
        self._tell = tell
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Below the path prefix."""
        return [Route("/actions/{name}", self._answer, methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        audit: dict[str, Any] = request.scope["state"]["audit"]
        try:
            done = await self._do(request.path_params["name"], request, audit)
        except tuple(_STATUS) as error:
            audit["told"] = str(error)
            status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
            return _told(Done(str(error)), status)
        audit["told"] = done.message
        return _told(done, 200)

    async def _do(self, name: str, request: Request, audit: dict[str, Any]) -> Done:
        if name == "lab-stop":
            return await self._labs.stop()
        if name != "lab-start" and name not in NAMES:
            raise _NoSuchActionError(f"there is no action {name[:40]!r}")
        fields = await fields_of(request)
        named = named_tube(fields, self._find)
        audit |= {"server": named.state.server.name, "tube": named.tube}
        if name == "lab-start":
            done = await self._labs.start(fields, named)
            self._note("put", named, done)
            return done
        what = wanted(name, fields, named, self._find)
        done = await self._threads.call(lambda: what.act(named.place))
        self._note_all(what, named, done)
        return done

    def _note_all(self, what: Wanted, named: NamedTube, done: Done) -> None:
        for each in (named, what.to):
            if each is not None:
                self._note(what.kind, each, done)

    def _note(self, kind: str, named: NamedTube, done: Done) -> None:
        self._tell([Event(self._clock().unix_s, kind, done.message, named.state.server, named.tube)])


def _told(done: Done, status: int) -> Response:
    return JSONResponse(
        {
            "ok": status == 200,
            "message": f"{done.message[:1].upper()}{done.message[1:]}.",
            "count": done.count,
            "id": None if done.id is None else str(done.id),  # as in jobs.py
            "more": done.more,
        },
        status,
    )
