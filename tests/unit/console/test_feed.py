"""A feed says what is new, at most once a second, and ends with its session."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from starlette.types import Message

from app.console.errors import RequestError
from app.console.feed import ALIVE, BYE, Feeds
from app.console.login import Session
from app.console.overview import Query, View, overview
from app.console.page_data import Page
from tests.unit.console.console import Console
from tests.unit.console.moments import at, server, tube

pytestmark = pytest.mark.anyio


class Telling:
    """A page whose answer a test sets; each question takes the clock a second on."""

    def __init__(self) -> None:
        self.second = 0.0
        self.answer: Any = {"ready": 0}
        self.asked = 0
        self.feeds = Feeds(self, lambda: at(self.second))
        self.session = Session(1000, "10.0.0.1")

    async def get(self, _name: str, _query: Mapping[str, str]) -> Page:
        self.asked += 1
        await asyncio.sleep(0)
        self.second += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        answer = {**self.answer, "now": self.second}
        return Page.of(lambda: answer)

    def stream(self) -> AsyncIterator[bytes]:
        return self.feeds.events("tube", {}, self.session)


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Telling:
    monkeypatch.setattr("app.console.feed.PERIOD_S", 0.01)
    return Telling()


def update(event: bytes) -> Any:
    kind, data, *end = event.decode().split("\n")
    assert (kind, end) == ("event: update", ["", ""])
    return json.loads(data.removeprefix("data: "))


async def test_the_first_update_is_immediate_and_the_next_follows_a_change(telling: Telling) -> None:
    stream = telling.stream()
    assert update(await anext(stream)) == {"ready": 0, "now": 1}
    telling.answer = {"ready": 1}
    assert update(await anext(stream)) == {"ready": 1, "now": 2}


async def test_without_changes_the_same_update_is_sent_every_five_seconds(telling: Telling) -> None:
    stream = telling.stream()
    events = [await anext(stream) for _ in range(11)]
    assert [update(events[number])["now"] for number in (0, 5, 10)] == [1, 6, 11]
    assert set(events[1:5] + events[6:10]) == {ALIVE}


async def test_a_stream_that_is_woken_shows_news_at_once(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.console.feed.PERIOD_S", 3600)
    stream = telling.stream()
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.01)
    telling.answer = {"ready": 1}
    telling.feeds.wake()
    assert update(await asyncio.wait_for(waiting, 10))["ready"] == 1


async def test_no_update_is_computed_for_a_page_that_doesnt_read(telling: Telling) -> None:
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


async def test_a_feed_ends_at_shutdown_and_the_session_stays(telling: Telling) -> None:
    stream = telling.stream()
    await anext(stream)
    telling.feeds.shut_down()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_update_that_fails_is_reported_and_the_feed_continues(telling: Telling) -> None:
    stream = telling.stream()
    await anext(stream)
    telling.answer = RequestError("there is no such autoscaler", 404)
    assert await anext(stream) == b'event: problem\ndata: {"error":"There is no such autoscaler."}\n\n'
    telling.answer = {"ready": 2}
    assert update(await anext(stream))["ready"] == 2


async def test_no_text_ends_an_event_early(telling: Telling) -> None:
    telling.answer = {"text": "a\n\nevent: bye\ndata: {}\r\n\r\n"}
    event = await anext(telling.stream())
    assert event.count(b"\n") == 3
    assert b"\r" not in event


async def test_ten_streams_of_ten_thousand_tubes_dont_block_the_event_loop() -> None:
    """In processor time, so that a busy machine doesn't fail the test."""
    console = Console(states=(server(*(tube(f"tube-{number:05}", ready=number % 97) for number in range(10_000))),))
    session, longest_s, ended = Session(1000, "10.0.0.1"), 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal longest_s
        while not ended.is_set():
            began_s = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - began_s)

    watching = asyncio.create_task(watch())
    sorts = (
        "ready",
        "-ready",
        "tube",
        "-tube",
        "-reserved",
        "-buried",
        "-putPerSecond",
        "pauseLeft",
        "server",
        "-using",
    )
    for second in range(3):
        console.now = at(second)
        streams = [console.feeds.events("overview", {"sort": sort, "q": "TUBE"}, session) for sort in sorts]
        events = await asyncio.gather(*(anext(stream) for stream in streams))
        assert {update(event)["total"] for event in events} == {10_000}
    ended.set()
    await watching
    assert longest_s < 0.01  # about 0.004 on a quiet machine; sorting on the loop took 0.025 to 0.16


async def test_streams_of_the_same_page_share_one_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Query] = []

    def counted(view: View, query: Query) -> Any:
        computed.append(query)
        return overview(view, query)

    monkeypatch.setattr("app.console.page_data.overview", counted)
    console, session = Console(), Session(1000, "10.0.0.1")
    streams = [console.feeds.events("overview", {"q": "orders"}, session) for _ in range(10)]
    events = await asyncio.gather(*(anext(stream) for stream in streams))
    assert (len(set(events)), len(computed)) == (1, 1)
    console.states = (server(tube(ready=4), second=0.1),)
    streams = [console.feeds.events("overview", {"q": "orders"}, session) for _ in range(10)]
    assert update(await anext(streams[0]))["tubes"][0]["ready"] == 4
    assert len(computed) == 2


async def test_streams_that_are_opened_at_once_cant_exceed_the_limit(telling: Telling) -> None:
    telling.feeds = Feeds(telling, lambda: at(telling.second), limit=2)
    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def open_one() -> None:
        state = {"session": telling.session}
        scope = {"type": "http", "method": "GET", "query_string": b"page_name=tube", "state": state}
        await telling.feeds(scope, receive, send)

    opening = [asyncio.create_task(open_one()) for _ in range(10)]
    done, pending = await asyncio.wait(opening, timeout=0.5)
    refused = [task.exception() for task in done]
    assert [getattr(error, "status", None) for error in refused] == [503] * 8
    assert (statuses, len(telling.feeds)) == ([200, 200], 2)
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    assert len(telling.feeds) == 0
