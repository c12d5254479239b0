"""The age of the next job: asked for on a connection of its own, and nothing else notices."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from app import clock
from app.beanstalkd.connection import connect
from app.beanstalkd.demand import Demand
from app.beanstalkd.next_job import MAX_JOB, NextJobReader
from app.beanstalkd.protocol import ProtocolError
from app.beanstalkd.reading import NextJob
from app.beanstalkd.session import read_server_id
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, beanstalkds, client, fill, first, polling, pretender, reading, until

pytestmark = pytest.mark.anyio
HUGE = 50_000_000
"""Bytes: far more than what two sockets hold."""

STATS = b"OK 26\r\n---\nid: 00ffff\nuptime: 99\n\r\n"
"""A pretender's answer to `stats`."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings ten times as often."""
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 0.1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing waits for the answers they may take their time."""
    monkeypatch.setattr("app.beanstalkd.next_job.TIMEOUT_S", 60)


async def ages(server: Beanstalkd, *tubes: str) -> dict[str, int | None]:
    found: dict[str, NextJob] = {}
    async with connect(server.host, server.port) as connection:
        server_id = await read_server_id(connection)
    await NextJobReader(server.host, server.port, server_id, Demand(), clock.now).read_ages(tubes, found)
    return {tube: job.age_s for tube, job in found.items()}


def young(ages: dict[str, int | None], began_s: float) -> list[str]:
    """The tubes whose next job has an age, and is no older than this test."""
    longest_s = time.monotonic() - began_s + 1
    return [tube for tube, age_s in ages.items() if age_s is not None and age_s <= longest_s]


@pytest.mark.usefixtures("patient")
async def test_the_age_is_that_of_the_job_that_would_be_reserved_next(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        old = jobs.put(b"old", priority=2)
        await asyncio.sleep(1.1)
        urgent = jobs.put(b"urgent", priority=1)
        for job in (urgent, old):
            before_s = jobs.stats_job(job)["age"]
            asked = await ages(beanstalkd, "checkout", "empty")
            assert asked == {"checkout": asked["checkout"], "empty": None}
            assert before_s <= (asked["checkout"] or 0) <= jobs.stats_job(job)["age"]
            jobs.delete(jobs.reserve())
        assert before_s >= 1


@pytest.mark.usefixtures("patient")
async def test_the_ages_of_many_tubes_are_read(beanstalkd: Beanstalkd) -> None:
    names, began_s = [f"tube-{number:05}" for number in range(50)], time.monotonic()
    with client(beanstalkd, "default") as jobs:
        for name in names:
            jobs.use(name)
            jobs.put(b"x" * 60_000)
        assert sorted(young(await ages(beanstalkd, *names), began_s)) == names


@pytest.fixture
def roomy() -> Iterator[Beanstalkd]:
    """It takes jobs of 100 MB."""
    binary = shutil.which("beanstalkd")
    assert binary
    server = Beanstalkd(binary)
    process = subprocess.Popen([binary, "-l", server.host, "-p", str(server.port), "-z", "100000000"])
    while not server._answers():  # noqa: SLF001 - as its own start does
        time.sleep(0.01)
    yield server
    process.kill()
    process.wait()


@pytest.mark.usefixtures("patient")
async def test_the_age_of_a_huge_job_is_known_without_its_body(roomy: Beanstalkd) -> None:
    sizes, began_s = {"before": 1, "huge": HUGE, "limit": MAX_JOB, "beyond": MAX_JOB + 1}, time.monotonic()
    with client(roomy, "before") as jobs:
        for tube, size in sizes.items():
            jobs.use(tube)
            jobs.put(b"x" * size)
        before = loopback_bytes()
        assert sorted(young(await ages(roomy, *sizes), began_s)) == sorted(sizes)
        assert loopback_bytes() - before < HUGE / 2
        await until(lambda: jobs.stats()["current-connections"] == 1)  # this test's own


def loopback_bytes() -> int:
    """What came over it so far."""
    interfaces = Path("/proc/net/dev").read_text(encoding="ascii")
    return int(interfaces.partition(" lo:")[2].split()[0])


async def test_it_is_read_while_it_is_requested_and_jobs_are_ready(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            assert dict(reading(poller).next_jobs) == {}
            poller.demand.request_ages(["checkout", "nobody"], clock.now())
            await until(lambda: len(reading(poller).next_jobs) == 2)
            assert {job.age_s for job in reading(poller).next_jobs.values()} == {None}
            jobs.put(b"job")
            await until(lambda: reading(poller).next_jobs["checkout"].age_s is not None)
            asked = reading(poller).next_jobs["checkout"].answered_at
            await until(lambda: reading(poller).next_jobs["checkout"].answered_at != asked)
            jobs.delete(jobs.reserve())
            await until(lambda: reading(poller).next_jobs["checkout"].age_s is None)


async def test_it_is_read_within_a_long_sweep_too(beanstalkd: Beanstalkd) -> None:
    fill(beanstalkd, 3000)
    with client(beanstalkd, "checkout") as jobs:
        jobs.put(b"job")
        async with polling(address(beanstalkd), demand=Demand(ages=["checkout"])) as poller:
            await until(lambda: first(poller).reading is not None)
            listings, answers = set(), set()
            while len(listings) < 4:
                await asyncio.sleep(0.01)
                job = reading(poller).next_jobs.get("checkout")
                listings.add(reading(poller).listed_at.monotonic_s)
                answers.add(job.answered_at.monotonic_s if job else 0)
            default = reading(poller).tubes["default"]
    assert len(answers) >= 3 * len(listings), "it must be asked several times from one sweep to the next"
    assert (default.current_using, default.current_watching) == (0, 0)


async def test_the_age_of_another_beanstalkd_at_the_same_address_is_discarded() -> None:
    """As behind a Service while its pod is replaced: the connection to the old one still holds, a new one goes to the
    new one."""
    with beanstalkds("127.0.0.1", "127.0.0.2") as (old, new), client(old, "checkout") as jobs:
        jobs.put(b"job")
        await asyncio.sleep(1.1)
        backends = chain([old], repeat(new))

        async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            backend = next(backends)
            behind_reader, behind_writer = await asyncio.open_connection(backend.host, backend.port)
            await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

        async with pretender(hand_on) as service, polling(service, demand=Demand(ages=["checkout"])) as poller:
            await until(lambda: first(poller).reading is not None)
            await asyncio.sleep(0.5)
            assert reading(poller).tubes["checkout"].current_jobs_ready == 1
            assert "checkout" not in reading(poller).next_jobs


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(1 << 16):
        writer.write(some)
    writer.close()


async def test_its_failure_affects_nothing_else_and_keeps_the_old_age() -> None:
    """A beanstalkd without a file descriptor left accepts connections, in the kernel, and never answers."""
    probes = 0

    def stats_of(tube: str) -> bytes:
        fields = ["urgent", "ready", "reserved", "delayed", "buried"]
        jobs = "".join(f"current-jobs-{field}: 1\n" for field in fields)
        rest = "total-jobs: 1\ncurrent-using: 0\ncurrent-watching: 0\ncurrent-waiting: 0\ncmd-delete: 0\n"
        body = f"---\nname: {tube}\n{jobs}{rest}cmd-pause-tube: 0\npause: 0\npause-time-left: 0\n".encode()
        return b"OK %d\r\n%b\r\n" % (len(body), body)

    answers = {
        b"stats": STATS,
        b"list-tubes": b"OK 13\r\n---\n- waiting\r\n",
        b"use": b"USING waiting\r\n",
        b"peek-ready": b"FOUND 1 1\r\nx\r\n",
        b"stats-job": b"OK 48\r\n---\nid: 1\nage: 77\ndelay: 0\nreserves: 0\nkicks: 0\n\r\n",
        b"stats-tube": stats_of("waiting"),
        b"quit": b"",
    }

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal probes
        while line := await reader.readline():
            probes += line.startswith(b"use ")
            if line.startswith(b"use ") and probes > 1:
                break
            writer.write(answers[line.split()[0]])
            if line == b"quit\r\n":
                return
        await reader.read()

    async with pretender(converse) as server, polling(server, demand=Demand(ages=["waiting"])) as poller:
        await until(lambda: probes > 1)
        before = reading(poller).listed_at
        await until(lambda: reading(poller).listed_at != before)
        assert first(poller).failure is None
        job = reading(poller).next_jobs["waiting"]
    assert job.age_s == 77
    assert job.answered_at.age_s(clock.now()) > 0.5


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ([b"USING other\r\n"], "'USING other' to use checkout"),
        ([b"USING checkout\r\n", b"FOUND x 1\r\nx\r\n", b"OK 16\r\n---\nid: 8\nage: 1\r\n"], "without this job's age"),
        ([b"USING checkout\r\n", b"FOUND 7 1\r\nx\r\n", b"OK 16\r\n---\nid: 8\nage: 1\r\n"], "without this job's age"),
        ([b"USING checkout\r\n", b"FOUND 7 1\r\nx\r\n", b"OK 99999\r\n"], "announced a body of 99,999 bytes"),
        ([b"USING checkout\r\n", b"FOUND 7 9\r\nx"], "closed the connection"),
        ([b"x" * 200_000], "doesn't end"),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_invalid_replies_are_never_used(answers: list[bytes], complaint: str) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (STATS, *answers):
            await reader.readline()
            writer.write(answer)
            await writer.drain()

    found: dict[str, NextJob] = {}
    async with pretender(converse) as server:
        reader = NextJobReader(server.host, server.port, "00ffff", Demand(), clock.now)
        with pytest.raises(ProtocolError, match=complaint):
            await reader.read_ages(["checkout"], found)
    assert not found


SWEPT = {"cmd-stats", "cmd-stats-tube", "cmd-list-tubes"}
PROBED = {"cmd-stats-job", "cmd-use", "cmd-peek-ready", "total-connections"}
"""The counters that are ours to move."""


@pytest.mark.parametrize(
    ("tubes", "sweeps", "ages", "ours"),
    [
        pytest.param(1000, 20, ["checkout", "fleeting"], SWEPT | PROBED, id="with questions for ages"),
        pytest.param(5, 3600, [], SWEPT, id="an hour's worth"),
    ],
)
@pytest.mark.timeout(500)
async def test_polling_changes_nothing(
    beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch, tubes: int, sweeps: int, ages: list[str], ours: set[str]
) -> None:
    """Sweeps, rounds and questions for ages move their own counters alone, and no tube lives on for them."""
    if not ages:  # as often as it goes
        monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 0.005)
        monkeypatch.setattr("app.beanstalkd.session.BUSY_SHARE", 1.0)
    fill(beanstalkd, tubes)
    with client(beanstalkd, "checkout") as jobs, client(beanstalkd, "fleeting") as leaving:
        jobs.put(b"job")
        leaving.put(b"job")
        before, names, default = jobs.stats(), set(jobs.tubes()), jobs.stats_tube("default")
        async with polling(address(beanstalkd), demand=Demand(["checkout"], ages)) as poller:
            await until(lambda: first(poller).reading is not None and len(reading(poller).next_jobs) == len(ages))
            async with asyncio.timeout(400):
                while jobs.stats()["cmd-list-tubes"] < before["cmd-list-tubes"] + sweeps:
                    await asyncio.sleep(0.2)
            assert [job.age_s is None for job in reading(poller).next_jobs.values()] == [False] * len(ages)
        await until(lambda: jobs.stats()["current-connections"] == before["current-connections"])
        after = jobs.stats()
        assert set(jobs.tubes()) == names
        assert jobs.stats_tube("default") == default
        leaving.delete(leaving.reserve())
        leaving.close()
        await until(lambda: "fleeting" not in jobs.tubes())
    moved = {field for field in before if before[field] != after[field]}
    assert moved >= ours
    assert moved <= ours | {"total-connections", "uptime", "rusage-utime", "rusage-stime"}
