"""What the poller makes of real beanstalkds, and of servers that only pretend."""

import asyncio
import gc
import socket
import threading
from contextlib import aclosing
from typing import NoReturn

import pytest

from app import clock
from app.beanstalkd.connection import WINDOW, connect
from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import stats_tube
from app.beanstalkd.reading import Reading
from app.beanstalkd.recorder import Recorder
from app.beanstalkd.session import OwnConnections, Session, pause_s, read_server_id
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, client, first, polling, pretender, reading, until

pytestmark = pytest.mark.anyio
STATS = b'OK 16\r\n---\nid: "00ff"\n\n\r\n'
LIST = b"OK 14\r\n---\n- default\n\r\n"


async def read(beanstalkd: Beanstalkd) -> Reading:
    """The first reading of a session: all tubes."""
    own_connections = OwnConnections()
    async with connect(beanstalkd.host, beanstalkd.port) as connection:
        server_id = await read_server_id(connection)
        session = Session(connection, server_id, Recorder(), Demand(), own_connections, clock.now)
        with own_connections.counted(server_id):
            async with aclosing(session.readings()) as readings:
                return await anext(readings)


async def test_jobs_are_counted_by_state(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        for number in range(5):
            jobs.put(b"job", priority=number * 1000)
        jobs.put(b"later", delay=60)
        jobs.bury(jobs.reserve())
        jobs.reserve()
        tube = (await read(beanstalkd)).tubes["checkout"]
    assert (tube.current_jobs_ready, tube.current_jobs_reserved) == (3, 1)
    assert (tube.current_jobs_delayed, tube.current_jobs_buried) == (1, 1)


async def test_the_jobs_of_all_tubes_are_summed(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        for _ in range(5):
            jobs.put(b"job")
        jobs.use("mail")
        jobs.put(b"later", delay=60)
        jobs.bury(jobs.reserve())
        jobs.reserve()
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            assert reading(poller).jobs[1:5] == (3, 1, 1, 1)  # type: ignore[union-attr]
            jobs.use("checkout")
            jobs.kick(1)
            await until(lambda: reading(poller).jobs[1:5] == (4, 1, 1, 0))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["007", "1_000", "Upper.Case", "a/b;c$(d)+e_f", "z" * 200])
async def test_every_legal_tube_name_is_read(beanstalkd: Beanstalkd, name: str) -> None:
    with client(beanstalkd, name) as jobs:
        jobs.put(b"job")
        assert (await read(beanstalkd)).tubes[name].current_jobs_ready == 1


async def test_reading_leaves_no_trace(beanstalkd: Beanstalkd) -> None:
    async with polling(address(beanstalkd)) as poller:
        await until(lambda: first(poller).reading is not None)
        with client(beanstalkd, "other") as observer:
            tube, server = observer.stats_tube("default"), observer.stats()
        assert set(first(poller).reading.tubes) == {"default"}  # type: ignore[union-attr]
    touched = {name for name, count in server.items() if str(name).startswith("cmd-") and count}
    assert touched <= {"cmd-stats", "cmd-stats-tube", "cmd-list-tubes", "cmd-use", "cmd-watch", "cmd-ignore"}
    assert server["current-workers"] == server["current-producers"] == 0
    assert tube["total-jobs"] == 0


async def test_beanscales_connection_isnt_counted_as_a_worker_of_default(beanstalkd: Beanstalkd) -> None:
    async with polling(address(beanstalkd)) as poller:
        await until(lambda: first(poller).reading is not None)
        tube = first(poller).reading.tubes["default"]  # type: ignore[union-attr]
    assert (tube.current_using, tube.current_watching) == (0, 0)


async def test_a_tube_that_vanishes_is_gone_from_the_next_reading(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "fleeting") as jobs:
        jobs.put(b"job")
        assert "fleeting" in (await read(beanstalkd)).tubes
        jobs.delete(jobs.reserve())
    await until_gone(beanstalkd, "fleeting")


async def until_gone(beanstalkd: Beanstalkd, tube: str) -> None:
    async with asyncio.timeout(60):
        while tube in (await read(beanstalkd)).tubes:
            await asyncio.sleep(0.01)


async def test_a_tube_that_vanishes_within_a_sweep_is_no_error(beanstalkd: Beanstalkd) -> None:
    async with connect(beanstalkd.host, beanstalkd.port) as connection:
        assert [body async for bodies in connection.ask_all(iter([stats_tube("nobody")])) for body in bodies] == [None]


async def test_more_tubes_than_one_window_are_all_read(beanstalkd: Beanstalkd) -> None:
    names = {f"tube-{number}" for number in range(2 * WINDOW + 1)}
    for name in names:
        with client(beanstalkd, name) as jobs:
            jobs.put(b"job")
    tubes = (await read(beanstalkd)).tubes
    assert {name for name, tube in tubes.items() if tube.current_jobs_ready == 1} == names


async def test_a_restart_is_noticed_and_polling_continues(beanstalkd: Beanstalkd) -> None:
    async with polling(address(beanstalkd)) as poller:
        await until(lambda: first(poller).reading is not None)
        before = first(poller).reading
        beanstalkd.stop()
        await until(lambda: first(poller).failure is not None)
        assert first(poller).reading is before, "the last good reading must be kept: it is served until it is too old"
        beanstalkd.start()
        await until(lambda: first(poller).failure is None)
    assert first(poller).reading.server_id != before.server_id  # type: ignore[union-attr]


async def test_a_missing_server_affects_no_other(beanstalkd: Beanstalkd) -> None:
    absent = Server("us", "127.0.0.1", 1)
    async with polling(address(beanstalkd), absent) as poller:
        await until(lambda: all(state.attempted for state in poller.snapshot.servers))
        there, gone = poller.snapshot.servers
    assert there.reading is not None
    assert there.failure is None
    assert gone.reading is None
    assert gone.failure is not None
    assert "refused" in gone.failure.message


async def test_a_name_that_cant_be_resolved_is_reported() -> None:
    async with polling(Server("eu", "nowhere.invalid", 11300)) as poller:
        await until(lambda: first(poller).attempted)
    assert "DNS lookup failed" in first(poller).failure.message  # type: ignore[union-attr]


async def test_an_endless_dns_lookup_is_an_outage_and_delays_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Down for a minute, DNS neither fills the log with tracebacks nor takes the threads that reviews run in."""
    released = threading.Event()

    def slow(_host: str, _port: int) -> NoReturn:
        released.wait(120)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("app.beanstalkd.server.LOOKUP_TIMEOUT_S", 0.05)
    servers = [Server(f"eu{number}", "slow.example", 11300) for number in range(20)]
    async with polling(*servers, look_up=slow) as poller:
        await until(lambda: all(state.attempted for state in poller.snapshot.servers))
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 60) == "done"
        released.set()
    assert first(poller).failure.message == "DNS lookup failed (timed out)"  # type: ignore[union-attr]
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize(
    ("answers", "complaint", "quotes"),
    [
        ([b"OK 100\r\n---\nid: 00"], "closed the connection", False),
        ([b"INTERNAL_ERROR\r\n"], "INTERNAL_ERROR", True),
        ([STATS, STATS, LIST, b"OK 4\r\nabcd\r\n"], "about tube 'none'", True),
        ([STATS, STATS, LIST, b"OK 8193\r\n"], "announced a body of 8,193 bytes; the limit is 8,192", False),
        ([STATS, STATS, b"OK 16777217\r\n"], "announced a body of 16,777,217 bytes; the limit is 16,777,216", False),
        ([STATS + STATS], "more replies than there were commands", False),
        ([STATS, STATS, b"NOT_FOUND\r\n"], "NOT_FOUND", False),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "HTTP/1.1 400", True),
    ],
)
async def test_invalid_replies_are_never_used(answers: list[bytes], complaint: str, quotes: bool) -> None:
    """`quotes`: the message may quote a tube's name, so tenancy replaces it."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readline()
            writer.write(answer)
            await writer.drain()

    async with pretender(converse) as server, polling(server) as poller:
        await until(lambda: first(poller).attempted)
    assert first(poller).reading is None
    failure = first(poller).failure
    assert failure is not None
    assert complaint in failure.message
    assert failure.names_tube is quotes


async def test_a_server_that_never_replies_fails_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with polling(Server("eu", "127.0.0.1", silent.getsockname()[1])) as poller:
            await until(lambda: first(poller).attempted)
    assert first(poller).failure is not None
    assert "timed out" in first(poller).failure.message


async def test_ten_thousand_tubes_are_read_in_one_sweep(beanstalkd: Beanstalkd) -> None:
    reader, writer = await asyncio.open_connection(beanstalkd.host, beanstalkd.port)
    for start in range(0, 10_000, 100):
        writer.write(
            b"".join(b"use tube-%05d\r\nput 1 60 60 1\r\nx\r\n" % number for number in range(start, start + 100))
        )
        for _ in range(200):
            await reader.readline()
    swept = await read(beanstalkd)
    writer.close()
    assert len(swept.tubes) == 10_001
    assert all(tube.current_jobs_delayed == 1 for name, tube in swept.tubes.items() if name != "default")


def test_sweeps_take_at_most_a_fifth_of_beanstalkds_time() -> None:
    assert pause_s(0.05) == pytest.approx(0.95)
    assert pause_s(1) == pytest.approx(4)
