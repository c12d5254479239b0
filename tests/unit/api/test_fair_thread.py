"""Clients take turns in the thread for long calls."""

import asyncio
import threading
from functools import partial

import pytest

from app.api.fair_thread import FairThread

pytestmark = pytest.mark.anyio


async def test_many_calls_of_one_client_delay_another_client_by_one() -> None:
    thread, go_on, order = FairThread("test"), threading.Event(), list[str]()

    def call(name: str) -> None:
        assert go_on.wait(60)
        order.append(name)

    names = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
    tasks = [asyncio.create_task(thread.run(name[0], partial(call, name))) for name in names]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*tasks)
    assert order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_a_call_that_is_cancelled_or_fails_keeps_no_other_waiting() -> None:
    thread, go_on = FairThread("test"), threading.Event()

    def fail() -> None:
        assert go_on.wait(60)
        raise ZeroDivisionError

    running = asyncio.create_task(thread.run("a", fail))
    waiting = asyncio.create_task(thread.run("b", lambda: "never"))
    failing = asyncio.create_task(thread.run("b", fail))
    last = asyncio.create_task(thread.run("b", lambda: "last"))
    await asyncio.sleep(0)
    waiting.cancel()
    running.cancel()
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(60):
        assert await last == "last"
    with pytest.raises(ZeroDivisionError):
        await failing
    assert running.cancelled()
    assert waiting.cancelled()
    assert await thread.run("a", lambda: "again") == "again"
