"""/healthz, /livez and /readyz as in Kubernetes: `ok`, or which check failed; `?verbose` lists all checks.

Source: k8s.io/apiserver/pkg/server/healthz/healthz.go. Unlike there, the reason is shown: people need it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse, Response

from app.api.request import Request

Check = Callable[[], str | None]
"""Returns None, or a sentence that states the problem."""

_NOSNIFF = {"x-content-type-options": "nosniff"}


@dataclass(frozen=True)
class Probe:
    """One of the health paths: `/readyz`, and a path below it for each check."""

    path: str
    checks: Mapping[str, Check]
    warnings: Mapping[str, Check] = field(default_factory=dict)
    """By the same names: problems that don't make the check fail."""

    def all(self, request: Request) -> Response:
        """Return the result of all checks."""
        failures = {name: check() for name, check in self.checks.items()}
        title = self.path.strip("/")
        if not any(failures.values()) and request.parameter("verbose") is None:
            return PlainTextResponse("ok", headers=_NOSNIFF)
        lines = []
        for name, failure in failures.items():
            warning = self.warnings[name]() if name in self.warnings else None
            if failure:
                lines.append(f"[-]{name} failed: {failure}")
            else:
                lines.append(f"[+]{name} ok" + (f", but: {warning}" if warning else ""))
        code, verdict = (500, "failed") if any(failures.values()) else (200, "passed")
        return PlainTextResponse("\n".join([*lines, f"{title} check {verdict}", ""]), code, headers=_NOSNIFF)

    def one(self, name: str) -> Response:
        """Return the result of one check."""
        failure = self.checks[name]()
        if failure is None:
            return PlainTextResponse("ok")
        return PlainTextResponse(f"internal server error: {failure}\n", 500, headers=_NOSNIFF)
