"""GET /api/jobs, /api/job and /api/find: the next jobs of a tube, one job by its ID, and a search for jobs.

Job IDs in JSON are strings: browsers round numbers beyond 2^53.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app import clock
from app.console.action_input import MAX_ID, ActionInput, Servers
from app.console.errors import RequestError
from app.console.middleware import JOBS
from app.console.payloads import payload
from app.console.threads import BusyError, Threads
from app.jobs.actions import State, stop_after
from app.jobs.peek import MAX_SHOWN, PeekedJob, job_by_id, next_jobs
from app.jobs.search import MAX_IDS, MAX_RESULTS, SearchResult, StopReason, search
from app.settings import Server
from app.text import count

MAX_PEEKS = 8
"""Requests for jobs that wait for beanstalkd at the same time."""
MAX_SEARCHES = 2
"""Fewer, as each sends thousands of commands."""
SEARCH_S = 3
"""Time limit of one search, in whole seconds."""
MAX_TEXT = 200
"""Characters to search for."""
_EXCERPT_BYTES = 800
_EXCERPT_CHARACTERS = 200
_EXCERPT_LINES = 2

type Json = Mapping[str, Any]


class JobRoutes:
    """Looks at jobs in threads of its own, so that actions don't wait for it."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._peeks = Threads(MAX_PEEKS, "peek")
        self._searches = Threads(MAX_SEARCHES, "search")

    def routes(self) -> list[BaseRoute]:
        """Return the routes, below the path prefix."""
        return [
            Route("/api/jobs", self._next_jobs),
            Route("/api/job", self._job),
            Route("/api/find", self._find),
        ]

    async def _next_jobs(self, request: Request) -> Response:
        ref = ActionInput(request.query_params).tube_ref(self._servers, "name")
        found = await self._peeks.call(lambda: next_jobs(ref))
        now_s = clock.now().unix_s
        _audit(request, ref.server, filter(None, found.values()), tube=ref.tube)
        return JSONResponse({state: job and job_json(job, now_s) for state, job in found.items()})

    async def _job(self, request: Request) -> Response:
        parameters = ActionInput(request.query_params)
        server, job_id = parameters.server(self._servers), parameters.integer("id", 1, MAX_ID)
        job = await self._peeks.call(lambda: job_by_id(server, job_id))
        if job is None:
            raise RequestError(f"there is no job {job_id}", 404)
        _audit(request, server, [job])
        return JSONResponse(job_json(job, clock.now().unix_s))

    async def _find(self, request: Request) -> Response:
        parameters = ActionInput(request.query_params)
        ref, text = parameters.tube_ref(self._servers, "name"), parameters.text("q", "")
        if len(text) > MAX_TEXT:
            raise RequestError(f"the search text has {len(text):,} characters, the limit is {MAX_TEXT}")
        before = parameters.integer("before", 1, MAX_ID) if "before" in parameters else None
        try:
            result = await self._searches.call(lambda: search(ref, text.encode(), before, stop_after(SEARCH_S)))
        except BusyError as error:
            raise BusyError(
                f"{MAX_SEARCHES} job searches are in progress, the limit; retry in a moment", 503
            ) from error
        _audit(request, ref.server, result.jobs, tube=ref.tube)
        return JSONResponse(search_json(result, ref.tube, text))


def _audit(request: Request, server: Server, jobs: Iterable[PeekedJob], **of: str) -> None:
    """Note for the audit log whose bodies are shown: they may be confidential."""
    request.scope["state"]["audit"] |= {"server": server.name, **of, JOBS: [job.id for job in jobs]}


def job_json(job: PeekedJob, now_s: float) -> Json:
    """Return one job as JSON; times in whole seconds."""
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


def search_json(result: SearchResult, tube: str, text: str) -> dict[str, Any]:
    """Return a search result as JSON; `before` is where the next search continues, null if nothing is left."""
    jobs = [
        {
            "id": str(job.id),
            "state": job.state,
            "age": job.age_s,
            "size": job.size,
            "beginning": excerpt(job),
            **({"timeLeft": job.time_left_s} if job.state == State.RESERVED else {}),
        }
        for job in result.jobs
    ]
    before = None if result.before is None else str(result.before)
    return {"jobs": jobs, "summary": summary(result, tube, text), "before": before}


def excerpt(job: PeekedJob) -> str:
    """Return up to 200 characters on one line, or two lines of hex dump for binary data; `…` marks a cut."""
    shown = payload(job.beginning[:_EXCERPT_BYTES], job.size)
    if shown.form == "hex":
        complete = shown.body
        part = "\n".join(complete.split("\n")[:_EXCERPT_LINES])
    else:
        complete = " ".join(shown.body.split())
        part = complete[:_EXCERPT_CHARACTERS]
    return f"{part}…" if shown.truncated or part != complete else part


_REASONS = {
    StopReason.ALL: "These are all jobs of the tube.",
    StopReason.FIRST_ID: "No lower IDs exist.",
    StopReason.RESULTS: f"Stopped at the limit of {MAX_RESULTS} jobs; there may be more.",
    StopReason.IDS: f"Stopped at the limit of {MAX_IDS:,} IDs; there may be more.",
    StopReason.TIME: f"Stopped at the {SEARCH_S} s limit; there may be more.",
}


def summary(result: SearchResult, tube: str, text: str) -> str:
    """Return sentences: what was found, how far the search got, and why it stopped."""
    if result.reason is StopReason.NO_JOBS:
        return f"Tube {tube} has no jobs."
    if text:
        sentences = [f"Found in {len(result.jobs):,} of {count(result.seen, 'job')} of this tube."]
    else:
        sentences = [f"{count(len(result.jobs), 'job')}, newest first." if result.jobs else "No jobs in this tube."]
    match result.examined:
        case 0:
            sentences.append("No ID was examined.")
        case 1:
            sentences.append(f"Examined ID {result.top}.")
        case number:
            last = result.top - number + 1
            sentences.append(f"Examined {count(number, 'ID')} of the server, from {result.top} down to {last}.")
    if text and result.cut:
        sentences.append(f"Only the first {MAX_SHOWN >> 10} KiB of {count(result.cut, 'job')} were searched.")
    sentences.append(_REASONS[result.reason])
    missing = (result.held or 0) - result.seen
    if result.reason is StopReason.FIRST_ID and missing > 0:
        sentences.append(f"The tube had {count(missing, 'more job')}: deleted meanwhile, or much newer.")
    return " ".join(sentences)
