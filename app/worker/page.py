"""The hello page and the health checks of one worker: plain HTTP, no script, nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.clock import Instant
from app.worker.work import JobInHand, Work

STUCK_AFTER_S = 90.0
"""Without a turn for this long the worker's thread hangs: nothing that it waits for, not even the look-up of a name
while DNS is down, takes longer."""

_HERE = Path(__file__).parent
_STYLE = (_HERE / "hello.css").read_text(encoding="utf-8")
_PAGE = Template((_HERE / "hello.html").read_text(encoding="utf-8"))
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Who:
    """What stays the same as long as the worker lives."""

    name: str
    """The pod's name, or the host's."""
    tube: str
    server: str
    """beanstalkd's HOST:PORT."""
    seconds_per_job: float


def hello_app(who: Who, work: Callable[[], Work], clock: Callable[[], Instant]) -> Starlette:
    """`/` for people, `/livez` and `/readyz` for the kubelet; `work` tells what the worker is at."""

    async def hello(_request: Request) -> Response:
        return HTMLResponse(render(who, work(), clock()), headers=_HEADERS)

    async def livez(_request: Request) -> Response:
        return _check(stuck(work(), clock()))

    async def readyz(_request: Request) -> Response:
        return _check(unready(work()))

    return Starlette(routes=[Route("/", hello), Route("/livez", livez), Route("/readyz", readyz)])


def stuck(work: Work, now: Instant) -> str:
    """Why the worker must be restarted; empty while its thread turns."""
    age_s = work.turned.age_s(now)
    return f"the worker's thread made its last turn {age_s:.0f} s ago" if age_s > STUCK_AFTER_S else ""


def unready(work: Work) -> str:
    """Why the worker can't work; empty while it is connected."""
    return "" if work.connected else (work.trouble or "connecting to beanstalkd")


def _check(trouble: str) -> Response:
    return PlainTextResponse(f"{trouble or 'ok'}\n", status_code=503 if trouble else 200, headers=_HEADERS)


def render(who: Who, work: Work, now: Instant) -> str:
    """The whole page as HTML; every value in it is escaped."""
    return _PAGE.substitute(
        style=_STYLE,
        title=escape(f"{_short(work)} · {who.name}"),
        name=escape(who.name),
        doing=_doing(who, work, now),
        done=escape(_done(work)),
        tube=escape(who.tube),
        server=escape(who.server),
        uptime=escape(spoken(work.started.age_s(now))),
    )


def _short(work: Work) -> str:
    if not work.connected:
        return "Not connected"
    return f"Job {work.job.id}" if work.job else "Waiting"


def _doing(who: Who, work: Work, now: Instant) -> str:
    if not work.connected:
        return f'<p class="trouble">Not connected: {escape(unready(work))}. I keep trying.</p>'
    if not work.job:
        return f'<p>Waiting for a job in <span class="name">{escape(who.tube)}</span>.</p>'
    return _progress(work.job, who.seconds_per_job, now)


def _progress(job: JobInHand, whole_s: float, now: Instant) -> str:
    worked_s = min(job.taken.age_s(now), whole_s)
    sentence = (
        f"<p>Working on <strong>job {job.id}</strong> ({job.size_bytes:,} bytes): {worked_s:.1f} of {whole_s:g} s.</p>"
    )
    if not whole_s:  # HTML takes max="0" for 1
        return sentence
    return f'{sentence}<progress max="{whole_s:g}" value="{worked_s:.2f}" aria-label="job {job.id}"></progress>'


def _done(work: Work) -> str:
    return f"{work.done}, and {work.lost} lost on the way" if work.lost else str(work.done)


def spoken(seconds: float) -> str:
    """A time span by its two largest units: `42 s`, `3 min 5 s`, `2 h 7 min`, `4 d 1 h`."""
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {s} s" if minutes else f"{s} s"
