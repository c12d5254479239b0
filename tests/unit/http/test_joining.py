"""An answer's head travels with the first of its body, and nothing of any answer is held back for good."""

import asyncio

import pytest

from app.http.joining import JoiningTransport


class Wire(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.written


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def joining(wire: Wire) -> JoiningTransport:
    return JoiningTransport(wire)


def test_head_and_body_are_one(joining: JoiningTransport, wire: Wire) -> None:
    for answer in (b"1", b"2"):
        joining.write(b"head " + answer)
        joining.write(b" body")
        joining.flush()
    assert wire.written == [b"head 1 body", b"head 2 body"]


def test_of_a_long_body_the_rest_follows_at_once(joining: JoiningTransport, wire: Wire) -> None:
    for piece in (b"head", b"a", b"b", b"c"):
        joining.write(piece)
    assert wire.written == [b"heada", b"b", b"c"]


def test_an_answer_without_a_body_goes_out_when_it_is_whole(joining: JoiningTransport, wire: Wire) -> None:
    joining.write(b"head")
    joining.flush()
    assert wire.written == [b"head"]


def test_what_is_left_goes_out_before_the_end(joining: JoiningTransport, wire: Wire) -> None:
    joining.write(b"head")
    joining.close()
    assert wire.written == [b"head", b"closed"]
    assert joining.is_closing()
