"""The age of the next job is the time for which a worker could have taken it, whatever happened to it before."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import greenstalk
import pytest

from app import clock
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.metrics.query import EvaluationContext, MetricError, MetricQuery
from app.metrics.resolve import resolve
from app.metrics.selector import parse_selector
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, client, first, polling, reading, until

pytestmark = pytest.mark.anyio
UNAVAILABLE_S = 2.5
"""For so long nobody can take the job, so that a wrong age is seen."""
TAKEABLE_S = 2.5

type Client = greenstalk.Client[bytes]
type History = Callable[[Beanstalkd, Client], Awaitable[None]]
"""What happens to the job before workers can take it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings ten times as often."""
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 0.1)


def age_s(poller: Poller, tube: str = "checkout") -> int | None:
    """Return the metric's value; None if it has none."""
    context = EvaluationContext(poller.snapshot, clock.now(), 15)
    query = MetricQuery("beanstalkd_tube_next_job_age_seconds", "shop", parse_selector(f"tube={tube}"))
    try:
        (value,) = resolve(query, context).values()
    except MetricError:
        return None
    return int(value.quantity)


async def put_with_delay(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job", delay=2)
    await asyncio.sleep(2)


async def release_with_delay(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job")
    jobs.release(jobs.reserve(), delay=2)
    await asyncio.sleep(2)


async def bury_and_kick(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job")
    jobs.bury(jobs.reserve())
    await asyncio.sleep(UNAVAILABLE_S)
    jobs.kick(1)


async def kick_while_delayed(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job", delay=3600)
    await asyncio.sleep(UNAVAILABLE_S)
    jobs.kick(1)


async def reserve_and_disconnect(server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job")
    with client(server, "checkout") as worker:
        worker.reserve()
        await asyncio.sleep(UNAVAILABLE_S)


async def time_out(server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job", ttr=2)
    with client(server, "checkout") as worker:
        worker.reserve()
        while worker.stats_tube("checkout")["current-jobs-reserved"]:  # beanstalkd may forget an idle worker's TTR
            await asyncio.sleep(0.02)


async def pause(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job")
    jobs.pause_tube("checkout", 2)
    await asyncio.sleep(2)


async def resume(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job")
    jobs.pause_tube("checkout", 3600)
    await asyncio.sleep(UNAVAILABLE_S)
    jobs.pause_tube("checkout", 0)


async def nothing(_server: Beanstalkd, jobs: Client) -> None:
    jobs.put(b"job")


@pytest.mark.parametrize(
    "history",
    [
        nothing,
        put_with_delay,
        release_with_delay,
        bury_and_kick,
        kick_while_delayed,
        reserve_and_disconnect,
        time_out,
        pause,
        resume,
    ],
)
async def test_it_counts_from_when_the_job_could_last_be_taken(beanstalkd: Beanstalkd, history: History) -> None:
    async with polling(address(beanstalkd), demand=Demand(ages=["checkout"])) as poller:
        with client(beanstalkd, "checkout") as jobs:
            task = asyncio.create_task(history(beanstalkd, jobs))
            before = set()
            while not task.done():
                before.add(age_s(poller))
                await asyncio.sleep(0.05)
            await task
            assert before <= {None, 0}
            began_s = time.monotonic()
            while (elapsed_s := time.monotonic() - began_s) < TAKEABLE_S:
                assert (age_s(poller) or 0) <= elapsed_s + 0.2
                await asyncio.sleep(0.05)
            assert (age_s(poller) or 0) >= int(TAKEABLE_S - 1)


async def test_a_job_that_a_binlog_restored_counts_from_the_restart(beanstalkd: Beanstalkd, tmp_path: Path) -> None:
    beanstalkd.keep_jobs(tmp_path)
    beanstalkd.restart()
    async with polling(address(beanstalkd), demand=Demand(ages=["checkout"])) as poller:
        with client(beanstalkd, "checkout") as jobs:
            jobs.put(b"job")
            await until(lambda: age_s(poller) == 2)
        before = reading(poller).server_id
        beanstalkd.restart()
        began_s = time.monotonic()
        await until(lambda: first(poller).failure is None and reading(poller).server_id != before)
        await until(lambda: age_s(poller) is not None)
        assert (age_s(poller) or 0) <= time.monotonic() - began_s + 1
        await until(lambda: age_s(poller) == 2)
        with client(beanstalkd, "checkout") as jobs:
            assert jobs.stats_job(jobs.peek_ready())["age"] >= 4


@pytest.mark.parametrize("reserved", [False, True])
async def test_a_job_that_was_behind_an_urgent_one_keeps_its_age(beanstalkd: Beanstalkd, reserved: bool) -> None:
    """The same if it was reserved before, so that it counts from when it was first seen."""
    async with polling(address(beanstalkd), demand=Demand(ages=["checkout"])) as poller:
        with client(beanstalkd, "checkout") as jobs:
            jobs.put(b"job", priority=2)
            if reserved:
                jobs.release(jobs.reserve(), priority=2)
            await until(lambda: age_s(poller) == 1)
            urgent = jobs.put(b"urgent", priority=1)
            await until(lambda: age_s(poller) == 0)
            await until(lambda: age_s(poller) == 1)
            jobs.delete(urgent)
            await until(lambda: age_s(poller) != 1)
            assert age_s(poller) in {2, 3}


async def test_another_job_with_its_own_history_is_next(beanstalkd: Beanstalkd) -> None:
    async with polling(address(beanstalkd), demand=Demand(ages=["checkout"])) as poller:
        with client(beanstalkd, "checkout") as jobs:
            jobs.put(b"first", priority=1)
            jobs.put(b"second", priority=2)
            jobs.release(jobs.reserve(), priority=1)
            await until(lambda: age_s(poller) == 1)
            jobs.release(jobs.reserve(), priority=1)  # it counts again
            await until(lambda: age_s(poller) == 0)
            jobs.delete(jobs.reserve())
            await until(lambda: (age_s(poller) or 0) >= 1)  # the second was never reserved: since its put


async def test_of_a_tube_that_was_paused_before_only_time_that_was_seen_counts(beanstalkd: Beanstalkd) -> None:
    """Nobody can know when the pause ended."""
    with client(beanstalkd, "checkout") as jobs:
        jobs.put(b"job")
        jobs.pause_tube("checkout", 1)
        await asyncio.sleep(2)
        async with polling(address(beanstalkd), demand=Demand(ages=["checkout"])) as poller:
            await until(lambda: age_s(poller) is not None)
            assert age_s(poller) == 0
            await until(lambda: age_s(poller) == 1)
