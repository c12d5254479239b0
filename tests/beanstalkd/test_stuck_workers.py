"""Workers that watch a tube and take none of its jobs are stuck; the timeouts of jobs are counted."""

import asyncio

import pytest

from app import clock
from app.api.telemetry import PollCollector
from app.beanstalkd.poller import Poller
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, client, first, polling, reading, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the time."""
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 0.1)
    monkeypatch.setattr("app.beanstalkd.reading.STUCK_AFTER_S", 1.0)


def metric(poller: Poller, name: str) -> float:
    (found,) = (each for each in PollCollector(lambda: poller.snapshot, clock.now, 15).collect() if each.name == name)
    (sample,) = found.samples
    assert sample.labels == {"server": "eu", "address": "127.0.0.1"}
    return sample.value


def stuck(poller: Poller) -> float:
    return metric(poller, "beanscale_tubes_stuck")


async def test_a_tube_is_stuck_while_its_workers_watch_it_and_take_nothing(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs, client(beanstalkd, "checkout") as worker:
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            jobs.put(b"job")
            jobs.put(b"job")
            await asyncio.sleep(0.5)
            assert (stuck(poller), reading(poller).stuck_s("checkout")) == (0, None)
            await until(lambda: stuck(poller) == 1, within_s=3)
            assert 1 <= (reading(poller).stuck_s("checkout") or 0) < 3
            job = worker.reserve()
            await until(lambda: stuck(poller) == 0, within_s=1)
            worker.delete(job)
            await until(lambda: stuck(poller) == 1, within_s=3)
            jobs.pause_tube("checkout", 3600)
            await until(lambda: stuck(poller) == 0, within_s=1)
            jobs.pause_tube("checkout", 0)
            await until(lambda: stuck(poller) == 1, within_s=3)
            jobs.delete(jobs.peek_ready())  # progress, though not a worker's
            await until(lambda: stuck(poller) == 0, within_s=1)


@pytest.mark.parametrize("how", ["bury", "release"])
async def test_workers_that_give_jobs_back_are_not_stuck(beanstalkd: Beanstalkd, how: str) -> None:
    """At each reading none is reserved, and a release changes no number of the tube."""
    with client(beanstalkd, "retries") as jobs:
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            for _ in range(40):
                jobs.put(b"job")
            for _ in range(20):
                job = jobs.reserve()
                if how == "bury":
                    jobs.bury(job)
                else:
                    jobs.release(job)
                await asyncio.sleep(0.15)
                assert stuck(poller) == 0


async def test_producers_of_the_tube_default_are_not_stuck_workers(beanstalkd: Beanstalkd) -> None:
    """Each connection watches `default` until it watches another tube and ignores this one."""
    with client(beanstalkd, "default") as producer, client(beanstalkd, "other") as worker:
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            for each in (producer, worker):
                each.put(b"job")
            await until(lambda: stuck(poller) == 1, within_s=3)
            assert reading(poller).stuck_s("default") is None
            assert reading(poller).stuck_s("other") is not None


async def test_a_tube_without_workers_or_whose_workers_are_fast_is_not_stuck(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "fast") as jobs, client(beanstalkd, "default") as nobody:
        nobody.use("unwatched")
        nobody.put(b"job")
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            jobs.put(b"job")
            for _ in range(20):  # at each reading a job is ready and none is reserved
                jobs.put(b"job")
                jobs.delete(jobs.reserve())
                await asyncio.sleep(0.1)
                assert stuck(poller) == 0


async def test_timeouts_are_counted(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as worker:
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            assert metric(poller, "beanscale_job_timeouts") == 0
            worker.put(b"job", ttr=1)
            worker.reserve()
            while not worker.stats()["job-timeouts"]:  # beanstalkd may forget an idle worker's time to run
                await asyncio.sleep(0.02)
            await until(lambda: metric(poller, "beanscale_job_timeouts") == 1)
            assert reading(poller).jobs.timeouts == 1  # type: ignore[union-attr]
            await until(lambda: (reading(poller).timeouts_per_second or 0) > 0)
