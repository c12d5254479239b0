"""The hello page and the health checks of one worker: plain HTTP, no scripts, nothing from other hosts."""

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
from app.text import count, duration
from app.worker.loop import WorkerState

STUCK_AFTER_S = 90.0
"""A worker's thread without activity for this long is stuck: all that it waits for takes less, also a DNS lookup that
fails."""

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
class WorkerInfo:
    """What doesn't change while the worker runs."""

    name: str
    """The pod's name, or the host's."""
    tube: str
    server: str
    """beanstalkd's HOST:PORT."""
    seconds_per_job: float


def hello_app(info: WorkerInfo, state: Callable[[], WorkerState], clock: Callable[[], Instant]) -> Starlette:
    """Return an application with `/` for people, and `/livez` and `/readyz` for the kubelet."""

    async def hello(_request: Request) -> Response:
        return HTMLResponse(render(info, state(), clock()), headers=_HEADERS)

    async def livez(_request: Request) -> Response:
        idle_s = state().active_at.age_s(clock())
        is_stuck = idle_s > STUCK_AFTER_S
        return _health(f"the worker's thread was last active {duration(idle_s)} ago" if is_stuck else "")

    async def readyz(_request: Request) -> Response:
        return _health(not_connected(state()))

    return Starlette(routes=[Route("/", hello), Route("/livez", livez), Route("/readyz", readyz)])


def not_connected(state: WorkerState) -> str:
    """Return why the worker can't work; empty while it is connected."""
    return "" if state.connected else (state.error or "connecting to beanstalkd")


def _health(error: str) -> Response:
    return PlainTextResponse(f"{error or 'ok'}\n", status_code=503 if error else 200, headers=_HEADERS)


def render(info: WorkerInfo, state: WorkerState, now: Instant) -> str:
    """Return the page as HTML; every value in it is escaped."""
    job = state.job
    if not state.connected:
        title = "Not connected"
        doing = f'<p class="trouble">Not connected: {escape(not_connected(state))}. Retrying.</p>'
    elif job is None:
        title = "Waiting"
        doing = f'<p>Waiting for a job in <span class="name">{escape(info.tube)}</span>.</p>'
    else:
        title, total_s = f"Job {job.id}", info.seconds_per_job
        done_s = min(job.reserved_at.age_s(now), total_s)
        progress = f"({count(job.size_bytes, 'byte')}): {done_s:.1f} of {total_s:g} s"
        doing = f"<p>Working on <strong>job {job.id}</strong> {progress}.</p>"
        if total_s:  # HTML reads max="0" as 1
            doing += f'<progress max="{total_s:g}" value="{done_s:.2f}" aria-label="job {job.id}"></progress>'
    return _PAGE.substitute(
        style=_STYLE,
        title=escape(f"{title} · {info.name}"),
        name=escape(info.name),
        doing=doing,
        done=f"{state.done}, and {state.lost} lost" if state.lost else str(state.done),
        tube=escape(info.tube),
        server=escape(info.server),
        uptime=duration(state.started_at.age_s(now)),
    )
