"""Kubernetes' `Status` object: the body of every response that isn't a success.

kubectl prints its message, and the HPA controller repeats it in the HPA's conditions.
Source: k8s.io/apimachinery/pkg/api/errors/errors.go.
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
    "TooManyRequests": 429,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}
"""Reason → HTTP status code."""


class StatusError(Exception):
    """A response other than success; `str()` is its message. Notes (`add_note`) are for the log only."""

    def __init__(
        self, reason: str, message: str, details: Mapping[str, Any] | None = None, code: int | None = None
    ) -> None:
        """`code`: the HTTP status code; None: the reason's."""
        super().__init__(message)
        self.reason = reason
        self.details = details
        self.code = CODES[reason] if code is None else code

    @property
    def content(self) -> Mapping[str, Any]:
        """The `Status` object."""
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(self)}
        details = {} if self.details is None else {"details": self.details}
        return status | {"reason": self.reason} | details | {"code": self.code}
