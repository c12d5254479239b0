"""What an action is asked with: JSON, or a form with a file, as checked values. Every mistake is one sentence."""

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.console.middleware import MAX_BODY

_WHOLE = re.compile(r"[0-9]{1,20}")
_SHOWN = 40


class BadInputError(ValueError):
    """`str()` is a sentence."""


class Fields:
    """By name."""

    def __init__(self, values: Mapping[str, Any], file: bytes | None = None) -> None:
        self._values = values
        self.file = file
        """What was uploaded."""

    def __contains__(self, name: str) -> bool:
        """Whether it was given; null is nothing."""
        return self._values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Raises BadInputError, as all of these do."""
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise BadInputError(f"the {name} must be a text" if name in self else f"the {name} is missing")
        return value

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number, or a text that is one, as a form has it."""
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            shown = json.dumps(value, default=str)[:_SHOWN] if name in self else "nothing"
            raise BadInputError(f"the {name} must be a whole number from {least:,} to {most:,}, and is {shown}")
        return value

    def flag(self, name: str) -> bool:
        """True or not."""
        value = self._values.get(name) or False
        if not isinstance(value, bool):
            raise BadInputError(f"the {name} must be true or false")
        return value

    def choice(self, name: str, among: tuple[str, ...]) -> str:
        """One of several words."""
        value = self.text(name)
        if value not in among:
            raise BadInputError(f"the {name} must be one of {', '.join(among)}, and is {value[:_SHOWN]!r}")
        return value

    def choices(self, name: str, among: tuple[str, ...]) -> list[str]:
        """At least one of several words."""
        value = self._values.get(name)
        if not isinstance(value, list) or not value or not all(each in among for each in value):
            raise BadInputError(f"the {name} must be a list of one or more of {', '.join(among)}")
        return value


async def fields_of(request: Request) -> Fields:
    """Raises BadInputError."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return Fields(_object(await request.body()))
    if media_type == "multipart/form-data":
        return await _form(request)
    raise BadInputError("an action is asked for in JSON, or with a file in multipart/form-data")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInputError("the request isn't JSON") from None
    if not isinstance(value, dict):
        raise BadInputError("the request isn't a JSON object")
    return value


class _InMemory(MultiPartParser):
    spool_max_size = MAX_BODY  # the guard takes no larger request, and a restricted pod has nowhere to write to


async def _form(request: Request) -> Fields:
    try:
        form = await _InMemory(request.headers, request.stream(), max_files=1, max_fields=20).parse()
    except (MultiPartException, KeyError) as error:
        raise BadInputError("the form makes no sense: it has no boundary, several files, or too many fields") from error
    try:
        values = dict(form)
        file = values.pop("file", None)
        return Fields(values, await file.read() if isinstance(file, UploadFile) else None)
    finally:
        await form.close()
