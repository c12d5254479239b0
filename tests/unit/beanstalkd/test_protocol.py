"""An answer of beanstalkd is taken whole and true, or not at all."""

from operator import attrgetter

import pytest

from app.beanstalkd.protocol import (
    MAX_STATS,
    MAX_TUBES,
    InvalidFieldError,
    ProtocolError,
    ReplyParser,
    TubeStats,
    body_of,
    parse_draining,
    parse_job_totals,
    parse_server_id,
    parse_stats,
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
    assert parse_stats(b"---\n" + b"".join([*reversed(others), first])) == parse_stats(JOBS)


@pytest.mark.parametrize("value", [3, -3, 2**64 - 1, "two", "", "2.5", "3\nnew-field: 4"])
def test_fields_that_later_versions_add_are_ignored(value: object) -> None:
    tube = parse_tube(stats(new_field=value), "checkout", AT)
    assert (type(tube), tube[2:-1]) == (TubeStats, tuple(FIELDS.values()))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (stats('"other"'), "about tube 'other'"),
        (stats(""), "about tube 'none'"),
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


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("current-waiting", 2**64 - 1, "counter below zero (18446744073709551615), but no job is lost; it is right"),
        ("current-waiting", 2**64 - 70_000, "counter below zero"),
        ("current-waiting", 2**32 - 1, "counter below zero (4294967295)"),
        ("current-watching", 2**32 - 7, "counter below zero"),
        ("current-using", 2**31, "counter below zero"),
        ("current-jobs-ready", 2**32 - 2, "counter below zero"),
        ("current-jobs-buried", 2**32 - 2**16, "counter below zero"),
        ("current-jobs-urgent", -1, "counter below zero (-1)"),
        ("total-jobs", 10**19, "counter below zero"),
        ("pause", -1, "counter below zero"),
        ("pause-time-left", -(10**19), "counter below zero"),
        ("cmd-delete", None, "sent no such field; check that this is a beanstalkd"),
        ("current-jobs-ready", None, "sent no such field; check that this is a beanstalkd"),
        ("current-jobs-ready", "", "'' is not an integer"),
        ("current-jobs-ready", "two", "'two' is not an integer"),
        ("current-jobs-ready", "1_0", "'1_0' is not an integer"),
        ("current-jobs-ready", "2.5", "'2.5' is not an integer"),
        ("current-jobs-ready", "02", "'02' is not an integer"),
        ("current-jobs-ready", "-0", "'-0' is not an integer"),
        ("current-jobs-ready", "2\ncurrent-jobs-ready: 2", "sent more than once"),
        ("current-jobs-ready", "2\ncurrent-jobs-ready: many", "sent more than once"),
    ],
)
def test_an_invalid_field_is_an_error_where_it_is_used_and_nowhere_else(
    field: str, value: object, problem: str
) -> None:
    tube = parse_tube(stats(**{field: value}), "checkout", AT)
    for key, sent in FIELDS.items():
        attribute = key.replace("-", "_")
        if key != field:
            assert getattr(tube, attribute) == sent
            continue
        with pytest.raises(InvalidFieldError) as used:
            getattr(tube, attribute)
        assert str(used.value).startswith(f"no valid {field} for tube 'checkout': {problem}")
    again = tube._replace(name="other")
    assert (again.name, again.answered_at) == ("other", AT)
    with pytest.raises(InvalidFieldError, match="tube 'other'"):
        attrgetter(field.replace("-", "_"))(again)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("current-using", 2**31 - 1),
        ("current-jobs-ready", 2**31),
        ("current-jobs-ready", 2**32 - 2**16 - 1),
        ("current-jobs-ready", 2**32),
        ("current-jobs-reserved", 2**63 - 1),
        ("total-jobs", 2**32 - 1),
        ("cmd-delete", 10**19 - 1),
        ("cmd-pause-tube", 2**32 - 1),
        ("pause", 2**32 - 1),
        ("pause-time-left", 2**32 - 1),
    ],
)
def test_a_great_number_that_can_be_true_is_valid(field: str, value: int) -> None:
    assert getattr(parse_tube(stats(**{field: value}), "checkout", AT), field.replace("-", "_")) == value


def test_the_list_of_tubes_is_parsed_in_both_quotings() -> None:
    assert parse_tube_names(b'---\n- default\n- "a/b"\n') == ("default", "a/b")


def test_a_second_field_is_noticed_whatever_the_tubes_name() -> None:
    with pytest.raises(InvalidFieldError, match="more than once"):
        _ = parse_tube(stats("7") + b"current-jobs-ready: many\n", "7", AT).current_jobs_ready


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
    with pytest.raises(ProtocolError, match=r"beanstalkd 1.4.6 is too old: needs 1.9 or later"):
        parse_server_id(b"---\npid: 1\nversion: 1.4.6\n")
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
    assert parse_draining(parse_stats(stats)) is draining


JOBS = (
    b"current-jobs-urgent: 1\ncurrent-jobs-ready: 7\ncurrent-jobs-reserved: 3\ncurrent-jobs-delayed: 2\n"
    b"current-jobs-buried: 9223372036854775807\njob-timeouts: 5\n"
)


def test_a_servers_number_of_jobs_is_parsed() -> None:
    stats = parse_stats(b"---\n" + JOBS + b"total-jobs: 99\n")
    assert parse_job_totals(stats, AT) == (AT, 7, 3, 2, 9223372036854775807, 5)


@pytest.mark.parametrize(
    ("stats", "invalid"),
    [
        pytest.param(JOBS + b"current-jobs-buried: 1\n", "buried", id="one of them twice"),
        pytest.param(JOBS.replace(b": 3", b": -3"), "reserved", id="fewer than none"),
        pytest.param(JOBS.replace(b": 3", b": 18446744073709551615"), "reserved", id="fewer than none, unsigned"),
        pytest.param(JOBS.replace(b": 3", b": 4294967295"), "reserved", id="fewer than none, in 32 bits"),
        pytest.param(JOBS.replace(b": 2", b": 2.0"), "delayed", id="no whole number"),
        pytest.param(JOBS.replace(b"job-timeouts: 5\n", b""), "timeouts", id="missing"),
    ],
)
def test_an_invalid_number_of_jobs_is_unknown_and_the_others_are_parsed(stats: bytes, invalid: str) -> None:
    right = parse_job_totals(parse_stats(b"---\n" + JOBS), AT)
    assert parse_job_totals(parse_stats(b"---\n" + stats), AT) == right._replace(**{invalid: None})


def test_a_name_that_looks_like_numbers_of_jobs_is_none() -> None:
    assert parse_job_totals(parse_stats(b"---\nhostname: " + JOBS.replace(b"\n", b" ")), AT) == (
        AT,
        None,
        None,
        None,
        None,
        None,
    )
