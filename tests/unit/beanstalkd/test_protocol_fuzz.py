"""Whatever comes from a port that should be beanstalkd's, in whatever pieces, is read right or refused."""

import re
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.beanstalkd.protocol import (
    MAX_BODY,
    InvalidField,
    PartialTubeStats,
    ProtocolError,
    ReplyParser,
    TubeStats,
    body_of,
    is_tube_name,
    parse_server_id,
    parse_tube,
    parse_tube_names,
)
from app.clock import Instant

AT = Instant(1, 1)
COUNTS = [field.replace("_", "-") for field in TubeStats._fields[2:-1]]

type Outcome = tuple[list[bytes | None], str | None]
"""The bodies that were read, and what the stream was refused for."""


def outcome(pieces: list[bytes]) -> Outcome:
    replies, read = ReplyParser(), []
    for piece in pieces:
        replies.feed(piece)
        try:
            while (reply := replies.next()) is not None:
                read.append(body_of(reply))
        except ProtocolError as refused:
            return read, str(refused)
    return read, None


def reply(body: bytes | None) -> bytes:
    return b"NOT_FOUND\r\n" if body is None else b"OK %d\r\n%b\r\n" % (len(body), body)


bodies = (
    st.none() | st.binary(max_size=50) | st.sampled_from([b"\r\n", b"OK 3\r\nabc\r\n", b"NOT_FOUND\r\n", b"x" * 300])
)
noise = st.binary(max_size=400) | st.text("OK 0123456789\r\nNOT_FOUND-abc", max_size=60).map(str.encode)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream in pieces of these sizes, and of these again until it ends."""
    pieces, start = [], 0
    while start < len(stream):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(stream[start : start + size])
        start += size
    return pieces


@given(st.lists(bodies, max_size=8), cuts)
def test_replies_are_the_same_however_the_stream_is_split(sent: list[bytes | None], sizes: list[int]) -> None:
    assert outcome(cut(b"".join(map(reply, sent)), sizes)) == (sent, None)


@given(st.lists(bodies, max_size=3), noise, cuts)
def test_errors_are_the_same_however_the_stream_is_split(
    sent: list[bytes | None], wrong: bytes, sizes: list[int]
) -> None:
    stream = b"".join(map(reply, sent)) + wrong
    whole = outcome([stream])
    assert whole[0][: len(sent)] == sent
    assert outcome(cut(stream, sizes)) == whole


counts = (
    st.integers(0, 2**63) | st.integers() | st.sampled_from([10**19 - 1, 10**19, 2**64 - 1, 2**64, 2**31, 2**32 - 1])
)
values = counts.map(str) | st.text("0123456789-+_ .exX\x00²٣", max_size=25) | st.sampled_from(["", "0x1", "1e3"])
lines = st.one_of(
    st.tuples(st.sampled_from(COUNTS), values),
    st.tuples(st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12), values),
    st.tuples(st.sampled_from(["name", "Name", " name", ""]), st.just("checkout")),
)


@given(st.fixed_dictionaries(dict.fromkeys(COUNTS, counts)), st.lists(lines, max_size=3), st.randoms())
def test_a_tubes_counts_are_those_of_the_only_line_with_their_key(
    given_counts: dict[str, int], more: list[tuple[str, str]], random: object
) -> None:
    named = [(field, str(value)) for field, value in given_counts.items()] + more
    random.shuffle(named)  # type: ignore[attr-defined]
    body = "\n".join(["---", "name: checkout", *(f"{field}: {value}" for field, value in named), ""]).encode()
    if [field for field, _ in named].count("name"):
        with pytest.raises(ProtocolError):
            parse_tube(body, "checkout", AT)
        return
    tube = parse_tube(body, "checkout", AT)
    for field, read in zip(COUNTS, tube[2:-1], strict=True):
        expected = expected_count(field, [value for key, value in named if key == field])
        assert isinstance(read, InvalidField) if expected is None else read == expected
    assert (tube.name, tube.answered_at, tube.body) == ("checkout", AT, body)


def expected_count(field: str, sent: list[str]) -> int | None:
    """A slow model that says the same in other words."""
    if len(sent) != 1 or not re.fullmatch(r"-?[0-9]{1,19}", sent[0]) or str(int(sent[0])) != sent[0]:
        return None
    number = int(sent[0])
    if field in {"current-using", "current-watching", "current-waiting"} and number > 2**31 - 1:
        return None
    if field.startswith("current-jobs") and 2**32 - 2**16 <= number < 2**32:
        return None
    return number if number >= 0 or field == "pause-time-left" else None


@given(st.binary(max_size=300) | st.text("---\nname: checkout0123456789", max_size=120).map(str.encode))
def test_any_body_is_a_tube_or_rejected(body: bytes) -> None:
    try:
        tube = parse_tube(body, "checkout", AT)
    except ProtocolError:
        return
    assert isinstance(tube, PartialTubeStats)  # random data never has thirteen valid fields


names = st.text("aZ0-+/;.$_()", min_size=1, max_size=200) | st.text(max_size=5).filter(lambda name: "\n" not in name)


@given(st.lists(names, max_size=6), st.booleans())
def test_a_list_is_accepted_only_with_distinct_tubes(listed: list[str], quoted: bool) -> None:
    body = "".join(["---\n", *(f'- "{name}"\n' if quoted else f"- {name}\n" for name in listed)]).encode()
    if all(map(is_tube_name, listed)) and len(set(listed)) == len(listed):
        assert parse_tube_names(body) == tuple(listed)
    else:
        with pytest.raises(ProtocolError):
            parse_tube_names(body)


@given(st.binary(max_size=200) | st.text('---\nid: "0f\n', max_size=60).map(str.encode))
def test_any_body_has_one_id_or_is_rejected(body: bytes) -> None:
    try:
        server_id = parse_server_id(body)
    except ProtocolError:
        return
    assert re.fullmatch("[0-9a-f]{1,64}", server_id)


@pytest.mark.parametrize(
    "body",
    [
        b"---\n" + b"- a\n" * (MAX_BODY // 4 - 1),
        b"---\nname: a\n" + b"pause: 1\n" * (MAX_BODY // 10),
        b"---\nname: " + b"a" * (MAX_BODY - 20),
        b"id: 00\n" * (MAX_BODY // 7),
        b"-" * MAX_BODY,
        b"\n" * MAX_BODY,
    ],
)
def test_the_largest_accepted_body_is_rejected_quickly_if_invalid(body: bytes) -> None:
    begun = thread_time()  # the parser's own, however busy the machine is
    for parse in (parse_tube_names, parse_server_id, lambda body: parse_tube(body, "a", AT)):
        with pytest.raises(ProtocolError):
            parse(body)
    assert thread_time() - begun < 1


def test_a_stream_of_single_bytes_is_read_in_linear_time() -> None:
    stream = reply(b"x" * 200_000)
    begun = thread_time()  # the parser's own, however busy the machine is
    assert outcome(cut(stream, [1])) == ([b"x" * 200_000], None)
    assert thread_time() - begun < 4
