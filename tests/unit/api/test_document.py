"""A document goes out whole, in part, or not at all, as the client's conditions have it."""

from datetime import UTC, datetime

import pytest

from app.api.document import Document, served
from app.api.negotiation import Wishes

DOCUMENT = Document(b"0123456789", '"abc"', datetime(2026, 7, 1, 12, tzinfo=UTC))
BEFORE, THEN, AFTER = (f"Wed, 01 Jul 2026 {hour}:00:00 GMT" for hour in (11, 12, 13))


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        ({}, 200),
        ({"if-match": '"abc"'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-match": 'W/"abc"'}, 412),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": THEN}, 200),
        ({"if-unmodified-since": "yesterday"}, 200),
        ({"if-unmodified-since": "Wed, 01 Jul 99999999999999999999 12:00:00 GMT"}, 200),
        ({"if-modified-since": "Wed, 01 Jul 2026 12:00:00 +99999999999999"}, 200),
        ({"if-match": '"abc"', "if-unmodified-since": BEFORE}, 200),
        ({"if-none-match": '"other", W/"abc"'}, 304),
        ({"if-none-match": '"other"', "if-modified-since": AFTER}, 200),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": AFTER}, 304),
        ({"if-none-match": '"abc"', "range": "bytes=0-1"}, 304),
    ],
)
def test_conditions_are_heeded(conditions: dict[str, str], code: int) -> None:
    assert served(DOCUMENT, wishes(conditions)).status_code == code


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=2-4", b"234"),
        ("bytes=8-", b"89"),
        ("bytes=-3", b"789"),
        ("bytes=-99", b"0123456789"),
        ("bytes= 5 - 99 ,", b"56789"),
        ("bytes=0-1,4-5", b"0123456789"),
        ("bytes=0-1,20-", b"01"),
        ("bytes=,", b"0123456789"),
    ],
)
def test_a_part_can_be_had(wanted: str, part: bytes) -> None:
    answer = served(DOCUMENT, wishes({"range": wanted}))
    assert answer.body == part
    assert answer.status_code == (200 if len(part) == 10 else 206)
    assert ("content-range" in answer.headers) == (len(part) < 10)


@pytest.mark.parametrize("wanted", ["x", "bytes=x", "bytes=-", "bytes=4-2", "bytes=10-", "lines=1-2"])
def test_a_part_that_is_not_there_can_not(wanted: str) -> None:
    answer = served(DOCUMENT, wishes({"range": wanted}))
    assert answer.status_code == 416
    assert bytes(answer.body).startswith(b"invalid range")


@pytest.mark.parametrize(("if_range", "code"), [('"abc"', 206), ('"other"', 200), (THEN, 206), (AFTER, 200)])
def test_a_part_of_another_version_is_of_no_use(if_range: str, code: int) -> None:
    assert served(DOCUMENT, wishes({"range": "bytes=0-1", "if-range": if_range})).status_code == code


def wishes(headers: dict[str, str]) -> Wishes:
    return Wishes.of(b"", [(name.encode(), value.encode()) for name, value in headers.items()])
