"""Bounds on requests: who is turned away, who never is, and what takes too long."""

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import Message

from app.api.limits import MOST_UNSENT, Deadline, Requests
from app.api.status import StatusError

pytestmark = pytest.mark.anyio


def test_one_more_than_may_be_under_way_is_too_many() -> None:
    requests = Requests(most=1)
    with requests:
        assert not requests.are_too_many
        with requests:
            assert requests.are_too_many
        assert not requests.are_too_many
    assert requests.under_way == 0


def test_too_many_is_said_in_kubernetes_words() -> None:
    requests = Requests()
    response = requests.too_many()
    assert (response.status_code, response.body) == (429, b"Too many requests, please try again later.\n")
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert requests.rejected == 1


async def test_what_takes_too_long_ends_with_504() -> None:
    deadline = Deadline(seconds=0.05)
    keeping = asyncio.create_task(deadline.keep())

    async def forever() -> None:
        with deadline:
            await asyncio.sleep(60)

    with pytest.raises(StatusError) as caught:
        async with asyncio.timeout(50):
            await forever()
    keeping.cancel()
    assert caught.value.code == 504
    status = caught.value.content
    assert status["reason"] == "Timeout"
    assert status["message"] == "Timeout: request did not complete within the allotted timeout"


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    deadline = Deadline()

    async def forever() -> None:
        with deadline:
            await asyncio.sleep(60)

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_large_answers_that_nobody_reads_are_bounded() -> None:
    """The next one is turned away; small ones are not."""
    requests, read = Requests(), asyncio.Event()

    async def send(_message: Message) -> None:
        await read.wait()

    large = Response(bytes(MOST_UNSENT // 2 + 1))
    sending = asyncio.create_task(requests.send(large, send))
    await asyncio.sleep(0)
    assert requests.fitting(large).status_code == 429
    assert requests.fitting(small := Response(b"1")) is small
    read.set()
    await sending
    assert requests.fitting(large) is large
