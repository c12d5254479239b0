"""/healthz, /livez and /readyz as Kubernetes serves them: `ok`, or which check failed; `?verbose`, `?exclude=`, or one.

Source: k8s.io/apiserver/pkg/server/healthz/healthz.go. Unlike there the reason isn't withheld: it holds no secret, and
people need it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from starlette.responses import PlainTextResponse, Response

from app.api.negotiation import Wishes
from app.go_syntax import parse_query, quote

Check = Callable[[], str | None]
"""None, or a sentence that says what is wrong."""

_NO_REMARKS: Mapping[str, Check] = MappingProxyType({})
_PLAIN = {"x-content-type-options": "nosniff"}


class Probe:
    """One of the health paths: `/readyz`, and a path below it for each check."""

    def __init__(self, path: str, checks: Mapping[str, Check], remarks: Mapping[str, Check] = _NO_REMARKS) -> None:
        """`remarks`, by the same names: what is worth knowing while all is well."""
        self.path = path
        self.checks = checks
        self.remarks = remarks

    @property
    def paths(self) -> Mapping[str, Callable[[Wishes], Response]]:
        """Each path, and what answers there."""
        return {self.path: self._all} | {
            f"{self.path}/{name}": partial(_one, check) for name, check in self.checks.items()
        }

    def _all(self, wishes: Wishes) -> Response:
        options = parse_query(wishes.query)
        excluded = set(options.get("exclude", ()))
        lines, failed = [], []
        for name, check in self.checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif (failure := check()) is None:
                remark = self.remarks[name]() if name in self.remarks else None
                lines.append(f"[+]{name} ok" + (f", but: {remark}" if remark else ""))
            else:
                lines.append(f"[-]{name} failed: {failure}")
                failed.append(name)
        if unknown := sorted(excluded - self.checks.keys()):
            names = ",".join(map(quote, unknown))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
        title = self.path.strip("/")
        if failed:
            return _text(500, "\n".join([*lines, f"{title} check failed", ""]))
        return _text(200, "\n".join([*lines, f"{title} check passed", ""]) if "verbose" in options else "ok")


def _one(check: Check, _: Wishes) -> Response:
    failure = check()
    return PlainTextResponse("ok") if failure is None else _text(500, f"internal server error: {failure}\n")


def _text(code: int, text: str) -> Response:
    return PlainTextResponse(text, code, headers=_PLAIN)
