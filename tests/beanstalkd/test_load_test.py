"""The load test puts real jobs at the rate given, and ends by itself, when it is stopped, and when it fails."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from app import clock
from app.beanstalkd.reading import TubeRef
from app.console.autoscalers import AutoscalerStore
from app.console.load_test import Forecast, LoadTest, Plan
from app.console.overview import View
from app.console.prediction import Load
from app.jobs.actions import RefusedError
from app.settings import ObjectName, Server
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.jobs_there import Tubes

NAME = ObjectName("shop", "orders")
NOTHING = Forecast((), "")


@pytest.fixture
def ref(beanstalkd: Beanstalkd) -> TubeRef:
    return TubeRef(Server("main", beanstalkd.host, beanstalkd.port), "orders")


@pytest.fixture
def tubes(ref: TubeRef) -> Iterator[Tubes]:
    looking = Tubes(ref.server)
    yield looking
    looking.close()


def load_test() -> LoadTest:
    def view() -> View:
        raise AssertionError("no forecast is needed")

    return LoadTest(clock.now, view, AutoscalerStore("no cluster"))


def plan(ref: TubeRef, jobs: int, per_second: int) -> Plan:
    return Plan(ref, Load(jobs, per_second), b"xx", 5, 30, NAME)


async def until_it_puts(load: LoadTest) -> None:
    async with asyncio.timeout(60):
        while not ((data := load.to_json(NAME)) and data["put"]):
            await asyncio.sleep(0.02)


async def until_it_ends(load: LoadTest) -> dict[str, object]:
    deadline_s = time.monotonic() + 60
    while (data := load.to_json(NAME)) and data["running"]:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    assert data
    return data


async def test_all_jobs_are_put_at_the_rate_and_then_it_ends(ref: TubeRef, tubes: Tubes) -> None:
    load, begun_s = load_test(), time.monotonic()
    done = load.run(plan(ref, 200, 100), NOTHING)
    assert done.message == "started to put 200 jobs into tube orders, 100 per second"
    data = await until_it_ends(load)
    assert (data["put"], data["of"], data["error"]) == (200, 200, None)
    assert time.monotonic() - begun_s > 1.8
    assert tubes.counts("orders") == {"ready": 200}
    job = tubes.job(tubes.next_id("orders", "ready"))
    assert (job["pri"], job["ttr"]) == (5, 30)


async def test_it_can_be_stopped_and_reports_its_progress(ref: TubeRef, tubes: Tubes) -> None:
    load = load_test()
    load.run(plan(ref, 10_000, 100), NOTHING)
    await until_it_puts(load)
    done = await load.stop()
    assert done.count
    assert done.message == f"stopped after {done.count} of 10,000 jobs"
    assert tubes.counts("orders") == {"ready": done.count}
    with pytest.raises(RefusedError, match="no load test is in progress"):
        await load.stop()


async def test_one_load_test_runs_at_a_time(ref: TubeRef) -> None:
    load = load_test()
    load.run(plan(ref, 10_000, 10), NOTHING)
    with pytest.raises(RefusedError, match="a load test for tube orders is in progress"):
        load.run(plan(ref, 1, 1), NOTHING)
    await load.stop()
    load.run(plan(ref, 1, 1), NOTHING)
    assert (await until_it_ends(load))["put"] == 1


async def test_it_ends_when_the_process_stops(ref: TubeRef) -> None:
    load = load_test()
    load.run(plan(ref, 10_000, 100), NOTHING)
    load.shut_down()
    assert (await until_it_ends(load))["put"] != 10_000


async def test_a_beanstalkd_that_stops_ends_it_with_one_sentence(ref: TubeRef, beanstalkd: Beanstalkd) -> None:
    load = load_test()
    load.run(plan(ref, 10_000, 100), NOTHING)
    await until_it_puts(load)
    beanstalkd.stop()
    error = (await until_it_ends(load))["error"]
    assert str(error).startswith(f"beanstalkd {ref.server.address}: ")


async def test_a_draining_beanstalkd_ends_it_with_one_sentence(ref: TubeRef, beanstalkd: Beanstalkd) -> None:
    beanstalkd.drain()
    load = load_test()
    load.run(plan(ref, 10, 100), NOTHING)
    data = await until_it_ends(load)
    assert data["put"] == 0
    assert "draining" in str(data["error"])


async def test_it_is_shown_only_on_the_page_of_its_autoscaler(ref: TubeRef) -> None:
    load = load_test()
    assert load.to_json(NAME) is None
    load.run(plan(ref, 1, 1), Forecast(((1.0, 2),), "as now"))
    assert load.to_json(ObjectName("shop", "mails")) is None
    data = await until_it_ends(load)
    assert (data["predicted"], data["assumption"]) == ([{"t": 1.0, "pods": 2}], "as now")
