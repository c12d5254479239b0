"""GET /api/jobs and /api/job: the jobs that come next, or one by its id, with what is in them."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app import clock
from app.console.fields import BadInputError, Fields
from app.console.payloads import payload
from app.console.places import reached
from app.console.threads import BusyError, Threads
from app.console.wanted import MOST_ID, Find, server_of
from app.settings import SettingError
from app.tubes import peeking
from app.tubes.acting import Place
from app.tubes.jobs import BeanstalkdError
from app.tubes.names import check_tube_name
from app.tubes.peeking import SEEN, SeenJob

AT_ONCE = 8

type Json = Mapping[str, Any]


class Looks:
    """On threads of their own: who looks keeps nobody from acting."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._threads = Threads(AT_ONCE, "look")

    def routes(self) -> list[BaseRoute]:
        """Below the path prefix."""
        return [Route("/api/jobs", self._next_jobs), Route("/api/job", self._job)]

    async def _next_jobs(self, request: Request) -> Response:
        try:
            fields = Fields(dict(request.query_params))
            state, tube = server_of(fields, self._find), check_tube_name(fields.text("name"))
        except (BadInputError, SettingError) as error:
            return _refused(error, 400)
        try:
            found = await self._threads.call(lambda: peeking.next_jobs(Place(reached(state), tube)))
        except (BeanstalkdError, BusyError) as error:
            return JSONResponse({**dict.fromkeys(SEEN), "error": str(error)})
        now_s = clock.now().unix_s
        return JSONResponse({**{each: job and job_json(job, now_s) for each, job in found.items()}, "error": None})

    async def _job(self, request: Request) -> Response:
        try:
            fields = Fields(dict(request.query_params))
            state, job_id = server_of(fields, self._find), fields.whole("id", 1, MOST_ID)
        except (BadInputError, SettingError) as error:
            return _refused(error, 400)
        try:
            found = await self._threads.call(lambda: peeking.job(reached(state), job_id))
        except BeanstalkdError as error:
            return _refused(error, 502)
        except BusyError as error:
            return _refused(error, 503)
        if found is None:
            return JSONResponse({"message": f"there is no job {job_id} (any more)"}, 404)
        return JSONResponse(job_json(found, clock.now().unix_s))


def job_json(job: SeenJob, now_s: float) -> Json:
    """One job; times in whole seconds. Its id is a text: a browser rounds numbers beyond 2^53."""
    shown = payload(job.beginning, job.size)
    return {
        "id": str(job.id),
        "born": round(now_s) - job.age_s,
        "state": job.state,
        "tube": job.tube,
        "pri": job.pri,
        "age": job.age_s,
        "delay": job.delay_s,
        "ttr": job.ttr_s,
        "timeLeft": job.time_left_s,
        "reserves": job.reserves,
        "timeouts": job.timeouts,
        "releases": job.releases,
        "buries": job.buries,
        "kicks": job.kicks,
        "size": shown.size,
        "shown": shown.shown,
        "truncated": shown.truncated,
        "form": shown.form,
        "body": shown.body,
        "raw": shown.raw,
    }


def _refused(error: Exception, status: int) -> Response:
    return JSONResponse({"message": str(error)}, status)
