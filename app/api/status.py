"""Kubernetes' `Status`: how every refusal and failure is told, so that kubectl and the HPA controller can repeat it.

Source: k8s.io/apimachinery/pkg/api/errors/errors.go; the words are Kubernetes' where it has words for it.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

CODES: Mapping[str, int] = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "Conflict": 409,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}
"""Reason → HTTP status code."""


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class StatusError(Exception):
    """An answer that isn't a value; `str()` is its message."""

    def __init__(self, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.details = details

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return CODES[self.reason]


def not_found() -> StatusError:
    """A path that isn't served."""
    return StatusError("NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> StatusError:
    """A path that is served, but not for this method."""
    return StatusError("MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def status_response(error: StatusError) -> Response:
    """The error as a `Status` object."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(error)}
    body["reason"] = error.reason
    response = json_response(
        body | ({} if error.details is None else {"details": error.details}) | {"code": error.code}
    )
    response.status_code = error.code
    if error.reason == "Forbidden":
        response.headers["x-content-type-options"] = "nosniff"
    return response


def json_response(value: Any) -> Response:
    """A JSON answer, compact and with a line end, as Kubernetes writes it."""
    return Response(_encode(value) + "\n", media_type="application/json")
