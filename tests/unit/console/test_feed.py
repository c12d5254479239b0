"""A feed says what is new, at most once a second, and ends with its session."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.console.errors import RequestError
from app.console.feed import BYE, Feeds
from app.console.login import Session
from tests.unit.console.moments import at

pytestmark = pytest.mark.anyio


class Telling:
    """A page whose answer a test sets; each question takes the clock a second on."""

    def __init__(self) -> None:
        self.second = 0.0
        self.answer: Any = {"ready": 0}
        self.asked = 0
        self.feeds = Feeds(lambda: at(self.second))
        self.session = Session(1000, "10.0.0.1")

    async def page(self) -> Any:
        self.asked += 1
        self.second += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {**self.answer, "now": self.second}

    def stream(self) -> AsyncIterator[bytes]:
        return self.feeds.stream(self.page, self.session)


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Telling:
    monkeypatch.setattr("app.console.feed.PERIOD_S", 0.01)
    return Telling()


def update(event: bytes) -> Any:
    kind, data, *end = event.decode().split("\n")
    assert (kind, end) == ("event: update", ["", ""])
    return json.loads(data.removeprefix("data: "))


async def test_the_first_update_comes_at_once_and_the_next_when_something_changed(telling: Telling) -> None:
    stream = telling.stream()
    assert update(await anext(stream)) == {"ready": 0, "now": 1}
    telling.answer = {"ready": 1}
    assert update(await anext(stream)) == {"ready": 1, "now": 2}


async def test_while_nothing_changes_the_same_is_told_every_five_seconds(telling: Telling) -> None:
    stream = telling.stream()
    times = [update(await anext(stream))["now"] for _ in range(3)]
    assert times == [1, 6, 11]


async def test_nothing_is_made_for_a_page_that_takes_nothing(telling: Telling) -> None:
    stream = telling.stream()
    await anext(stream)
    await asyncio.sleep(0.1)
    assert telling.asked == 1


async def test_a_feed_ends_with_its_session(telling: Telling) -> None:
    stream = telling.stream()
    await anext(stream)
    telling.session.ended = True
    assert await anext(stream) == BYE
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert len(telling.feeds) == 0


async def test_a_feed_ends_when_the_server_leaves_and_nobody_is_signed_out(telling: Telling) -> None:
    stream = telling.stream()
    await anext(stream)
    telling.feeds.leave()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_what_cant_be_told_any_more_is_said_and_the_feed_goes_on(telling: Telling) -> None:
    stream = telling.stream()
    await anext(stream)
    telling.answer = RequestError("there is no such autoscaler", 404)
    assert await anext(stream) == b'event: problem\ndata: {"error":"There is no such autoscaler."}\n\n'
    telling.answer = {"ready": 2}
    assert update(await anext(stream))["ready"] == 2


async def test_no_text_ends_an_event_before_its_time(telling: Telling) -> None:
    telling.answer = {"text": "a\n\nevent: bye\ndata: {}\r\n\r\n"}
    event = await anext(telling.stream())
    assert event.count(b"\n") == 3
    assert b"\r" not in event


async def test_feeds_have_a_number(telling: Telling) -> None:
    telling.feeds = Feeds(lambda: at(telling.second), most=1)
    assert not telling.feeds.are_full
    stream = telling.stream()
    await anext(stream)
    assert telling.feeds.are_full
    await stream.aclose()  # type: ignore[attr-defined] # a generator
    assert not telling.feeds.are_full
