"""One invalid field of one tube, as real servers have sent: everything else of the server is read, shown and done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from app import clock
from app.api.telemetry import PollCollector
from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import ReplyParser
from app.beanstalkd.reading import TubeRef
from app.console.autoscalers import AutoscalerStore
from app.console.events import EventLog
from app.console.history import History, PastTubes
from app.console.overview import Query, View, overview, tube_page
from app.jobs.actions import State, delete_some, empty
from app.jobs.client import BeanstalkdError
from app.jobs.peek import next_jobs
from app.jobs.search import search
from app.metrics.query import EvaluationContext, InvalidReadingError, MetricQuery
from app.metrics.resolve import resolve
from app.metrics.selector import parse_selector
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import client, first, polling, pretender, reading, until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def altering(beanstalkd: Beanstalkd, tube: str | None, field: str, value: str | None) -> AsyncIterator[Server]:
    """The beanstalkd, with another value of one field of one tube or (None) of `stats`; None: without the field."""
    first_line = "current-jobs-urgent: " if tube is None else f"name: {tube}"

    def altered(body: bytes) -> bytes:
        lines = body.decode().split("\n")
        if lines[1].replace('"', "").startswith(first_line):
            there = [line for line in lines if not line.startswith(f"{field}: ")]
            assert len(there) < len(lines)
            lines = there if value is None else [*there[:-1], f"{field}: {value}", ""]
        return "\n".join(lines).encode()

    async def answer(behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = ReplyParser()
        while some := await behind.read(1 << 16):
            parser.feed(some)
            while (reply := parser.next()) is not None:
                words = [reply.word, *reply.arguments]
                if reply.body is None:
                    writer.write(b" ".join(words) + b"\r\n")
                    continue
                body = altered(reply.body) if reply.word == b"OK" else reply.body
                writer.write(b" ".join([*words, b"%d" % len(body)]) + b"\r\n" + body + b"\r\n")
        writer.close()

    conversations = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(reader)
        behind, to_behind = await asyncio.open_connection(beanstalkd.host, beanstalkd.port)
        answers = asyncio.create_task(answer(behind, writer))
        with suppress(ConnectionError):
            while some := await reader.read(1 << 16):
                to_behind.write(some)
        to_behind.close()
        await to_behind.wait_closed()
        await answers
        conversations.remove(reader)

    async with pretender(converse) as server:
        yield server
        await until(lambda: not conversations)


@pytest.mark.parametrize(
    ("field", "value", "metric", "problem"),
    [
        ("current-waiting", "18446744073709551615", "workers_waiting", "counter below zero"),
        ("current-waiting", "4294967295", "workers_waiting", "counter below zero"),
        ("cmd-delete", None, "jobs_deleted_per_second", "sent no such field; check that this is a beanstalkd"),
        ("current-jobs-reserved", "18446744073709551615", "jobs", "counter below zero"),
    ],
)
async def test_it_fails_what_needs_it_alone(
    beanstalkd: Beanstalkd, field: str, value: str | None, metric: str, problem: str
) -> None:
    with client(beanstalkd, "odd") as jobs, client(beanstalkd, "even") as others:
        for each in (jobs, others):
            each.put(b"job", delay=0)
            each.put(b"later", delay=60)
        async with (
            altering(beanstalkd, "odd", field, value) as server,
            polling(server, demand=Demand(ages=["odd", "even"])) as poller,
        ):
            await until(lambda: first(poller).reading is not None and len(reading(poller).earlier) == 3)
            assert first(poller).failure is None
            context = EvaluationContext(poller.snapshot, clock.now(), 15)

            def quantity(name: str, tube: str) -> str:
                selector = parse_selector(f"tube={tube}" + ",state=reserved" * (name == "beanstalkd_tube_jobs"))
                (value,) = resolve(MetricQuery(name, "shop", selector), context).values()
                return value.quantity

            with pytest.raises(InvalidReadingError, match=f"no valid {field} for tube 'odd': {problem}"):
                quantity(f"beanstalkd_tube_{metric}", "odd")
            assert quantity(f"beanstalkd_tube_{metric}", "even") == "0"
            for name in ("jobs_put_per_second", "workers_watching", "urgent_jobs", "next_job_age_seconds"):
                if name.removesuffix("_per_second") not in metric:
                    assert quantity(f"beanstalkd_tube_{name}", "odd") == quantity(f"beanstalkd_tube_{name}", "even")
            history = History()
            history.sample(poller.snapshot, clock.now(), 15)
            view = View(poller.snapshot, clock.now(), 15, history, EventLog(), PastTubes())
            for sort in ("ready", "reserved", "waiting", "deletedPerSecond"):
                rows = {row["tube"]: row for row in overview(view, Query(sort=sort))["tubes"]}
                assert (rows["odd"]["ready"], rows["even"]["waiting"], rows["even"]["reserved"]) == (1, 0, 0)
            page = tube_page(view, first(poller), "odd", AutoscalerStore("no cluster"))["tube"]
            shown = {"current-waiting": "waiting", "cmd-delete": "deleted", "current-jobs-reserved": "reserved"}
            assert [name for name, number in page.items() if name in shown.values() and number is None] == [
                shown[field]
            ]
            ref = TubeRef(server, "odd")
            peeked = await asyncio.to_thread(next_jobs, ref)
            assert [job.beginning if job else None for job in peeked.values()] == [b"job", b"later", None]
            found = await asyncio.to_thread(search, ref, b"job", None, lambda: False)
            assert [job.beginning for job in found.jobs] == [b"job"]
            await asyncio.to_thread(delete_some, ref, State.READY, 5, lambda: False)
            done = await asyncio.to_thread(empty, ref, [State.DELAYED], lambda: False)
            assert done.count == 1


async def test_an_action_on_jobs_of_unknown_number_is_refused(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "odd") as jobs:
        jobs.put(b"job")
        async with altering(beanstalkd, "odd", "current-jobs-ready", "18446744073709551615") as server:
            with pytest.raises(BeanstalkdError, match="sent no valid current-jobs-ready"):
                await asyncio.to_thread(delete_some, TubeRef(server, "odd"), State.READY, 5, lambda: False)
        assert jobs.stats_tube("odd")["current-jobs-ready"] == 1


@pytest.mark.parametrize(
    "field", ["current-jobs-reserved", "job-timeouts", "total-jobs", "draining", "current-waiting"]
)
@pytest.mark.parametrize("value", ["18446744073709551615", "4294967295", "many", None])
async def test_an_invalid_field_of_the_server_leaves_out_its_series_alone(
    beanstalkd: Beanstalkd, field: str, value: str | None
) -> None:
    with client(beanstalkd, "odd") as jobs:
        jobs.put(b"job")
        async with altering(beanstalkd, None, field, value) as server:
            async with polling(server) as poller:
                await until(lambda: first(poller).reading is not None)
                assert first(poller).failure is None
                series = {
                    (each.name, sample.labels.get("state")): sample.value
                    for each in PollCollector(lambda: poller.snapshot, clock.now, 15).collect()
                    for sample in each.samples
                }
            assert series["beanscale_jobs", "ready"] == 1
            assert (("beanscale_jobs", "reserved") in series) == (field != "current-jobs-reserved")
            counted = field != "job-timeouts" or value == "4294967295"  # a counter that only rises
            assert (("beanscale_job_timeouts", None) in series) == counted
            if (field, value) == ("total-jobs", "4294967295"):
                return  # can be true: then a search begins there
            found = await asyncio.to_thread(search, TubeRef(server, "odd"), b"job", None, lambda: False)
            assert [job.beginning for job in found.jobs] == [b"job"]
