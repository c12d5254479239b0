"""/livez and /readyz as Kubernetes serves them: `ok`, or which check failed; `?verbose`, `?exclude=`, and one by one.

Source: k8s.io/apiserver/pkg/server/healthz/healthz.go. Unlike there the reason isn't withheld: it holds no secret, and
people need it.
"""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, Response

from app.api.status import not_found

Check = Callable[[], str | None]
"""None, or a sentence that says what is wrong."""

_PLAIN = {"x-content-type-options": "nosniff"}


class Probe:
    """One of the health paths: `/readyz`, and a path below it for each check."""

    def __init__(self, path: str, checks: Mapping[str, Check]) -> None:
        self.path = path
        self._checks = checks

    def answer(self, path: str, query: bytes) -> Response:
        """The probe as a whole or one of its checks. Raises StatusError 404."""
        name = path.removeprefix(self.path).strip("/")
        options = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        if not name:
            excluded = set(options.get("exclude", ()))
            return self._all(excluded, verbose="verbose" in options)
        if name not in self._checks:
            raise not_found()
        failure = self._checks[name]()
        return _text(200, "ok") if failure is None else _text(500, f"internal server error: {failure}\n")

    def _all(self, excluded: set[str], *, verbose: bool) -> Response:
        lines, failed = [], []
        for name, check in self._checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif (failure := check()) is None:
                lines.append(f"[+]{name} ok")
            else:
                lines.append(f"[-]{name} failed: {failure}")
                failed.append(name)
        lines += [f"warn: no check named {name!r} to exclude" for name in sorted(excluded - self._checks.keys())]
        title = self.path.strip("/")
        if failed:
            return _text(500, "\n".join([*lines, f"{title} check failed", ""]))
        return _text(200, "\n".join([*lines, f"{title} check passed", ""]) if verbose else "ok")


def _text(code: int, text: str) -> Response:
    return PlainTextResponse(text, code, headers=_PLAIN)
