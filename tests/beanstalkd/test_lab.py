"""The load lab puts real jobs: as many and as fast as told, and it ends by itself, when told to, and when it can't."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from app import clock
from app.console.load_test import Forecast, Lab, Plan
from app.console.prediction import Load
from app.jobs.actions import Place, RefusedError
from app.settings import ObjectName, Server
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.jobs_there import Tubes

NAME = ObjectName("shop", "orders")
NOTHING = Forecast((), "")


@pytest.fixture
def place(beanstalkd: Beanstalkd) -> Place:
    return Place(Server("main", beanstalkd.host, beanstalkd.port), "orders")


@pytest.fixture
def tubes(place: Place) -> Iterator[Tubes]:
    looking = Tubes(place.server)
    yield looking
    looking.close()


def plan(place: Place, jobs: int, per_second: int) -> Plan:
    return Plan(place, Load(jobs, per_second), b"xx", 5, 30, NAME)


async def until_it_puts(lab: Lab) -> None:
    async with asyncio.timeout(60):
        while not ((told := lab.told(NAME)) and told["put"]):
            await asyncio.sleep(0.02)


async def until_it_ends(lab: Lab) -> dict[str, object]:
    deadline_s = time.monotonic() + 60
    while (told := lab.told(NAME)) and told["running"]:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    assert told
    return told


async def test_all_jobs_come_at_their_rate_and_then_it_ends(place: Place, tubes: Tubes) -> None:
    lab, begun_s = Lab(clock.now), time.monotonic()
    done = lab.start(plan(place, 200, 100), NOTHING)
    assert done.message == "200 jobs are being put into tube orders, 100 a second"
    told = await until_it_ends(lab)
    assert (told["put"], told["of"], told["trouble"]) == (200, 200, None)
    assert time.monotonic() - begun_s > 1.8
    assert tubes.counts("orders") == {"ready": 200}
    job = tubes.job(tubes.next_id("orders", "ready"))
    assert (job["pri"], job["ttr"]) == (5, 30)


async def test_it_stops_when_told_to_and_tells_how_far_it_came(place: Place, tubes: Tubes) -> None:
    lab = Lab(clock.now)
    lab.start(plan(place, 10_000, 100), NOTHING)
    await until_it_puts(lab)
    done = await lab.stop()
    assert done.count
    assert done.message == f"stopped after {done.count} of 10,000 jobs"
    assert tubes.counts("orders") == {"ready": done.count}
    with pytest.raises(RefusedError, match="no load is being put"):
        await lab.stop()


async def test_there_is_one_at_a_time_and_another_one_after_it(place: Place) -> None:
    lab = Lab(clock.now)
    lab.start(plan(place, 10_000, 10), NOTHING)
    with pytest.raises(RefusedError, match="is being put into tube orders already"):
        lab.start(plan(place, 1, 1), NOTHING)
    await lab.stop()
    lab.start(plan(place, 1, 1), NOTHING)
    assert (await until_it_ends(lab))["put"] == 1


async def test_it_ends_as_soon_as_the_process_leaves(place: Place) -> None:
    lab = Lab(clock.now)
    lab.start(plan(place, 10_000, 100), NOTHING)
    lab.leave()
    assert (await until_it_ends(lab))["put"] != 10_000


async def test_a_beanstalkd_that_dies_ends_it_with_a_sentence(place: Place, beanstalkd: Beanstalkd) -> None:
    lab = Lab(clock.now)
    lab.start(plan(place, 10_000, 100), NOTHING)
    await until_it_puts(lab)
    beanstalkd.stop()
    trouble = (await until_it_ends(lab))["trouble"]
    assert str(trouble).startswith(f"beanstalkd {place.server.address}: ")


async def test_a_draining_beanstalkd_ends_it_with_a_sentence(place: Place, beanstalkd: Beanstalkd) -> None:
    beanstalkd.drain()
    lab = Lab(clock.now)
    lab.start(plan(place, 10, 100), NOTHING)
    told = await until_it_ends(lab)
    assert told["put"] == 0
    assert "draining" in str(told["trouble"])


async def test_it_is_shown_on_its_own_autoscalers_page_only(place: Place) -> None:
    lab = Lab(clock.now)
    assert lab.told(NAME) is None
    lab.start(plan(place, 1, 1), Forecast(((1.0, 2),), "as now"))
    assert lab.told(ObjectName("shop", "mails")) is None
    told = await until_it_ends(lab)
    assert (told["predicted"], told["assumption"]) == ([{"t": 1.0, "pods": 2}], "as now")
