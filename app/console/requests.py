"""A request as the guard sees it: its headers, cookies and body, read within bounds."""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope

MOST_BODY = 4 << 20
"""Bytes: a job of 1 MiB, written as hex or in JSON's escapes."""
MOST_FORM = 1 << 14
"""Bytes, of who hasn't signed in yet."""
BODY_S = 30.0
"""How long a body may take to come."""
FORM_S = 5.0
"""The same, of who hasn't signed in yet."""
_COOKIE = "beanscale"
_MOST_FIELDS = 10
_PORT = re.compile(r":([0-9]{1,5})$")


class BodyTooLargeError(Exception):
    """`str()` is a sentence."""


class BodyTooSlowError(Exception):
    """It didn't come in time, or not at all."""


def headers_of(scope: Scope) -> Mapping[str, str]:
    """By lower-case name; of several of one name the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def cookie_name(headers: Mapping[str, str]) -> str:
    """With the port that the browser sees: it shares cookies among all ports, as of two clusters' port-forwards."""
    port = _PORT.search(headers.get("host", ""))
    return f"{_COOKIE}-{port[1]}" if port else _COOKIE


def cookie_of(headers: Mapping[str, str]) -> str | None:
    """What our cookie holds."""
    wanted = cookie_name(headers)
    for pair in headers.get("cookie", "").split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name == wanted:
            return value
    return None


def is_https(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether the browser's side is encrypted, as a proxy before us says, or the browser itself with its forms."""
    told = headers.get("x-forwarded-proto", "").split(",")[0].strip()
    return "https" in {scope.get("scheme"), told} or headers.get("origin", "").startswith("https://")


async def read_body(receive: Receive, headers: Mapping[str, str], most: int, within_s: float = BODY_S) -> bytes:
    """All of it. Raises BodyTooLargeError, BodyTooSlowError."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > most:
        raise BodyTooLargeError(_too_large(most))
    try:
        async with asyncio.timeout(within_s):
            return await _read(receive, most)
    except TimeoutError:
        raise BodyTooSlowError(f"the request's body didn't come within {within_s:.0f} s") from None


async def _read(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyTooSlowError("the connection ended in the middle of the request")
        body += message.get("body", b"")
        if len(body) > most:
            raise BodyTooLargeError(_too_large(most))
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> str:
    return f"the request has more than {most:,} bytes, and no more are taken here"


def again(body: bytes, receive: Receive) -> Receive:
    """For whoever comes next: the body once more, and then what else comes."""
    message: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return message.pop() if message else await receive()

    return receive_again


def form_of(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
    """An HTML form's fields; none where it is none, or has too many."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}
