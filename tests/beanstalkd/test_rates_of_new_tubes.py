"""The same jobs make the same rates, whether their tube existed before, ends, begins again, or its server restarts."""

import asyncio
from fractions import Fraction
from pathlib import Path

import greenstalk
import pytest

from app import clock
from app.beanstalkd.poller import Poller
from app.metrics.query import EvaluationContext, MetricQuery, TooFewReadingsError
from app.metrics.resolve import resolve
from app.metrics.selector import parse_selector
from app.quantity import parse_quantity
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, client, first, polling, reading, until

pytestmark = pytest.mark.anyio
WINDOW_S = 3.0
JOBS = 10


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings and windows a tenth as long."""
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 0.1)
    monkeypatch.setattr("app.beanstalkd.recorder.RATE_WINDOW_S", WINDOW_S)
    monkeypatch.setattr("app.beanstalkd.recorder.CHECKPOINT_S", WINDOW_S / 5)
    monkeypatch.setattr("app.beanstalkd.recorder.MIN_WINDOW_S", 0.05)


def rates(poller: Poller, of: str) -> dict[str, Fraction]:
    context = EvaluationContext(poller.snapshot, clock.now(), 15)
    selector = parse_selector("tube in (kept,new)")
    values = resolve(MetricQuery(f"beanstalkd_tube_jobs_{of}_per_second", "shop", selector), context).values()
    return {value.labels["tube"]: parse_quantity(value.quantity) for value in values}


async def check_equal(poller: Poller, put: int, deleted: int, for_s: float) -> None:
    """Check several times that both tubes have the same rates, and that these are of so many jobs."""
    for _ in range(round(for_s / 0.15)):
        await asyncio.sleep(0.15)
        for of, jobs in (("put", put), ("deleted", deleted)):
            found = rates(poller, of)
            assert float(found["kept"]) == pytest.approx(float(found["new"]), rel=0.12)  # replies are up to 0.3 s apart
            assert found["kept"] <= Fraction(jobs) / Fraction(WINDOW_S * 0.75)


def put(server: Beanstalkd) -> None:
    for tube in ("kept", "new"):
        with client(server, tube) as jobs:
            for _ in range(JOBS):
                jobs.put(b"job")


def delete(server: Beanstalkd) -> None:
    for tube in ("kept", "new"):
        with client(server, tube) as jobs:
            while jobs.stats_tube(tube)["current-jobs-ready"]:
                jobs.delete(jobs.reserve())


async def test_rates_do_not_depend_on_whether_a_tube_existed_before(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "kept"):
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: len(first(poller).reading.earlier if first(poller).reading else ()) == 2)
            await asyncio.sleep(WINDOW_S * 1.2)
            put(beanstalkd)
            await check_equal(poller, JOBS, 0, WINDOW_S / 3)
            delete(beanstalkd)
            await until(lambda: "new" not in reading(poller).tubes)
            assert all(rates(poller, "deleted").values())
            await check_equal(poller, JOBS, JOBS, WINDOW_S / 3)
            put(beanstalkd)
            await check_equal(poller, 2 * JOBS, JOBS, WINDOW_S / 3)
            delete(beanstalkd)
            await check_equal(poller, 2 * JOBS, 2 * JOBS, WINDOW_S * 1.5)
            assert rates(poller, "put") == {"kept": 0, "new": 0}


@pytest.mark.parametrize("binlog", [False, True], ids=["empty", "with a binlog"])
async def test_after_a_restart_of_the_server_they_are_the_same_too(
    beanstalkd: Beanstalkd, tmp_path: Path, binlog: bool
) -> None:
    """The counters restart; of jobs that a binlog restored only the deletions count."""
    if binlog:
        beanstalkd.keep_jobs(tmp_path)
        beanstalkd.restart()
    async with polling(address(beanstalkd)) as poller:
        with client(beanstalkd, "kept") as jobs:
            await until(lambda: first(poller).reading is not None)
            jobs.put(b"job")
            await asyncio.sleep(0.3)
        before = reading(poller).server_id
        beanstalkd.restart()
        await until(lambda: first(poller).failure is None and reading(poller).server_id != before)
        with client(beanstalkd, "kept"):
            await until(lambda: len(reading(poller).earlier) == 2)
            await asyncio.sleep(WINDOW_S * 1.2)
            assert rates(poller, "put") == rates(poller, "deleted") == {"kept": 0, "new": 0}
            put(beanstalkd)
            await check_equal(poller, JOBS, 0, WINDOW_S / 2)
            assert rates(poller, "put")["kept"] > 0


async def test_until_two_readings_there_is_no_rate(beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", 3600.0)
    with client(beanstalkd, "kept") as jobs:
        assert isinstance(jobs, greenstalk.Client)
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            with pytest.raises(TooFewReadingsError, match="needs readings of"):
                rates(poller, "put")


async def test_a_burst_after_a_start_makes_no_higher_rate(
    beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 jobs between the first two readings aren't 5 jobs a second."""
    monkeypatch.undo()
    with client(beanstalkd, "kept"):
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            put(beanstalkd)
            for _ in range(8):
                await asyncio.sleep(1)
                with pytest.raises(TooFewReadingsError):
                    rates(poller, "put")
            await until(lambda: len(reading(poller).earlier) >= 2)
            assert Fraction(1, 2) < rates(poller, "put")["kept"] <= 1


async def test_a_restart_of_the_server_neither_ends_nor_raises_a_rate(
    beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.beanstalkd.recorder.MIN_WINDOW_S", WINDOW_S / 3)
    async with polling(address(beanstalkd)) as poller:
        with client(beanstalkd, "kept"):
            await until(lambda: first(poller).reading is not None)
            await asyncio.sleep(WINDOW_S * 1.2)
        before = reading(poller).server_id
        beanstalkd.restart()
        with client(beanstalkd, "kept"):
            put(beanstalkd)
            await until(lambda: first(poller).failure is None and reading(poller).server_id != before)
            found = rates(poller, "put")  # at once
            assert float(found["kept"]) == pytest.approx(float(found["new"]), rel=0.12)
            assert JOBS / Fraction(WINDOW_S * 2) <= found["kept"] <= JOBS / Fraction(WINDOW_S * 0.75)
