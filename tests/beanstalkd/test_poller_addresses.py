"""A name with several addresses is several servers, each on its own. (What becomes of one that is lost with jobs:
test_poller_lingering.py.)

Which addresses a name has is said by a function in place of DNS: what a resolver answers must change while the test
runs. All else is real: beanstalkds at several loopback addresses, on one port.
"""

import asyncio
import socket
from collections.abc import Sequence
from itertools import chain

import pytest

from app.beanstalkd.poller import Poller
from app.beanstalkd.server import MOST_ADDRESSES
from app.settings import Server
from tests.beanstalkd.names import DOWN, Names, all_read, is_idle, members, named
from tests.beanstalkd.reading import beanstalkds, client, first, polling, reading, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hastened")]
A, B, C = "127.0.0.2", "127.0.0.3", "127.0.0.10"


def ready(poller: Poller, tube: str) -> list[int]:
    readings = [state.reading for state in poller.snapshot.servers if state.reading]
    return [each.tubes[tube].current_jobs_ready for each in readings if tube in each.tubes]


async def test_each_address_is_a_server_in_the_order_of_addresses() -> None:
    names = Names(C, A, B)
    with beanstalkds(A, B, C) as servers:
        for number, server in enumerate(servers):
            with client(server, "checkout") as jobs:
                for _ in range(number + 1):
                    jobs.put(b"job")
        lone = Server("us", A, servers[0].port)
        async with polling(named(servers), lone, look_up=names) as poller:
            await until(lambda: all_read(poller, 4))
            assert members(poller) == [A, B, C, None]
            assert ready(poller, "checkout") == [1, 2, 3, 1]
            assert {state.server.name for state in poller.snapshot.servers[:3]} == {"eu"}


async def test_a_name_with_one_address_has_no_members() -> None:
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=Names(A)) as poller:
            await until(lambda: all_read(poller, 1))
            assert members(poller) == [None]


async def test_one_that_is_down_or_hangs_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.beanstalkd.connection.REPLY_TIMEOUT_S", 3600)
    with beanstalkds(A) as servers, socket.create_server((B, servers[0].port)):
        async with polling(named(servers), look_up=Names(A, B, C)) as poller:
            await until(lambda: len(poller.snapshot.servers) == 3 and first(poller).reading is not None)
            before = reading(poller).listed_at
            await until(lambda: reading(poller).listed_at != before)
            await until(lambda: poller.snapshot.servers[2].attempted)
            alive, hung, gone = poller.snapshot.servers
    assert alive.failure is None
    assert not hung.attempted, "its answer is awaited"
    assert gone.failure is not None
    assert "refused" in gone.failure.message


async def test_a_new_address_is_read_and_an_old_one_stays_while_it_is_connected() -> None:
    """And goes with its connection, since it has had no job for a while."""
    names = Names(A)
    with beanstalkds(A, B) as (old, new):
        async with polling(named([old]), look_up=names) as poller:
            await until(lambda: all_read(poller, 1))
            names.addresses = [B]
            await until(lambda: all_read(poller, 2))
            await names.have_been_asked()
            assert members(poller) == [A, B]
            await until(lambda: is_idle(poller))
            old.stop()
            await until(lambda: members(poller) == [None])
            assert all_read(poller, 1)
            assert not poller.awaited()
            with client(new, "checkout") as jobs:
                jobs.put(b"job")
                await until(lambda: ready(poller, "checkout") == [1])


async def test_a_lone_server_that_moves_keeps_its_last_reading_until_it_is_read_again() -> None:
    names = Names(A)
    with beanstalkds(A, B) as (old, new):
        new.stop()
        async with polling(named([old]), look_up=names) as poller:
            await until(lambda: all_read(poller, 1))
            last = reading(poller)
            old.stop()
            names.addresses = DOWN
            await until(lambda: first(poller).failure is not None)
            names.addresses = [B]
            await names.have_been_asked()
            assert reading(poller).server_id == last.server_id
            new.start()
            await until(lambda: all_read(poller, 1))
            assert reading(poller).server_id != last.server_id


async def test_while_connections_work_dns_may_fail() -> None:
    names = Names(A, B)
    with beanstalkds(A, B) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller, 2))
            names.addresses = DOWN
            await names.have_been_asked()
            before = reading(poller).listed_at
            await until(lambda: reading(poller).listed_at != before)
            assert members(poller) == [A, B]
            assert all_read(poller, 2)


async def test_without_dns_an_address_isnt_connected_again_because_it_may_be_anothers_by_now() -> None:
    names = Names(A, B)
    with beanstalkds(A, B) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller, 2))
            names.addresses = DOWN
            servers[1].restart()
            await until(lambda: "can't be resolved" in str(poller.snapshot.servers[1].failure))
            await names.have_been_asked()
            assert poller.snapshot.servers[1].failure
            assert poller.snapshot.servers[1].reading, "the last good reading must be kept"
            assert first(poller).failure is None
            names.addresses = [A, B]
            await until(lambda: all_read(poller, 2))


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (DOWN, "its name can't be resolved (Temporary failure in name resolution)"),
        ([], "its name has no address"),
        ([f"127.0.1.{number}" for number in range(1, MOST_ADDRESSES + 2)], "its name has 33 addresses, and at most 32"),
    ],
    ids=["down", "none", "too many"],
)
async def test_a_name_that_leads_nowhere_is_one_failure(addresses: Sequence[str] | OSError, reason: str) -> None:
    names = Names()
    names.addresses = addresses
    async with polling(Server("eu", "queues.example", 1), look_up=names) as poller:
        assert poller.awaited() == ["eu"]
        await until(lambda: not poller.awaited())
        (state,) = poller.snapshot.servers
    assert state.failure
    assert reason in state.failure.message


async def test_a_name_that_gets_too_many_addresses_is_read_no_more() -> None:
    """A part of them would be a sum that is too small."""
    names = Names(A)
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller, 1))
            names.addresses = [A, *(f"127.0.1.{number}" for number in range(1, MOST_ADDRESSES + 1))]
            await until(lambda: "at most 32" in str(first(poller).failure))
            assert first(poller).reading is None
            names.addresses = [A]
            await until(lambda: all_read(poller, 1))


async def test_a_name_that_has_other_addresses_each_time_is_read_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is connected, and stays so when DNS lists it no more."""
    monkeypatch.setattr("app.beanstalkd.server.MOST_ADDRESSES", 1)
    names = Names(A)
    with beanstalkds(A, B, C) as servers:
        async with polling(named(servers), look_up=names) as poller:
            for number, address in enumerate((A, B), 1):
                names.addresses = [address]
                await until(lambda: all_read(poller, number))  # noqa: B023 - awaited before it changes
            names.addresses = [C]
            await until(lambda: "its name has 3 addresses, and at most 1 are read" in str(first(poller).failure))
            assert first(poller).reading is None


@pytest.mark.parametrize("listening", ["::1", "127.0.0.1"])
async def test_of_two_families_the_first_that_can_be_connected_is_read(listening: str) -> None:
    with beanstalkds(listening) as servers:
        async with polling(named(servers), look_up=Names("::1", "127.0.0.1")) as poller:
            await until(lambda: all_read(poller, 1))
            servers[0].restart()
            await until(lambda: first(poller).failure is not None)
            await until(lambda: all_read(poller, 1))
            assert members(poller) == [None]


async def test_localhost_is_one_server() -> None:
    with beanstalkds("127.0.0.1") as servers:
        async with polling(Server("eu", "localhost", servers[0].port)) as poller:
            await until(lambda: all_read(poller, 1))


async def test_two_addresses_of_one_beanstalkd_count_once() -> None:
    with beanstalkds("0.0.0.0") as servers, client(servers[0], "default") as watcher:  # noqa: S104 - both loopback addresses
        watcher.put(b"job")
        async with polling(named(servers), look_up=Names(A, B)) as poller:
            await until(lambda: all_read(poller, 1))
            for _ in range(2):
                before = reading(poller).listed_at
                await until(lambda: reading(poller).listed_at != before)  # noqa: B023 - awaited before it changes
                default = reading(poller).tubes["default"]
                assert (default.current_using, default.current_watching) == (1, 1), "both connections are ours"


async def test_two_addresses_of_one_beanstalkd_count_once_while_it_restarts_too() -> None:
    """Whichever address is read first afterwards: what is left of the other's old readings isn't added to it."""
    with beanstalkds("0.0.0.0") as servers:  # noqa: S104 - both loopback addresses
        async with polling(named(servers), look_up=Names(A, B)) as poller:
            await until(lambda: all_read(poller, 1))
            for _ in range(5):
                life = reading(poller).server_id
                servers[0].restart()
                lives: set[str] = set()
                looks = 0
                while looks < 100:
                    readings = [state.reading for state in poller.snapshot.servers if state.reading]
                    assert len(readings) <= 1
                    lives.update(each.server_id for each in readings)
                    looks += bool(lives - {life})  # counted from when the new life was read
                    await asyncio.sleep(0.01)
                assert len(lives - {life}) == 1


async def test_two_names_of_one_beanstalkd_know_both_connections_as_ours() -> None:
    with beanstalkds(A) as servers:
        pair = [Server(name, A, servers[0].port) for name in ("eu", "us")]
        async with polling(*pair) as poller:
            await until(lambda: all_read(poller, 2))
            before = [state.reading.listed_at for state in poller.snapshot.servers if state.reading]
            await until(
                lambda: (
                    not set(before) & {state.reading.listed_at for state in poller.snapshot.servers if state.reading}
                )
            )
            readings = [state.reading for state in poller.snapshot.servers if state.reading]
    counts = [(each.tubes["default"].current_using, each.tubes["default"].current_watching) for each in readings]
    assert set(chain.from_iterable(counts)) == {0}


async def test_a_loop_that_doesnt_turn_is_told_of() -> None:
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=Names(A)) as poller:
            await until(lambda: all_read(poller, 1))
            now = reading(poller).listed_at
            assert poller.stuck(now) is None
            later = type(now)(now.unix_s + 3600, now.monotonic_s + 3600)
            assert poller.stuck(later) == "eu"
