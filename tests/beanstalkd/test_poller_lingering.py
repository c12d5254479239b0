"""A beanstalkd that DNS lists no more, as Kubernetes takes one that crashed out of it: an outage is told as one, and
never as fewer jobs.

DNS is a function, as in test_poller_addresses.py; all else is real. "c" is the tube; 5 jobs are in the one that is
lost, and 10 in the other.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app import clock
from app.beanstalkd.poller import Poller
from app.metrics.metric import Evaluation, Question, StaleReadingError
from app.metrics.resolve import evaluate
from app.metrics.rules import Rules
from app.metrics.selector import parse_selector
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.names import DOWN, Names, all_read, is_idle, members, named
from tests.beanstalkd.reading import beanstalkds, client, first, polling, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hastened")]
A, B, C, D = "127.0.0.2", "127.0.0.3", "127.0.0.10", "127.0.0.11"
OTHER, LOST = 10, 5
ALL = str(OTHER + LOST)


@contextmanager
def pair(binlog: Path) -> Iterator[Sequence[Beanstalkd]]:
    """One at A, and one at B that keeps its jobs; each on a host of its own."""
    with beanstalkds(A, B) as servers:
        for server, hostname in zip(servers, ("queue-0", "queue-1"), strict=True):
            server.hostname = hostname
        servers[1].keep_jobs(binlog)
        for server, jobs in zip(servers, (OTHER, LOST), strict=True):
            server.restart()
            put(server, jobs)
        yield servers


def put(server: Beanstalkd, jobs: int) -> None:
    with client(server, "c") as producer:
        for _ in range(jobs):
            producer.put(b"job")


@asynccontextmanager
async def both_read(names: Names, servers: Sequence[Beanstalkd]) -> AsyncIterator[Poller]:
    async with polling(named(servers), look_up=names) as poller:
        await until(lambda: value(poller) == ALL)
        yield poller


def value(poller: Poller, max_age_s: float = 15) -> str:
    """What an autoscaler is answered: a number, or why there is none."""
    given = Evaluation(poller.snapshot, clock.now(), max_age_s, Rules({}, ()))
    try:
        (answer,) = evaluate(Question("tube-c", "shop", parse_selector("")), given)
    except StaleReadingError as error:
        return str(error)
    return answer.quantity


async def values_while(poller: Poller, seconds: float, max_age_s: float = 15) -> set[str]:
    """All that are answered for so long; errors as "none"."""
    seen = set()
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        answer = value(poller, max_age_s)
        seen.add(answer if answer.isdigit() else "none")
        await asyncio.sleep(0.005)
    return seen


@asynccontextmanager
async def never_wrong(poller: Poller) -> AsyncIterator[None]:
    """Whatever happens in it, for three seconds: all jobs, or none told."""
    watching = asyncio.create_task(values_while(poller, 3))
    yield
    assert await watching <= {ALL, "none"}


def back(server: Beanstalkd, host: str) -> None:
    """With its jobs, at another address."""
    server.host = host
    server.start()


async def crash(server: Beanstalkd, names: Names) -> None:
    """Kubernetes takes a pod out of DNS when it isn't ready any more."""
    server.stop()
    names.addresses = [A]
    await names.have_been_asked()


async def lingers(poller: Poller) -> None:
    """The one at B."""
    await until(lambda: members(poller)[1] == B and "DNS hasn't listed" in str(first(poller, 1).failure))


async def test_one_that_crashed_with_jobs_fails_the_sum_until_it_is_back(tmp_path: Path) -> None:
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            await crash(servers[1], names)
            await lingers(poller)
            assert value(poller) == ALL, "its last reading counts while it is young"
            assert await values_while(poller, 1, max_age_s=0.5) <= {ALL, "none"}
            said = value(poller, max_age_s=0.5)
            assert said.startswith(f"beanstalkd 'eu' at {B} (queues.example:{servers[1].port}) can't be read: ")
            assert ", and DNS hasn't listed its address since " in said
            assert (
                "it is waited for until DNS does, or the host 'queue-1' is read at a new address, or DNS still" in said
            )
            assert "; it had 5 jobs when it was last read; its last good reading is" in said
            servers[1].start()
            names.addresses = [A, B]
            await until(lambda: all_read(poller, 2))
            assert value(poller) == ALL


async def test_one_that_is_back_at_another_address_is_neither_missed_nor_counted_twice(tmp_path: Path) -> None:
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller, never_wrong(poller):
            await crash(servers[1], names)
            back(servers[1], C)
            names.addresses = [A, C]
            await until(lambda: members(poller) == [A, C] and all_read(poller, 2))
            assert value(poller) == ALL


async def test_one_that_is_back_isnt_counted_twice_while_its_old_address_is_tried_in_vain(tmp_path: Path) -> None:
    """There is somebody else who doesn't answer, or nobody any more and no word of it, which takes seconds to see."""
    names = Names(A, B)
    with pair(tmp_path) as servers, ExitStack() as hanging:
        async with both_read(names, servers) as poller, never_wrong(poller):
            servers[1].stop()
            hanging.enter_context(socket.create_server((B, servers[1].port)))
            await until(lambda: first(poller, 1).failure is not None)
            await asyncio.sleep(0.5)
            back(servers[1], C)
            names.addresses = [A, C]
            await until(lambda: members(poller)[-1] == C and first(poller, -1).reading is not None)


async def test_one_that_is_back_isnt_counted_twice_though_dns_still_lists_its_old_address(tmp_path: Path) -> None:
    """As one of several caches of DNS does for a while."""
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller, never_wrong(poller):
            servers[1].stop()
            await until(lambda: first(poller, 1).failure is not None)
            back(servers[1], C)
            names.addresses = [A, B, C]
            await until(lambda: members(poller)[-1] == C and first(poller, -1).reading is not None)


async def test_one_that_is_lost_again_at_its_new_address_is_back_at_the_next(tmp_path: Path) -> None:
    names = Names(A, B)
    with pair(tmp_path) as servers, ExitStack() as hanging:
        async with both_read(names, servers) as poller:
            servers[1].stop()
            hanging.enter_context(socket.create_server((B, servers[1].port)))
            await until(lambda: first(poller, 1).failure is not None)
            await asyncio.sleep(0.5)
            for host in (C, D):
                back(servers[1], host)
                names.addresses = [A, host]
                await until(lambda host=host: members(poller)[-1] == host and first(poller, -1).reading is not None)
                if host == C:
                    await crash(servers[1], names)
            await until(lambda: members(poller) == [A, D])
            assert value(poller) == ALL


async def test_another_host_at_a_new_address_isnt_the_one_that_is_lost(tmp_path: Path) -> None:
    """But it may be: then its jobs would count twice. Hence what was last read counts no more, however young."""
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            async with never_wrong(poller):
                await crash(servers[1], names)
                servers[1].hostname = "queue-7"
                back(servers[1], C)
                names.addresses = [A, C]
                await until(lambda: members(poller) == [A, B, C] and first(poller, 2).reading is not None)
                assert "isn't served beside an address that came since" in value(poller)
            assert members(poller) == [A, B, C]


@pytest.mark.parametrize("runs", [True, False])
async def test_the_only_one_moves_with_its_reading_also_while_its_old_address_is_tried_in_vain(
    runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the old one then, as in any other moment; whether the new one `runs` already, or not yet."""
    monkeypatch.setattr("app.beanstalkd.connection.REPLY_TIMEOUT_S", 1)
    names = Names(A)
    with beanstalkds(A, C) as (old, new), ExitStack() as hanging:
        new.hostname = "queue-7"
        new.restart()
        put(old, LOST)
        async with polling(named([old]), look_up=names) as poller:
            await until(lambda: value(poller) == str(LOST))
            old.stop()
            if not runs:
                new.stop()
            hanging.enter_context(socket.create_server((A, old.port)))
            await until(lambda: first(poller).failure is not None)
            await asyncio.sleep(0.5)
            names.addresses = [C]
            await until(lambda: members(poller) == [A, C])
            await until(lambda: members(poller) == [None])
            assert value(poller) == ("0" if runs else str(LOST))
            if not runs:
                new.start()
            await until(lambda: value(poller) == "0")


async def test_one_that_doesnt_come_back_is_given_up_in_the_end_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.beanstalkd.lingering.LINGER_S", 1.0)
    names = Names(A, B)
    with pair(tmp_path) as servers, capture_logs() as logs:
        async with both_read(names, servers) as poller:
            await crash(servers[1], names)
            await lingers(poller)
            await until(lambda: members(poller) == [None])
            assert value(poller) == str(OTHER)
    (warning,) = (line for line in logs if "jobs" in line)
    assert warning == {
        "log_level": "warning",
        "event": "a beanstalkd hasn't come back, and its jobs count no more",
        "server": "eu",
        "address": f"{B}:{servers[1].port}",
        "jobs": LOST,
    }


async def test_while_dns_is_down_none_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be back, and only DNS could tell."""
    monkeypatch.setattr("app.beanstalkd.lingering.LINGER_S", 0.5)
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            await crash(servers[1], names)
            names.addresses = DOWN
            await asyncio.sleep(1)
            assert members(poller) == [A, B]
            names.addresses = [A]
            await until(lambda: members(poller) == [None])


async def test_one_that_is_empty_and_given_no_jobs_is_let_go_at_once(tmp_path: Path) -> None:
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            with client(servers[1], "c") as worker:
                for _ in range(LOST):
                    worker.delete(worker.reserve())
            await until(lambda: is_idle(poller, 1))
            await crash(servers[1], names)
            await until(lambda: members(poller) == [None], 2)
            assert value(poller) == str(OTHER)


async def test_one_that_is_empty_while_jobs_come_and_go_isnt_let_go_at_once(tmp_path: Path) -> None:
    """What came last nobody has seen."""
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            with client(servers[1], "c") as worker:
                for _ in range(LOST):
                    worker.delete(worker.reserve())
            await until(lambda: value(poller) == str(OTHER))
            await crash(servers[1], names)
            await lingers(poller)
            assert first(poller, 1).failure.whole.endswith(
                "; it had no job when it was last read, and may have got some since"
            )  # type: ignore[union-attr]


async def test_one_that_is_draining_is_let_go_as_soon_as_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.beanstalkd.lingering.IDLE_S", 3600)
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            servers[1].drain()
            with client(servers[1], "c") as worker:
                for _ in range(LOST):
                    worker.delete(worker.reserve())
            await until(lambda: first(poller, 1).reading.idle_since is not None)  # type: ignore[union-attr]
            await crash(servers[1], names)
            await until(lambda: members(poller) == [None], 2)


async def test_one_that_was_never_read_is_let_go_at_once() -> None:
    names = Names(A, B)
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all(state.attempted for state in poller.snapshot.servers))
            assert members(poller) == [A, B]
            names.addresses = [A]
            await until(lambda: members(poller) == [None])


async def test_a_second_address_of_one_beanstalkd_is_let_go_at_once() -> None:
    names = Names(A, B)
    with beanstalkds("0.0.0.0") as servers:  # noqa: S104 - both loopback addresses
        put(servers[0], LOST)
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: value(poller) == str(LOST))
            names.addresses = [B]
            await names.have_been_asked()
            servers[0].restart()
            put(servers[0], LOST)
            await until(lambda: value(poller) == str(LOST) and members(poller) == [None])


async def test_of_too_many_that_linger_the_oldest_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on failing what it would be missing in."""
    names = Names(A, B, C)
    with beanstalkds(A, B, C) as servers:
        for server in servers:
            put(server, LOST)
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: value(poller) == str(3 * LOST))
            monkeypatch.setattr("app.beanstalkd.server.MOST_ADDRESSES", 1)
            await crash(servers[1], names)
            await lingers(poller)
            await crash(servers[2], names)
            await until(lambda: members(poller) == [A, C])


async def test_a_name_that_gets_too_many_addresses_keeps_none_that_lingers(tmp_path: Path) -> None:
    names = Names(A, B)
    with pair(tmp_path) as servers:
        async with both_read(names, servers) as poller:
            await crash(servers[1], names)
            names.addresses = [f"127.0.1.{number}" for number in range(1, 40)]
            await until(lambda: "at most 32 are read" in value(poller))
            assert members(poller) == [None]
