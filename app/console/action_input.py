"""The parameters of an action or a job query, as checked values: from JSON, a form with a file, or the query string.

All methods raise RequestError, with a clause that names the parameter.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.beanstalkd.protocol import check_tube_name
from app.beanstalkd.reading import TubeRef
from app.console.errors import RequestError
from app.console.middleware import MAX_BODY, media_type
from app.jobs.actions import MAX_SECONDS
from app.settings import Server

type Servers = Mapping[str, Server]
"""Configured name → server."""

PRIORITY, TTR_S = 65536, 60
"""Defaults of most clients, greenstalk among them."""
MAX_ID = 2**64 - 1
_INTEGER = re.compile(r"[0-9]{1,20}")
_SHOWN = 40
"""Characters of an invalid value that an error quotes."""


class ActionInput:
    """Parameters by name."""

    def __init__(self, values: Mapping[str, Any], file: bytes | None = None) -> None:
        self._values = values
        self.file = file
        """The uploaded file."""

    def __contains__(self, name: str) -> bool:
        """Return True if the parameter is present and not null."""
        return self._values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise RequestError(f"{name} must be a string" if name in self else f"{name} is missing")
        return value

    def integer(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Return an integer, from a number or from a string of digits, as forms send it."""
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            shown = json.dumps(value, default=str)[:_SHOWN] if name in self else "missing"
            raise RequestError(f"{name} must be an integer from {least:,} to {most:,}, and is {shown}")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; False if it is missing."""
        value = self._values.get(name) or False
        if not isinstance(value, bool):
            raise RequestError(f"{name} must be true or false")
        return value

    def choice(self, name: str, among: tuple[str, ...]) -> str:
        """Return one of several words."""
        value = self.text(name)
        if value not in among:
            raise RequestError(f"{name} must be one of {', '.join(among)}, and is {value[:_SHOWN]!r}")
        return value

    def choices(self, name: str, among: tuple[str, ...]) -> list[str]:
        """Return one or more of several words."""
        value = self._values.get(name)
        if not isinstance(value, list) or not value or not all(each in among for each in value):
            raise RequestError(f"{name} must be a list of one or more of {', '.join(among)}")
        return value

    def server(self, servers: Servers, name: str = "server", default: str | None = None) -> Server:
        """Return a configured server by its name."""
        server = self.text(name, default)
        if server not in servers:
            raise RequestError(f"no beanstalkd named {server[:63]!r} is configured")
        return servers[server]

    def tube_ref(self, servers: Servers, tube: str = "tube") -> TubeRef:
        """Return the tube of parameter `tube` on the server of parameter `server`. Raises TubeNameError too."""
        return TubeRef(self.server(servers), check_tube_name(self.text(tube)))

    def priority(self) -> int:
        """Return the priority of a new job."""
        return self.integer("priority", 0, MAX_SECONDS, PRIORITY)

    def delay_s(self) -> int:
        """Return the delay of a new job."""
        return self.integer("delay", 0, MAX_SECONDS, 0)

    def ttr_s(self) -> int:
        """Return the time to run of a new job."""
        return self.integer("ttr", 1, MAX_SECONDS, TTR_S)

    def body(self) -> bytes:
        """Return the body of a new job, from exactly one of body, bodyHex and file."""
        if [self.file is not None, "body" in self, "bodyHex" in self].count(True) != 1:
            raise RequestError("a job has one body: send body, bodyHex or a file")
        if self.file is not None:
            return self.file
        if "body" in self:
            try:
                return self.text("body").encode()
            except UnicodeEncodeError:
                raise RequestError("body contains a lone surrogate, which has no UTF-8 encoding") from None
        digits = self.text("bodyHex")
        try:
            return bytes.fromhex(digits)
        except ValueError:
            raise RequestError("bodyHex must be pairs of hex digits") from None


async def action_input(request: Request) -> ActionInput:
    """Return the parameters in the body. Raises RequestError."""
    sent = media_type(request.headers)
    if sent == "multipart/form-data":
        return await _form(request)
    if sent != "application/json":
        raise RequestError("an action requires application/json, or multipart/form-data with a file")
    try:
        value = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestError("the request isn't JSON") from None
    if not isinstance(value, dict):
        raise RequestError("the request isn't a JSON object")
    return ActionInput(value)


class _InMemory(MultiPartParser):
    spool_max_size = MAX_BODY  # the middleware admits nothing larger, and a restricted pod has no writable disk


async def _form(request: Request) -> ActionInput:
    try:
        form = await _InMemory(request.headers, request.stream(), max_files=1, max_fields=20).parse()
    except (MultiPartException, KeyError) as error:
        raise RequestError("invalid form: no boundary, several files, or too many fields") from error
    try:
        values = dict(form)
        file = values.pop("file", None)
        return ActionInput(values, await file.read() if isinstance(file, UploadFile) else None)
    finally:
        await form.close()
