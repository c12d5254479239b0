"""Whole documents as Go's file server gives them: once, and then only what has changed, or the part that is asked for.

Several ranges at once get the whole, which a server may always give. Source: Go's net/http/fs.go (ServeContent).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.responses import PlainTextResponse, Response

from app.api.negotiation import JSON, Wishes

_RANGE = re.compile(r"(?P<first>\d*)[ \t]*-[ \t]*(?P<last>\d*)", re.ASCII)
_UNIT = "bytes="


@dataclass(frozen=True, slots=True)
class Document:
    """A version of one."""

    body: bytes
    etag: str
    """In quotes."""
    modified_at: datetime
    """In UTC, a whole second."""


def served(document: Document, wishes: Wishes) -> Response:
    """The document, a part of it, or that there is nothing to send."""
    headers = {"etag": document.etag, "last-modified": format_datetime(document.modified_at, usegmt=True)}
    if _is_another(document, wishes):
        return Response(status_code=412, headers=headers, media_type=JSON)
    if _is_known(document, wishes):
        return Response(status_code=304, headers={"etag": document.etag})
    headers["accept-ranges"] = "bytes"
    wanted = _range(document, wishes)
    if isinstance(wanted, Response):
        return wanted
    if wanted == range(len(document.body)):
        return Response(document.body, headers=headers, media_type=JSON)
    headers["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(document.body)}"
    return Response(document.body[wanted.start : wanted.stop], 206, headers, media_type=JSON)


def _is_another(document: Document, wishes: Wishes) -> bool:
    """Whether the client wants a version that this isn't."""
    if required := wishes.header(b"if-match"):
        return not {tag.strip() for tag in required.split(",")} & {"*", document.etag}
    date = _date(wishes.header(b"if-unmodified-since"))
    return date is not None and document.modified_at > date


def _is_known(document: Document, wishes: Wishes) -> bool:
    """Whether the client has it already."""
    if known := wishes.header(b"if-none-match"):
        return bool({tag.strip().removeprefix("W/") for tag in known.split(",")} & {"*", document.etag})
    date = _date(wishes.header(b"if-modified-since"))
    return date is not None and document.modified_at <= date


def _date(header: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # no date, or one beyond all calendars
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _range(document: Document, wishes: Wishes) -> range | Response:
    """Which bytes are asked for, or why none can be had."""
    whole = range(len(document.body))
    asked = wishes.header(b"range")
    if not asked or _is_for_another(document, wishes.header(b"if-range")):
        return whole
    try:
        found = list(_ranges(asked, len(whole)))
    except ValueError:
        return PlainTextResponse("invalid range\n", 416, {"x-content-type-options": "nosniff"})
    wanted = list(filter(None, found))
    if found and not wanted:
        nowhere = {"x-content-type-options": "nosniff", "content-range": f"bytes */{len(whole)}"}
        return PlainTextResponse("invalid range: failed to overlap\n", 416, nowhere)
    return wanted[0] if len(wanted) == 1 else whole


def _is_for_another(document: Document, if_range: str) -> bool:
    return bool(if_range) and if_range != document.etag and _date(if_range) != document.modified_at


def _ranges(header: str, length: int) -> Iterator[range]:
    """Each range, empty where it is behind the end. Raises ValueError."""
    if not header.startswith(_UNIT):
        raise ValueError(header)
    for part in filter(None, map(str.strip, header.removeprefix(_UNIT).split(","))):
        found = _RANGE.fullmatch(part)
        if not found or not (found["first"] or found["last"]):
            raise ValueError(header)
        yield _bytes_of(found, length)


def _bytes_of(found: re.Match[str], length: int) -> range:
    if not found["first"]:
        return range(max(0, length - int(found["last"])), length)
    first = int(found["first"])
    if first >= length:
        return range(0)
    last = int(found["last"] or length)
    if last < first:
        raise ValueError(found["last"])
    return range(first, min(last + 1, length))
