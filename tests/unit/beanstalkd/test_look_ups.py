"""Who asks for a look-up is answered by one that began after that: what DNS said before may hold no more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app import clock
from app.beanstalkd.look_ups import LookUps

pytestmark = pytest.mark.anyio


@pytest.fixture
async def look_ups() -> AsyncIterator[LookUps]:
    """Each tells which one it is."""
    made = LookUps(clock.now)

    async def keep_looking() -> None:
        number = 0
        while True:
            number += 1
            made.begin()
            await asyncio.sleep(0.1)
            await made.end(f"look-up {number}", in_vain=False)

    task = asyncio.create_task(keep_looking())
    yield made
    task.cancel()


async def test_who_asks_in_the_midst_of_one_is_answered_by_the_one_after_it(look_ups: LookUps) -> None:
    await asyncio.sleep(0.05)
    assert await asyncio.gather(look_ups.ask(), look_ups.ask()) == ["look-up 2", "look-up 2"]
    assert await look_ups.ask() == "look-up 3", "asked between two"
