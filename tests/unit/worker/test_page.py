"""The hello page and the health checks, from what the worker is at."""

import asyncio
import base64
import hashlib
import re

import httpx
import pytest

from app.clock import Instant
from app.worker.loop import CurrentJob, WorkerState
from app.worker.page import STUCK_AFTER_S, WorkerInfo, hello_app, render

WHO = WorkerInfo("hello-7d9f", "hello-world", "beanstalkd:11300", seconds_per_job=5)
EVIL = "<b>&\"'$"


def at(seconds: float) -> Instant:
    return Instant(1_700_000_000 + seconds, seconds)


IDLE = WorkerState(started_at=at(0), active_at=at(10), connected=True)
BUSY = WorkerState(started_at=at(0), active_at=at(10), connected=True, job=CurrentJob(17, 1500, at(8)), done=3)
CUT_OFF = WorkerState(started_at=at(0), active_at=at(10), error="beanstalkd b:1: connection refused")


def ask(state: WorkerState, now: Instant, path: str, method: str = "GET") -> httpx.Response:
    async def exchange() -> httpx.Response:
        page = httpx.ASGITransport(hello_app(WHO, lambda: state, lambda: now))
        async with httpx.AsyncClient(transport=page, base_url="http://worker") as client:
            return await client.request(method, path)

    return asyncio.run(exchange())


def test_an_idle_worker_shows_its_name_and_tube() -> None:
    page = render(WHO, IDLE, at(65))
    for shown in ("hello-7d9f", "beanstalkd:11300", "Waiting for a job", "1 min 5 s"):
        assert shown in page


def test_a_busy_worker_shows_its_job_and_how_far_it_is() -> None:
    page = render(WHO, BUSY, at(10))
    assert "<strong>job 17</strong> (1,500 bytes): 2.0 of 5 s" in page
    assert '<progress max="5" value="2.00"' in page
    assert "<dd>3</dd>" in page


def test_progress_never_exceeds_100_percent() -> None:
    assert "5.0 of 5 s" in render(WHO, BUSY, at(20))


def test_a_job_without_duration_has_no_progress_bar() -> None:
    assert "<progress" not in render(WorkerInfo("w", "t", "s", seconds_per_job=0), BUSY, at(10))


def test_a_disconnected_worker_shows_the_reason() -> None:
    page = render(WHO, CUT_OFF, at(10))
    assert "Not connected: beanstalkd b:1: connection refused" in page
    assert "<title>Not connected" in page


def test_every_value_is_text() -> None:
    work = WorkerState(started_at=at(0), active_at=at(0), error=EVIL)
    page = render(WorkerInfo(EVIL, EVIL, EVIL, 5), work, at(0))
    assert EVIL not in page
    assert "<b>" not in page


def test_the_policy_allows_only_the_pages_own_style_and_no_script() -> None:
    answer = ask(IDLE, at(10), "/")
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "style=" not in answer.text
    assert "<script" not in answer.text


def test_the_page_loads_nothing_from_other_sites() -> None:
    page = render(WHO, BUSY, at(10)).replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"https?://|//[a-z]", page)


@pytest.mark.parametrize(("age_s", "status"), [(0, 200), (STUCK_AFTER_S, 200), (STUCK_AFTER_S + 1, 503)])
def test_a_worker_is_alive_while_its_thread_runs(age_s: float, status: int) -> None:
    answer = ask(CUT_OFF, at(10 + age_s), "/livez")
    assert answer.status_code == status
    assert ("last active 1 min 31 s ago" in answer.text) == (status == 503)


def test_a_worker_is_ready_while_it_is_connected() -> None:
    assert ask(BUSY, at(10), "/readyz").status_code == 200
    answer = ask(CUT_OFF, at(10), "/readyz")
    assert (answer.status_code, answer.text) == (503, "beanstalkd b:1: connection refused\n")


def test_the_page_only_accepts_get_and_head() -> None:
    assert ask(IDLE, at(10), "/", "POST").status_code == 405
    assert ask(IDLE, at(10), "/", "HEAD").status_code == 200
    assert ask(IDLE, at(10), "/etc/passwd").status_code == 404
