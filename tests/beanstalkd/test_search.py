"""Looking for jobs in a real beanstalkd: of one tube among several, past gaps, after a restart, within bounds."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import greenstalk
import httpx
import pytest

from app.beanstalkd.reading import TubeRef
from app.console.jobs import JobRoutes
from app.jobs.actions import stop_after
from app.jobs.search import MAX_RESULTS, WINDOW, StopReason, search
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd, running_beanstalkd
from tests.beanstalkd.console_routes import with_errors
from tests.beanstalkd.jobs_there import Tubes

LONG = stop_after(3600)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Beanstalkd]:
    """One whose jobs outlive a restart."""
    yield from running_beanstalkd("-b", str(tmp_path))


@pytest.fixture
def large() -> Iterator[Beanstalkd]:
    """One that takes jobs of a megabyte."""
    yield from running_beanstalkd("-z", str(1 << 20))


def ids(ref: TubeRef, text: bytes = b"", before: int | None = None) -> list[int]:
    return [job.id for job in search(ref, text, before, LONG).jobs]


def delete(ref: TubeRef, *job_ids: int) -> None:
    with greenstalk.Client((ref.server.host, ref.server.port), encoding=None) as client:
        for job_id in job_ids:
            client.delete(job_id)


def test_jobs_of_every_state_are_found_in_their_tube_alone(ref: TubeRef, tubes: Tubes) -> None:
    ours = [tubes.put("a", b"Order 1 for Bean", state) for state in ("ready", "delayed", "buried", "reserved")]
    tubes.put("b", b"order 1 for bean")
    last = tubes.put("a", b"order 2")
    found = search(ref, b"ORDER 1", None, LONG)
    assert [(job.id, job.state) for job in found.jobs] == list(
        zip(ours[::-1], ("reserved", "buried", "delayed", "ready"), strict=True)
    )
    assert (found.top, found.seen, found.held, found.reason) == (last, 5, 5, StopReason.ALL)
    assert ids(ref) == [last, *ours[::-1]]
    assert ids(TubeRef(ref.server, "c")) == []


def test_searching_changes_nothing(ref: TubeRef, tubes: Tubes) -> None:
    tubes.put("a", b"one")
    reserved = tubes.put("a", b"two", "reserved")
    before, jobs = tubes.tube("a"), [tubes.job(each) for each in (1, reserved)]
    search(ref, b"o", None, LONG)
    search(TubeRef(ref.server, "not-there"), b"", None, LONG)
    assert (tubes.counts("a"), tubes.names()) == ({"ready": 1, "reserved": 1}, ["default", "a"])
    for was, now in zip([before, *jobs], [tubes.tube("a"), *(tubes.job(each) for each in (1, reserved))], strict=True):
        assert {key: value for key, value in was.items() if key not in {"age", "time-left"}} == {
            key: value for key, value in now.items() if key not in {"age", "time-left"}
        }


@pytest.mark.parametrize("body", [b"\x00\xffbe\r\nan\x00", "größer".encode(), b"x" * 65530 + b"bean"])
def test_any_bytes_are_searched(ref: TubeRef, tubes: Tubes, body: bytes) -> None:
    job = tubes.put("a", body)
    tubes.put("a", b"else")
    assert ids(ref, body[-4:]) == [job]


def test_of_a_larger_body_the_first_64_kib_are_searched(large: Beanstalkd) -> None:
    ref = TubeRef(Server("main", large.host, large.port), "a")
    tubes = Tubes(ref.server)
    job = tubes.put("a", b"bean" + b"x" * 200_000)
    tubes.put("a", b"x" * 200_000 + b"bean")
    other = tubes.put("a", b"a bean")
    found = search(ref, b"bean", None, LONG)
    assert ([each.id for each in found.jobs], found.cut, found.reason) == ([other, job], 2, StopReason.ALL)
    tubes.close()


def test_a_search_continues_where_it_ended_past_deleted_jobs(ref: TubeRef, tubes: Tubes) -> None:
    put = [tubes.put("a" if number % 3 else "b") for number in range(400)]
    delete(ref, *put[100:200], *put[-70:])
    left = [job_id for number, job_id in enumerate(put[:-70]) if number % 3 and not 100 <= number < 200][::-1]
    seen: list[int] = []
    before: int | None = None
    while True:
        found = search(ref, b"", before, LONG)
        assert len(found.jobs) <= MAX_RESULTS
        seen += [job.id for job in found.jobs]
        if found.before is None:
            break
        before = found.before
    assert seen == left


def test_a_search_ends_at_its_limit_of_ids_or_time(ref: TubeRef, tubes: Tubes) -> None:
    first = tubes.put("a")
    for _ in range(3 * WINDOW):
        tubes.put("b")
    bounded = search(ref, b"", None, LONG, 100)
    assert (bounded.jobs, bounded.examined, bounded.reason) == ((), 100, StopReason.IDS)
    late = search(ref, b"", None, stop_after(0))
    assert (late.jobs, late.examined, late.reason) == ((), 0, StopReason.TIME)
    assert late.before == 3 * WINDOW + 2
    assert ids(ref, before=late.before) == [first]


def test_jobs_restored_from_a_binlog_are_found_though_the_counter_restarted(kept: Beanstalkd) -> None:
    ref = TubeRef(Server("main", kept.host, kept.port), "a")
    tubes = Tubes(ref.server)
    put = [tubes.put("a" if number % 2 else "b") for number in range(300)]
    delete(ref, *put[5:50])
    tubes.close()
    kept.restart()
    again = Tubes(ref.server)
    assert again.stats()["total-jobs"] == 0
    assert ids(ref)[:3] == [300, 298, 296]
    new = again.put("a", b"new")
    found = search(ref, b"", None, LONG)
    assert (found.jobs[0].id, found.top) == (new, 301)
    again.close()


def test_a_few_restored_jobs_with_large_ids_are_found_by_the_next_jobs(kept: Beanstalkd) -> None:
    ref = TubeRef(Server("main", kept.host, kept.port), "a")
    tubes = Tubes(ref.server)
    put = [tubes.put("a") for _ in range(400)]
    delete(ref, *put[:150], *put[152:])
    tubes.close()
    kept.restart()
    assert ids(ref) == [152, 151]


@asynccontextmanager
async def searching(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(with_errors(JobRoutes({"main": server}).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        yield client


@pytest.fixture
async def asking(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with searching(server) as client:
        yield client


async def test_the_console_returns_jobs_and_one_sentence(asking: httpx.AsyncClient, tubes: Tubes) -> None:
    tubes.put("a", "Grüße".encode())
    tubes.put("a", b"else")
    answer = await asking.get("/api/find", params={"server": "main", "name": "a", "q": "GRüß"})
    assert answer.status_code == 200
    data: dict[str, Any] = answer.json()
    assert [(job["id"], job["state"], job["size"], job["beginning"]) for job in data["jobs"]] == [
        ("1", "ready", 7, "Grüße")
    ]
    assert data["summary"].startswith("Found in 1 of 2 jobs of this tube. Examined 2 IDs of the server, from 2")
    assert data["before"] is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("server=main", "Name is missing"),
        ("server=us&name=a", "No beanstalkd named 'us' is configured"),
        ("server=main&name=a&before=x", "Before must be an integer"),
        (f"server=main&name=a&q={'x' * 201}", "201 characters, the limit is 200"),
    ],
)
async def test_an_invalid_search_is_one_sentence(asking: httpx.AsyncClient, query: str, said: str) -> None:
    answer = await asking.get(f"/api/find?{query}")
    assert (answer.status_code, said in answer.json()["error"]) == (400, True)


async def test_two_searches_run_at_once_and_a_third_is_rejected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with searching(Server("main", *silent.getsockname())) as asking:
            two = [asyncio.create_task(asking.get("/api/find?server=main&name=a")) for _ in range(2)]
            connections = [await asyncio.to_thread(silent.accept) for _ in two]
            third = await asking.get("/api/find?server=main&name=a")
            for connection, _ in connections:
                connection.close()
            assert {answer.status_code for answer in await asyncio.gather(*two)} == {503}
    assert third.status_code == 503
    assert "2 job searches are in progress" in third.text


async def test_a_beanstalkd_that_is_down_is_named(asking: httpx.AsyncClient, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    answer = await asking.get("/api/find?server=main&name=a")
    assert (answer.status_code, "connection refused" in answer.json()["error"]) == (503, True)
