"""One name is one beanstalkd: which of its addresses is read, and when they are an error.

DNS is a function: what a resolver answers must change while the test runs. All else is real: beanstalkds at several
loopback addresses, on one port.
"""

from collections.abc import Sequence
from itertools import chain

import pytest

from app.beanstalkd.poller import Poller
from app.beanstalkd.server import MAX_ADDRESSES
from app.settings import Server
from tests.beanstalkd.names import DOWN, Names, all_read, named
from tests.beanstalkd.reading import beanstalkds, client, first, polling, reading, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hastened")]
A, B, C = "127.0.0.2", "127.0.0.3", "127.0.0.10"
SOLUTION = "configure one entry for each server, in the chart with beanstalkd.external[].statefulSet"


def error(poller: Poller) -> str:
    failure = first(poller).failure
    return failure.message if failure else ""


async def test_a_name_of_different_servers_is_an_error_with_the_solution() -> None:
    """A reading of one of them would be a sum that is too small."""
    with beanstalkds(A, B) as servers:
        async with polling(named(servers), look_up=Names(A, B)) as poller:
            await until(lambda: first(poller).attempted)
            assert error(poller) == f"its name leads to different servers ({A}, {B}); {SOLUTION}"
            assert first(poller).reading is None


@pytest.mark.parametrize("other_runs", [True, False], ids=["another server", "an address that doesn't answer"])
async def test_a_second_server_that_appears_later_is_an_error_while_dns_lists_it(*, other_runs: bool) -> None:
    names = Names(A)
    with beanstalkds(A, B) as servers:
        if not other_runs:
            servers[1].stop()
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller))
            names.addresses = [A, B]
            await until(lambda: SOLUTION in error(poller))
            assert B in error(poller)
            assert first(poller).reading is None, "the jobs of the other would be missing"
            names.addresses = [A]
            await until(lambda: all_read(poller))


async def test_an_address_that_does_not_reply_may_be_another_server() -> None:
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=Names(A, B)) as poller:
            await until(lambda: first(poller).attempted)
            assert error(poller) == (
                f"its name leads to {A}, {B}, and {B} may be another server (connection refused); {SOLUTION}"
            )


async def test_two_addresses_of_one_beanstalkd_are_one_server() -> None:
    with beanstalkds("0.0.0.0") as servers, client(servers[0], "default") as watcher:  # noqa: S104 - both loopback addresses
        watcher.put(b"job")
        async with polling(named(servers), look_up=Names(A, B)) as poller:
            await until(lambda: all_read(poller))
            for _ in range(2):
                before = reading(poller).listed_at
                await until(lambda: reading(poller).listed_at != before)  # noqa: B023 - awaited before it changes
                default = reading(poller).tubes["default"]
                assert (default.current_using, default.current_watching) == (1, 1), "beanscale's own aren't counted"
            servers[0].restart()
            await until(lambda: first(poller).failure is not None)
            await until(lambda: all_read(poller))


@pytest.mark.parametrize("listening", ["::1", "127.0.0.1"])
async def test_of_two_families_the_one_that_replies_is_read(listening: str) -> None:
    with beanstalkds(listening) as servers:
        async with polling(named(servers), look_up=Names("::1", "127.0.0.1")) as poller:
            await until(lambda: all_read(poller))
            servers[0].restart()
            await until(lambda: first(poller).failure is not None)
            await until(lambda: all_read(poller))


async def test_two_families_with_different_servers_are_an_error() -> None:
    with beanstalkds("127.0.0.1", "::1") as servers:
        async with polling(named(servers), look_up=Names("::1", "127.0.0.1")) as poller:
            await until(lambda: "different servers (::1, 127.0.0.1)" in error(poller))


async def test_localhost_is_one_server() -> None:
    with beanstalkds("127.0.0.1") as servers:
        async with polling(Server("eu", "localhost", servers[0].port)) as poller:
            await until(lambda: all_read(poller))


async def test_a_name_that_moves_is_read_at_its_new_address() -> None:
    """Also while the server at the old address still answers, but not before another one answers."""
    names = Names(A)
    with beanstalkds(A, B) as (old, new):
        new.stop()
        async with polling(named([old]), look_up=names) as poller:
            await until(lambda: all_read(poller))
            life = reading(poller).server_id
            names.addresses = [B]
            await names.have_been_asked()
            before = reading(poller).listed_at
            await until(lambda: reading(poller).listed_at != before)
            assert (reading(poller).server_id, first(poller).failure) == (life, None), "an address that answers is read"
            new.start()
            await until(lambda: reading(poller).server_id != life)
            assert first(poller).failure is None


async def test_a_server_that_moves_keeps_its_last_reading_until_it_is_read_again() -> None:
    names = Names(A)
    with beanstalkds(A, B) as (old, new):
        new.stop()
        async with polling(named([old]), look_up=names) as poller:
            await until(lambda: all_read(poller))
            last = reading(poller)
            old.stop()
            names.addresses = DOWN
            await until(lambda: first(poller).failure is not None)
            names.addresses = [B]
            await names.have_been_asked()
            assert reading(poller).server_id == last.server_id
            new.start()
            await until(lambda: all_read(poller))
            assert reading(poller).server_id != last.server_id


async def test_while_the_connection_works_dns_may_fail() -> None:
    names = Names(A)
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller))
            names.addresses = DOWN
            await names.have_been_asked()
            before = reading(poller).listed_at
            await until(lambda: reading(poller).listed_at != before)
            assert all_read(poller)


async def test_without_dns_an_address_is_not_connected_again_because_it_may_belong_to_another_server() -> None:
    names = Names(A)
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller))
            names.addresses = DOWN
            servers[0].restart()
            await until(lambda: "DNS lookup failed" in error(poller))
            await names.have_been_asked()
            assert first(poller).reading, "the last good reading must be kept"
            names.addresses = [A]
            await until(lambda: all_read(poller))


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (DOWN, "DNS lookup failed (Temporary failure in name resolution)"),
        ([], "DNS lookup failed (no address)"),
        (
            [f"127.0.1.{number}" for number in range(1, MAX_ADDRESSES + 2)],
            f"its name resolves to 33 addresses, the limit is 32; {SOLUTION}",
        ),
    ],
    ids=["down", "none", "too many"],
)
async def test_a_name_without_address_is_a_failure(addresses: Sequence[str] | OSError, reason: str) -> None:
    names = Names()
    names.addresses = addresses
    async with polling(Server("eu", "queues.example", 1), look_up=names) as poller:
        assert poller.awaited() == ["eu"]
        await until(lambda: not poller.awaited())
        assert error(poller) == reason


async def test_a_name_that_gets_too_many_addresses_is_no_longer_read() -> None:
    names = Names(A)
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=names) as poller:
            await until(lambda: all_read(poller))
            names.addresses = [A, *(f"127.0.1.{number}" for number in range(1, MAX_ADDRESSES + 1))]
            await until(lambda: "the limit is 32" in error(poller))
            assert first(poller).reading is None
            names.addresses = [A]
            await until(lambda: all_read(poller))


async def test_a_server_that_is_down_delays_no_other() -> None:
    with beanstalkds(A) as servers:
        async with polling(Server("gone", B, servers[0].port), named(servers), look_up=Names(A)) as poller:
            await until(lambda: all(state.attempted for state in poller.snapshot.servers))
            gone, alive = poller.snapshot.servers
            assert alive.failure is None
            assert gone.failure is not None
            assert "refused" in gone.failure.message


async def test_with_two_names_of_one_beanstalkd_both_connections_are_beanscales() -> None:
    with beanstalkds(A) as servers:
        pair = [Server(name, A, servers[0].port) for name in ("eu", "us")]
        async with polling(*pair) as poller:
            await until(lambda: all(state.reading for state in poller.snapshot.servers))
            before = [state.reading.listed_at for state in poller.snapshot.servers if state.reading]
            await until(
                lambda: (
                    not set(before) & {state.reading.listed_at for state in poller.snapshot.servers if state.reading}
                )
            )
            readings = [state.reading for state in poller.snapshot.servers if state.reading]
    counts = [(each.tubes["default"].current_using, each.tubes["default"].current_watching) for each in readings]
    assert set(chain.from_iterable(counts)) == {0}


async def test_a_poll_loop_that_makes_no_progress_is_reported() -> None:
    with beanstalkds(A) as servers:
        async with polling(named(servers), look_up=Names(A)) as poller:
            await until(lambda: all_read(poller))
            now = reading(poller).listed_at
            assert poller.stuck(now) is None
            later = type(now)(now.unix_s + 3600, now.monotonic_s + 3600)
            assert poller.stuck(later) == "eu"
