"""GET /api/find: jobs of a tube by what is in them, or its newest, and a sentence of how far the look went.

GET /api/jobs and /api/job: the jobs that come next, or one by its id, with what is in them.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app import clock
from app.beanstalkd.protocol import check_tube_name
from app.console.action_input import BadInputError, Fields
from app.console.action_requests import MOST_ID, Find, server_of
from app.console.payloads import payload
from app.console.threads import BusyError, Threads
from app.jobs import peek
from app.jobs.actions import Place, jobs, within
from app.jobs.client import BeanstalkdError
from app.jobs.peek import MOST_SHOWN, SEEN, SeenJob
from app.jobs.search import MOST_HITS, MOST_IDS, End, Found, find
from app.settings import SettingError

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
            found = await self._threads.call(lambda: peek.next_jobs(Place(state.server, tube)))
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
            found = await self._threads.call(lambda: peek.job(state.server, job_id))
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


SEARCHES_AT_ONCE = 2
LONGEST_S = 3
"""A look's time, in whole seconds."""
MOST_TEXT = 200
"""Characters to search for."""
_BYTES = 800
_CHARACTERS = 200
_DUMP_LINES = 2


class Searches:
    """Few at once: each asks beanstalkd thousands of questions."""

    def __init__(self, find_server: Find) -> None:
        self._find = find_server
        self._threads = Threads(SEARCHES_AT_ONCE, "find")

    def routes(self) -> list[BaseRoute]:
        """Below the path prefix."""
        return [Route("/api/find", self._answer)]

    async def _answer(self, request: Request) -> Response:
        try:
            fields = Fields(dict(request.query_params))
            state, tube, text = server_of(fields, self._find), check_tube_name(fields.text("name")), _text(fields)
            before = fields.whole("before", 1, MOST_ID) if "before" in fields else None
        except (BadInputError, SettingError) as error:
            return _search_refused(str(error), 400)
        try:
            found = await self._threads.call(
                lambda: find(Place(state.server, tube), text.encode(), before, within(LONGEST_S))
            )
        except BeanstalkdError as error:
            return _search_refused(str(error), 502)
        except BusyError:
            return _search_refused(
                f"{SEARCHES_AT_ONCE} looks for jobs are under way, and no more at once: try again in a moment", 503
            )
        return JSONResponse(found_json(found, tube, text))


def _text(fields: Fields) -> str:
    text = fields.text("q", "")
    if len(text) > MOST_TEXT:
        raise BadInputError(f"the text to search for has {len(text):,} characters, and may have {MOST_TEXT}")
    return text


def found_json(found: Found, tube: str, text: str) -> dict[str, Any]:
    """`before` is where the next look goes on; null where nothing is left. Ids are texts, as in jobs.py."""
    before = None if found.before is None else str(found.before)
    return {"jobs": [_hit(job) for job in found.hits], "told": told(found, tube, text), "before": before}


def _hit(job: SeenJob) -> dict[str, Any]:
    return {"id": str(job.id), "state": job.state, "age": job.age_s, "size": job.size, "beginning": beginning(job)}


def beginning(job: SeenJob) -> str:
    """About the first 200 characters, in one line; of bytes that are no text two lines of a hex dump. `…`: cut here."""
    shown = payload(job.beginning[:_BYTES], job.size)
    if shown.form == "hex":
        whole = shown.body
        some = "\n".join(whole.split("\n")[:_DUMP_LINES])
    else:
        whole = " ".join(shown.body.split())
        some = whole[:_CHARACTERS]
    return f"{some}…" if shown.truncated or some != whole else some


def told(found: Found, tube: str, text: str) -> str:
    """What was found, how far back it was looked, and what ended it."""
    if found.end is End.NO_JOBS:
        return f"Tube {tube} holds no job."
    return " ".join(part for part in (_hits(found, text), _way(found), _cut(found, text), _end(found)) if part)


def _hits(found: Found, text: str) -> str:
    if not text:
        return f"{jobs(len(found.hits))}, newest first." if found.hits else "No job of this tube."
    return f"{jobs(len(found.hits))} with this text among {found.seen:,} of this tube."


def _way(found: Found) -> str:
    if not found.looked:
        return "No id was looked at."
    if found.looked == 1:
        return f"Looked at id {found.top}."
    return f"Looked at {found.looked:,} ids of the server, from {found.top} back to {found.top - found.looked + 1}."


def _cut(found: Found, text: str) -> str:
    return f"Of {jobs(found.cut)} only the first {MOST_SHOWN >> 10} KiB were searched." if text and found.cut else ""


_ENDS = {
    End.ALL: "That is every job that the tube held.",
    End.FIRST_ID: "That is as far back as ids go.",
    End.HITS: f"It ended there because {MOST_HITS} are shown at once; there may be more.",
    End.IDS: f"It ended there because {MOST_IDS:,} ids are looked at in one go; there may be more.",
    End.TIME: f"It ended there because a look takes {LONGEST_S} s at most; there may be more.",
}


def _end(found: Found) -> str:
    unseen = (found.held or 0) - found.seen
    if found.end is End.FIRST_ID and unseen > 0:
        return f"That is as far back as ids go; {jobs(unseen)} more that the tube held are gone since, or far newer."
    return _ENDS[found.end]


def _search_refused(message: str, status: int) -> Response:
    return JSONResponse({"message": message}, status)
