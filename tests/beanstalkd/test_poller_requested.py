"""Demand decides the pace: wanted tubes are read every second, however long a sweep over all of them takes."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from app import clock
from app.beanstalkd.demand import Demand
from app.beanstalkd.poller import Poller
from app.beanstalkd.reading import Counts
from app.beanstalkd.session import BUSY_SHARE
from app.metrics.fields import RATES
from app.metrics.freshness import ServerReading
from app.metrics.rates import growth
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, client, fill, first, polling, pretender, reading, until

pytestmark = pytest.mark.anyio
PERIOD_S = 0.1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the pace's length and of a sweep's share, so that a few thousand tubes are as many as 50,000."""
    monkeypatch.setattr("app.beanstalkd.session.PERIOD_S", PERIOD_S)
    monkeypatch.setattr("app.beanstalkd.connection.REPLY_TIMEOUT_S", 60)  # a pause of the machine is no outage here


@dataclass
class Watched:
    """What was seen of a tube's reading every few milliseconds."""

    ages: list[float] = field(default_factory=list)
    """In seconds."""
    answers: set[float] = field(default_factory=set)
    sweeps: dict[float, float] = field(default_factory=dict)
    """When each of them listed the tubes, and how many seconds it took."""


async def watched(poller: Poller, tube: str) -> Watched:
    """For about three seconds, and over three sweeps: a machine that stands still in between is no news of the tube."""
    seen = Watched()
    while len(seen.ages) < 600 or len(seen.sweeps) < 3:
        seen.ages.append(reading(poller).answered_at(tube).age_s(clock.now()))
        seen.answers.add(reading(poller).answered_at(tube).monotonic_s)
        seen.sweeps[reading(poller).listed_at.monotonic_s] = reading(poller).sweep_s or 0
        await asyncio.sleep(0.005)
    return seen


async def test_requested_tubes_dont_wait_for_a_long_sweep_and_its_pause(beanstalkd: Beanstalkd) -> None:
    fill(beanstalkd, 3000)
    demand = Demand(always=["tube-02999", "nobody"])
    async with polling(address(beanstalkd), demand=demand) as poller:
        await until(lambda: first(poller).reading is not None)
        for tube in ("tube-02999", "nobody"):
            seen = await watched(poller, tube)
            assert min(seen.sweeps.values()) > PERIOD_S, "the sweep must be long for this test to say anything"
            for (began_s, took_s), (next_s, _) in pairwise(seen.sweeps.items()):
                assert next_s - began_s > took_s / BUSY_SHARE * 0.9, "sweeps must pause for four times their length"
            assert sorted(seen.ages)[len(seen.ages) * 9 // 10] < 4 * PERIOD_S
            assert len(seen.answers) > 3 * len(seen.sweeps)


async def test_a_reading_within_a_sweep_isnt_older_after_it(beanstalkd: Beanstalkd) -> None:
    fill(beanstalkd, 3000)
    wanted = ["tube-00000", "tube-02999", "nobody"]
    async with polling(address(beanstalkd), demand=Demand(always=wanted)) as poller:
        await until(lambda: first(poller).reading is not None)
        start, before = reading(poller).listed_at, dict.fromkeys(wanted, 0.0)
        while reading(poller).listed_at == start:
            now = {tube: reading(poller).answered_at(tube).monotonic_s for tube in wanted}
            assert all(now[tube] >= before[tube] for tube in wanted)
            before = now
            await asyncio.sleep(0.005)
        assert all(reading(poller).answered_at(tube).monotonic_s >= before[tube] for tube in wanted)


async def test_a_requested_tube_appears_and_vanishes_between_sweeps(
    beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.beanstalkd.session.BUSY_SHARE", 0.0001)  # the next sweep is a quarter of an hour away
    fill(beanstalkd, 3000)
    async with polling(address(beanstalkd)) as poller:
        poller.demand.request(["checkout"], clock.now())
        await until(lambda: first(poller).reading is not None)
        names = reading(poller).names
        with client(beanstalkd, "checkout") as jobs:
            jobs.put(b"job")
            await until(lambda: "checkout" in reading(poller).tubes)
            appeared = reading(poller)
            assert appeared.names == tuple(sorted((*names, "checkout")))
            await until(lambda: "checkout" in reading(poller).earlier)
            assert reading(poller).earlier["checkout"][1:] == (0, 0)
            jobs.delete(jobs.reserve())
        await until(lambda: "checkout" not in reading(poller).tubes)
        gone = reading(poller)
    assert gone.names == names
    assert gone.answered_at("checkout").monotonic_s > gone.listed_at.monotonic_s


async def test_a_restart_between_rounds_mixes_no_counters(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        for _ in range(5):
            jobs.put(b"job")
    async with polling(address(beanstalkd), demand=Demand(always=["checkout"])) as poller:
        await until(lambda: first(poller).reading is not None and "checkout" in reading(poller).earlier)
        before = reading(poller)
        beanstalkd.restart()
        await until(lambda: reading(poller).server_id != before.server_id)
        after = reading(poller)
    assert (len(before.tubes), len(after.tubes)) == (2, 1)
    server = ServerReading(first(poller), after)
    grown = [growth(rate, server, tube).gained for rate in RATES for tube in ("checkout", "default", "other")]
    assert grown == [0] * 6


async def test_a_connection_that_suddenly_reaches_another_beanstalkd_is_closed() -> None:
    ids = count()

    def answers() -> Iterator[bytes]:
        yield stats(0)
        yield stats(0)
        yield b"OK 14\r\n---\n- default\n\r\n"
        yield b"NOT_FOUND\r\n"
        yield stats(1)

    def stats(number: int) -> bytes:
        return b'OK 16\r\n---\nid: "00f%d"\n\n\r\n' % number

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        next(ids)
        for answer in answers():
            await reader.readline()
            writer.write(answer)
        await reader.read()

    async with pretender(converse) as server, polling(server) as poller:
        await until(lambda: first(poller).failure is not None)
        assert "another beanstalkd" in first(poller).failure.message  # type: ignore[union-attr]


async def test_puts_of_half_a_second_are_counted_from_a_real_reading(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        jobs.put(b"job")
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            start = reading(poller).tubes["checkout"]
            jobs.put(b"job")
            await until(lambda: "checkout" in reading(poller).earlier)
            assert reading(poller).earlier["checkout"] == Counts(start.answered_at, 1, 0)
            assert reading(poller).tubes["checkout"].total_jobs == 2
