"""What a list is asked for is read, and refused, in Kubernetes' words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.request import MOST_REMEMBERED, check_timeout, list_options
from app.api.status import StatusError


def refused(query: bytes) -> StatusError:
    with pytest.raises(StatusError) as error:
        list_options(query).check()
    return error.value


@pytest.mark.parametrize(
    "query",
    [
        b"limit=1&continue=x&resourceVersion=0&timeoutSeconds=1&allowWatchBookmarks=true&pretty=x&shardSelector=y",
        b"resourceVersion=7&resourceVersionMatch=Exact",
        b"fieldSelector=metadata.name%3Da,metadata.namespace!%3Db",
        b"limit=1;x",
    ],
)
def test_what_changes_nothing_is_accepted(query: bytes) -> None:
    list_options(query).check()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (b"limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        (b"limit=x&timeoutSeconds=y", 'strconv.ParseInt: parsing "y": invalid syntax'),
        (b"labelSelector=%3Dx", "found '=', expected: !, identifier, or 'end of string'"),
        (b"fieldSelector=%29", "invalid selector: ')'; can't understand ')'"),
        (b"fieldSelector=a%3Db", '"a" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        (b"fieldSelector=a%3Db%3Dc", "invalid field selector: unescaped character in value: 61"),
        (rb"fieldSelector=a%3D%5Cb", r"invalid field selector: invalid escape sequence: \b"),
        (rb"fieldSelector=a%3Db%5C", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_what_cant_be_read_is_a_bad_request(query: bytes, message: str) -> None:
    error = refused(query)
    assert (error.code, str(error)) == (400, message)


def test_contradictions_are_told_one_by_one() -> None:
    error = refused(b"resourceVersionMatch=x&sendInitialEvents=1")
    assert error.code == 422
    assert str(error) == (
        'ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden'
        ' unless resourceVersion is provided, resourceVersionMatch: Unsupported value: "x": supported values: "Exact",'
        ' "NotOlderThan", "", sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]'
    )
    assert error.details
    assert [cause["reason"] for cause in error.details["causes"]] == [
        "FieldValueForbidden",
        "FieldValueNotSupported",
        "FieldValueForbidden",
    ]


def test_a_watch_that_contradicts_itself() -> None:
    error = refused(b"watch=1&resourceVersionMatch=Exact")
    assert "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided" in str(error)
    error = refused(b"watch=1&continue=c")
    assert "resourceVersionMatch is forbidden when continue is provided" in str(error)


@pytest.mark.parametrize("selector", [b"%3D", b"!%3D", b"%3D%3D"])
def test_a_condition_on_nothing_is_none(selector: bytes) -> None:
    assert list_options(b"fieldSelector=" + selector).fields == ()


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        (b"metadata.name%3Da", "a"),
        (b"metadata.namespace%3Db,metadata.name%3D%3Da", "a"),
        (rb"metadata.name%3Da%5C%2Cb", "a,b"),
        (b"metadata.name!%3Da", ""),
        (b"metadata.name%3Da%2Fb", ""),
        (b"metadata.name%3D..", ""),
    ],
)
def test_a_field_selector_may_leave_one_name(selector: bytes, name: str) -> None:
    assert list_options(b"fieldSelector=" + selector).name == name


def test_a_bad_timeout_is_refused_and_a_good_one_is_not() -> None:
    check_timeout(b"timeout=1m30s")
    check_timeout(b"timeout=")
    with pytest.raises(StatusError, match='invalid timeout specified in the request URL - time: invalid duration "x"'):
        check_timeout(b"timeout=x")


def test_only_short_queries_are_remembered() -> None:
    assert list_options(b"limit=1") is list_options(b"limit=1")
    long = b"limit=1&x=" + b"a" * MOST_REMEMBERED
    assert list_options(long) is not list_options(long)


@pytest.mark.parametrize("comma", [b",", b"%2c", b"%2C"])
def test_many_conditions_are_not_remembered_because_each_takes_a_hundred_times_its_size(comma: bytes) -> None:
    many = b"labelSelector=a" + comma.join([b"a"] * 20)
    assert list_options(many) == list_options(many)
    assert list_options(many) is not list_options(many)


@given(st.binary(max_size=100))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    for part in (query, b"fieldSelector=" + query, b"labelSelector=" + query):
        try:
            list_options(part).check()
        except StatusError as error:
            assert error.code in {400, 422}  # noqa: PT017 - any other end is a failure
