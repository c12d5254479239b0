"""Bounds on requests: who is turned away, who never is, and what takes too long."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.limits import MAX_UNSENT, Limits
from app.api.request import Caller, Request
from app.api.status import StatusError
from app.kube.reviews import User
from tests.unit.api.requests import scope

pytestmark = pytest.mark.anyio
ANONYMOUS = Caller(User("system:anonymous", ("system:unauthenticated",)), "anonymous")


async def sent_by(
    app: ASGIApp,
    path: str = "/metrics",
    reading: Callable[[], Any] = list,
    caller: Caller = ANONYMOUS,
) -> list[Message]:
    """What an application sends; `reading` is called for each message."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        waiting = reading()
        if asyncio.iscoroutine(waiting):
            await waiting

    async def receive() -> Message:
        raise AssertionError

    asked = scope(path)
    asked["request"] = Request(asked)
    asked["request"].caller = caller
    await app(asked, receive, send)
    return sent


async def test_the_in_flight_limit_rejects_requests_but_no_probe_and_not_system_masters() -> None:
    limited, go_on = Limits(max_direct=1), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await PlainTextResponse("done")(scope, receive, send)

    app = limited.of_users(waits)
    first = asyncio.create_task(sent_by(app))
    await asyncio.sleep(0)
    start, body = await sent_by(app)
    assert (start["status"], body["body"]) == (429, b"Too many requests, please try again later.\n")
    headers = dict(start["headers"])
    assert headers[b"retry-after"] == b"1"
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert limited.rejected == 1
    probe = asyncio.create_task(sent_by(app, "/livez"))
    master = asyncio.create_task(sent_by(app, caller=Caller(User("root", ("system:masters",)), "token")))
    await asyncio.sleep(0)
    go_on.set()
    assert [(await each)[0]["status"] for each in (first, probe, master)] == [200] * 3
    assert (await sent_by(app))[0]["status"] == 200
    assert limited.rejected == 1


async def test_no_user_takes_what_others_need() -> None:
    limited, go_on = Limits(max_forwarded=4, max_direct=4), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await PlainTextResponse("done")(scope, receive, send)

    app, waiting = limited.of_users(waits), []
    for by in ("token", "anonymous", "front-proxy"):
        for name in ("eve", "bob", "alice"):
            caller = Caller(User(f"{name}-{by != 'front-proxy'}", ()), by)  # type: ignore[arg-type]
            waiting += [asyncio.create_task(sent_by(app, caller=caller)) for _ in range(3)]
    await asyncio.sleep(0.01)
    rejected = [task.done() and task.result()[0]["status"] == 429 for task in waiting]
    two_of_each = [False, False, True, False, False, True, True, True, True]
    assert rejected == [*two_of_each, *[True] * 9, *two_of_each]
    go_on.set()
    await asyncio.gather(*waiting)
    assert (await sent_by(app))[0]["status"] == 200


async def forever(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.sleep(60)


async def test_a_request_that_takes_too_long_gets_504() -> None:
    limited = Limits(deadline_s=0.05)
    running = asyncio.create_task(limited.run())
    with pytest.raises(StatusError) as caught:
        async with asyncio.timeout(50):
            await sent_by(limited.of_responses(forever))
    running.cancel()
    assert caught.value.code == 504
    status = caught.value.content
    assert status["reason"] == "Timeout"
    assert status["message"] == "Timeout: request did not complete within the allotted timeout"


async def test_a_response_to_a_slow_reader_does_not_time_out() -> None:
    limited = Limits(deadline_s=0.05)
    running = asyncio.create_task(limited.run())
    app = limited.of_responses(Response(bytes(1 << 17)))
    sent = await sent_by(app, reading=lambda: asyncio.sleep(1.2))
    running.cancel()
    assert sum(len(message.get("body", b"")) for message in sent) == 1 << 17


async def test_a_cancellation_by_another_task_stays_a_cancellation() -> None:
    task = asyncio.create_task(sent_by(Limits().of_responses(forever)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_large_unread_responses_are_limited() -> None:
    """The next one is turned away; small ones are not."""
    limited, read = Limits(), asyncio.Event()
    large = limited.of_responses(Response(bytes(MAX_UNSENT // 2 + 1)))
    sending = asyncio.create_task(sent_by(large, reading=read.wait))
    await asyncio.sleep(0)
    assert (await sent_by(large))[0]["status"] == 429
    assert (await sent_by(limited.of_responses(Response(b"1"))))[0]["status"] == 200
    read.set()
    assert (await sending)[0]["status"] == 200
    assert (await sent_by(large))[0]["status"] == 200
