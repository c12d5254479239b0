"""/healthz, /livez and /readyz as in Kubernetes: `ok`, or which check failed; `?verbose` lists all checks.

Anonymous clients don't get reasons, which name addresses and beanscale's permissions: those are in the log.
Source: k8s.io/apiserver/pkg/server/healthz/healthz.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse, Response

from app.api.request import Request

Check = Callable[[], str | None]
"""Returns None, or a sentence that states the problem."""

_WITHHELD = "see the beanscale server log"
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
        failed = any(failures.values())
        if not failed and request.parameter("verbose") is None:
            return PlainTextResponse("ok", headers=_NOSNIFF)
        lines = []
        for name, failure in failures.items():
            warning = None if failure or name not in self.warnings else self.warnings[name]()
            reason = failure or warning if request.is_authenticated else _WITHHELD
            if failure:
                lines.append(f"[-]{name} failed: {reason}")
            else:
                lines.append(f"[+]{name} ok, but: {reason}" if warning else f"[+]{name} ok")
        title, verdict = self.path.strip("/"), "failed" if failed else "passed"
        text = "\n".join([*lines, f"{title} check {verdict}", ""])
        return PlainTextResponse(text, 500 if failed else 200, headers=_NOSNIFF)

    def one(self, name: str, request: Request) -> Response:
        """Return the result of one check."""
        failure = self.checks[name]()
        if failure is None:
            return PlainTextResponse("ok")
        reason = failure if request.is_authenticated else _WITHHELD
        return PlainTextResponse(f"internal server error: {reason}\n", 500, headers=_NOSNIFF)
