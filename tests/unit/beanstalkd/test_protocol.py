"""An answer of beanstalkd is taken whole and true, or not at all."""

import pytest

from app.beanstalkd.protocol import (
    MAX_STATS,
    MAX_TUBES,
    ProtocolError,
    ReplyParser,
    body_of,
    parse_draining,
    parse_job_totals,
    parse_server_id,
    parse_tube,
    parse_tube_names,
    stats_tube,
)
from app.clock import Instant

AT = Instant(1, 1)
FIELDS = {
    "current-jobs-urgent": 1,
    "current-jobs-ready": 2,
    "current-jobs-reserved": 3,
    "current-jobs-delayed": 4,
    "current-jobs-buried": 5,
    "total-jobs": 6,
    "current-using": 7,
    "current-watching": 8,
    "current-waiting": 9,
    "cmd-delete": 10,
    "cmd-pause-tube": 11,
    "pause": 0,
    "pause-time-left": -1,
}


def stats(name: str = '"checkout"', **changed: object) -> bytes:
    fields = FIELDS | {field.replace("_", "-"): value for field, value in changed.items()}
    lines = [f"{field}: {value}" for field, value in fields.items() if value is not None]
    return "\n".join(["---", f"name: {name}", *lines, ""]).encode()


@pytest.mark.parametrize("name", ['"checkout"', "checkout"])
def test_a_tubes_name_is_parsed_quoted_as_since_1_13_and_bare_as_before(name: str) -> None:
    tube = parse_tube(stats(name), "checkout", AT)
    assert (tube.name, tube.current_jobs_ready, tube.pause_time_left, tube.answered_at) == ("checkout", 2, -1, AT)


@pytest.mark.parametrize("name", ["007", "1_000", "---", "a/b;c$(d)+e.f_g", "a" * 200])
def test_a_name_that_looks_like_another_type_stays_text(name: str) -> None:
    if not name.startswith("-"):
        assert parse_tube(stats(name), name, AT).name == name


def test_the_order_of_fields_does_not_matter() -> None:
    start, name, *fields, end = stats().split(b"\n")
    reordered = parse_tube(b"\n".join([start, name, *reversed(fields), end]), "checkout", AT)
    assert reordered._replace(body=b"") == parse_tube(stats(), "checkout", AT)._replace(body=b"")
    first, *others = JOBS.splitlines(keepends=True)
    assert parse_job_totals(b"---\n" + b"".join([*reversed(others), first]), AT) == parse_job_totals(JOBS, AT)


def test_fields_that_later_versions_add_are_ignored() -> None:
    assert parse_tube(stats(new_field=3), "checkout", AT).current_jobs_ready == 2


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (stats('"other"'), "about tube 'other'"),
        (stats(""), "about tube 'none'"),
        (stats(current_jobs_ready=None), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="two"), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="1_0"), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="2.5"), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready=2**64 - 1), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="02"), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="-0"), "sent no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready=-1), "count below zero"),
        (stats() + b"current-jobs-ready: 2\n", "sent 'current-jobs-ready' twice"),
        (stats() + b"current-jobs-ready: many\n", "sent 'current-jobs-ready' twice"),
        (stats() + b'name: "other"\n', "sent 'name' twice"),
        (stats('"checkout'), "about tube 'none'"),
        (stats().removeprefix(b"---\n"), "about tube 'none'"),
        (stats() + b"new: %b\n" % (b"x" * MAX_STATS), "the limit is 8,192"),
        (b"", "about tube 'none'"),
    ],
)
def test_an_invalid_reply_is_rejected(body: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint) as refused:
        parse_tube(body, "checkout", AT)
    assert refused.value.names_tube == ("'checkout'" in str(refused.value))


def test_the_list_of_tubes_is_parsed_in_both_quotings() -> None:
    assert parse_tube_names(b'---\n- default\n- "a/b"\n') == ("default", "a/b")


def test_a_second_field_is_noticed_whatever_the_tubes_name() -> None:
    with pytest.raises(ProtocolError, match="twice"):
        parse_tube(stats("7") + b"current-jobs-ready: many\n", "7", AT)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"---\n- a\n- a\n",
        b"---\n- a b\n",
        b"---\na\n",
        b"- a\n",
        b"---\n- \n",
        b"---\n- -a\n",
        b'---\n- "a\n',
        b"---\n" + b"".join(b"- %d\n" % tube for tube in range(MAX_TUBES)),
    ],
)
def test_an_invalid_list_of_tubes_is_rejected(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_tube_names(body)


def test_the_servers_id_is_parsed_in_both_quotings() -> None:
    assert parse_server_id(b"---\npid: 1\nid: 00ff\n") == parse_server_id(b'---\nid: "00ff"\n') == "00ff"
    with pytest.raises(ProtocolError, match="check that this is a beanstalkd"):
        parse_server_id(b"---\npid: 1\n")
    with pytest.raises(ProtocolError, match="several ids"):
        parse_server_id(b"---\nid: 00ff\nid: 00fe\n")


def test_the_command_for_a_tube_ends_with_its_name() -> None:
    assert stats_tube("a;b") == b"stats-tube a;b\r\n"


def bodies(parser: ReplyParser) -> list[bytes | None]:
    read = []
    while (reply := parser.next()) is not None:
        read.append(body_of(reply))
    return read


@pytest.mark.parametrize(
    "stream",
    [
        b"INTERNAL_ERROR\r\n",
        b"OK\r\n",
        b"OK -1\r\n",
        b"OK 2x\r\n",
        b"OK 99999999\r\n",
        b"OK 2\r\nabcd",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"x" * 300,
    ],
)
def test_a_stream_of_another_protocol_is_rejected_at_the_first_byte_that_differs(stream: bytes) -> None:
    replies = ReplyParser()
    replies.feed(stream)
    with pytest.raises(ProtocolError):
        bodies(replies)


@pytest.mark.parametrize(
    ("stats", "draining"),
    [
        pytest.param(b"---\nid: 0f\ndraining: true\n", True, id="takes no job any more"),
        pytest.param(b"---\nid: 0f\ndraining: false\n", False, id="takes jobs"),
        pytest.param(b"---\nid: 0f\n", None, id="before 1.12"),
        pytest.param(b"---\nhostname: draining: true\n", None, id="a name that says so"),
    ],
)
def test_a_servers_draining_state_is_parsed(stats: bytes, draining: bool | None) -> None:
    assert parse_draining(stats) is draining


JOBS = (
    b"current-jobs-urgent: 1\ncurrent-jobs-ready: 7\ncurrent-jobs-reserved: 3\ncurrent-jobs-delayed: 2\n"
    b"current-jobs-buried: 9223372036854775807\n"
)


def test_a_servers_number_of_jobs_is_parsed() -> None:
    assert parse_job_totals(b"---\n" + JOBS + b"total-jobs: 99\n", AT) == (AT, 7, 3, 2, 9223372036854775807)


@pytest.mark.parametrize(
    "stats",
    [
        pytest.param(b"---\nid: 0f\n", id="none"),
        pytest.param(b"---\n" + JOBS + b"current-jobs-buried: 1\n", id="one of them twice"),
        pytest.param(b"---\n" + JOBS.replace(b": 3", b": -3"), id="fewer than none"),
        pytest.param(b"---\n" + JOBS.replace(b": 2", b": 2.0"), id="no whole number"),
        pytest.param(b"---\nhostname: " + JOBS.replace(b"\n", b" "), id="a name that says so"),
    ],
)
def test_a_server_with_an_ambiguous_number_of_jobs_has_none(stats: bytes) -> None:
    assert parse_job_totals(stats, AT) is None
