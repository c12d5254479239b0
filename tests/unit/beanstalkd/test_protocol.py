"""An answer of beanstalkd is taken whole and true, or not at all."""

import pytest

from app.beanstalkd.protocol import (
    MAX_STATS,
    MOST_TUBES,
    ProtocolError,
    Replies,
    parse_draining,
    parse_hostname,
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
def test_a_tubes_name_is_read_quoted_as_since_1_13_and_bare_as_before(name: str) -> None:
    tube = parse_tube(stats(name), "checkout", AT)
    assert (tube.name, tube.current_jobs_ready, tube.pause_time_left, tube.answered_at) == ("checkout", 2, -1, AT)


@pytest.mark.parametrize("name", ["007", "1_000", "---", "a/b;c$(d)+e.f_g", "a" * 200])
def test_a_name_that_looks_like_something_else_stays_a_name(name: str) -> None:
    if not name.startswith("-"):
        assert parse_tube(stats(name), name, AT).name == name


def test_fields_that_later_versions_add_are_ignored() -> None:
    assert parse_tube(stats(new_field=3), "checkout", AT).current_jobs_ready == 2


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (stats('"other"'), "the answer names 'other'"),
        (stats(""), "the answer names 'nothing'"),
        (stats(current_jobs_ready=None), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="two"), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="1_0"), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="2.5"), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready=2**64 - 1), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="02"), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready="-0"), "no integer 'current-jobs-ready'"),
        (stats(current_jobs_ready=-1), "counts below zero"),
        (stats() + b"current-jobs-ready: 2\n", "has 'current-jobs-ready' twice"),
        (stats() + b"current-jobs-ready: many\n", "has 'current-jobs-ready' twice"),
        (stats() + b'name: "other"\n', "has 'name' twice"),
        (stats('"checkout'), "the answer names 'nothing'"),
        (stats().removeprefix(b"---\n"), "the answer names 'nothing'"),
        (stats() + b"new: %b\n" % (b"x" * MAX_STATS), "at most 8,192 are read"),
        (b"", "the answer names 'nothing'"),
    ],
)
def test_an_answer_that_cant_be_trusted_is_refused(body: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        parse_tube(body, "checkout", AT)


def test_the_list_of_tubes_is_read_in_both_quotings() -> None:
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
        b"---\n" + b"".join(b"- %d\n" % tube for tube in range(MOST_TUBES)),
    ],
)
def test_a_list_of_tubes_that_cant_be_trusted_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_tube_names(body)


def test_the_servers_id_is_read_in_both_quotings() -> None:
    assert parse_server_id(b"---\npid: 1\nid: 00ff\n") == parse_server_id(b'---\nid: "00ff"\n') == "00ff"
    with pytest.raises(ProtocolError, match="is this a beanstalkd"):
        parse_server_id(b"---\npid: 1\n")
    with pytest.raises(ProtocolError, match="several ids"):
        parse_server_id(b"---\nid: 00ff\nid: 00fe\n")


def test_the_command_for_a_tube_ends_with_its_name() -> None:
    assert stats_tube("a;b") == b"stats-tube a;b\r\n"


def whole(replies: Replies) -> list[bytes | None]:
    read = []
    while (reply := replies.next()) is not None:
        read += reply
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
def test_a_stream_that_isnt_beanstalkds_is_refused_as_soon_as_it_shows(stream: bytes) -> None:
    replies = Replies()
    replies.feed(stream)
    with pytest.raises(ProtocolError):
        whole(replies)


@pytest.mark.parametrize(
    ("stats", "draining"),
    [
        pytest.param(b"---\nid: 0f\ndraining: true\n", True, id="takes no job any more"),
        pytest.param(b"---\nid: 0f\ndraining: false\n", False, id="takes jobs"),
        pytest.param(b"---\nid: 0f\n", None, id="before 1.12"),
        pytest.param(b"---\nhostname: draining: true\n", None, id="a name that says so"),
    ],
)
def test_a_server_says_whether_it_drains(stats: bytes, draining: bool | None) -> None:
    assert parse_draining(stats) is draining


JOBS = (
    b"current-jobs-urgent: 1\ncurrent-jobs-ready: 7\ncurrent-jobs-reserved: 3\ncurrent-jobs-delayed: 2\n"
    b"current-jobs-buried: 9223372036854775807\n"
)


def test_a_server_says_how_many_jobs_it_has() -> None:
    assert parse_job_totals(b"---\n" + JOBS + b"total-jobs: 99\n", AT) == (AT, 7, 3, 2, 9223372036854775807, 99)


@pytest.mark.parametrize("total", [b"", b"total-jobs: -1\n", b"total-jobs: 1\ntotal-jobs: 2\n"])
def test_how_many_it_ever_had_may_be_unknown(total: bytes) -> None:
    assert parse_job_totals(b"---\n" + JOBS + total, AT) == (AT, 7, 3, 2, 9223372036854775807, None)


@pytest.mark.parametrize(
    ("stats", "hostname"),
    [
        pytest.param(b"---\nid: 0f\nhostname: queue-0\nos: x\n", "queue-0", id="before 1.13"),
        pytest.param(b'---\nid: 0f\nhostname: "queue-0"\n', "queue-0", id="since 1.13"),
        pytest.param(b"---\nid: 0f\n", None, id="none"),
        pytest.param(b"---\nhostname: \n", None, id="empty"),
        pytest.param(b"---\nhostname: (none)\n", None, id="no name"),
        pytest.param(b'---\nhostname: "queue-0\n', None, id="half quoted"),
        pytest.param(b"---\nhostname: a\nhostname: b\n", None, id="two"),
        pytest.param(b"---\nhostname: %b\n" % (b"a" * 254), None, id="longer than any"),
        pytest.param(b"---\nos: hostname: a\n", None, id="a system that says so"),
    ],
)
def test_a_server_says_what_its_host_is_called(stats: bytes, hostname: str | None) -> None:
    assert parse_hostname(stats) == hostname


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
def test_a_server_whose_jobs_arent_said_in_one_way_has_no_number_of_them(stats: bytes) -> None:
    assert parse_job_totals(stats, AT) is None
