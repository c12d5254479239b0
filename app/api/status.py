"""Kubernetes' `Status`: how every refusal and failure is told, so that kubectl and the HPA controller can repeat it.

Source: k8s.io/apimachinery/pkg/api/errors/errors.go; the words are Kubernetes' where it has words for it.
"""

from collections.abc import Mapping
from typing import Any

CODES: Mapping[str, int] = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "NotAcceptable": 406,
    "Conflict": 409,
    "UnsupportedMediaType": 415,
    "Invalid": 422,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}
"""Reason → HTTP status code."""


class StatusError(Exception):
    """An answer that isn't a value; `str()` is its message."""

    def __init__(self, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.details = details
        self.is_about_access = reason == "Forbidden"
        """Such an answer no browser may take for anything else."""

    @property
    def content(self) -> Mapping[str, Any]:
        """The `Status` object."""
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(self)}
        details = {} if self.details is None else {"details": self.details}
        return status | {"reason": self.reason} | details | {"code": self.code}

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
