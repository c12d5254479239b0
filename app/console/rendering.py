"""Templates and static files, read once at start. Templates escape every value."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.text import duration, known

_HERE = Path(__file__).parent
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class StaticFiles:
    """Static files below a version of all of them, so that browsers may cache them forever."""

    def __init__(self) -> None:
        folder = _HERE / "static"
        self._files: Mapping[str, bytes] = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _MEDIA_TYPES
        }
        digest = hashlib.sha256()
        for name, content in self._files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = digest.hexdigest()[:16]

    async def serve(self, request: Request) -> Response:
        """GET /static/{version}/{name}: one file; 404 for another version."""
        name = request.path_params["name"]
        content = self._files.get(name)
        if content is None or request.path_params["version"] != self.version:
            return Response("No such file.\n", status_code=404, media_type="text/plain")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(content, headers=headers, media_type=_MEDIA_TYPES[Path(name).suffix])


class Rendering:
    """The pages' HTML. Thread-safe."""

    def __init__(self, prefix: str, static: StaticFiles, **always: Any) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"duration": duration, "known": known, "lateness": lateness, "note": note}
        self._environment.globals |= {
            "prefix": prefix,
            "static": lambda name: f"{prefix}/static/{static.version}/{name}",
            **always,
        }

    def page(self, template: str, http_status: int = 200, **context: Any) -> Response:
        """Return a whole page."""
        html = self._environment.get_template(f"{template}.html").render(page=template, **context)
        return HTMLResponse(html, status_code=http_status)


def note(code: str) -> str:
    """Return the words of a note, as static/words.js does."""
    return {"needs-rule": "needs a rule", "only-delayed": "only delayed jobs"}.get(code, code.replace("-", " "))


def lateness(source: Mapping[str, Any]) -> str:
    """Return clauses about a server, or the cluster, that is late, as static/words.js does."""
    age_s, failure = source["ageSeconds"], source["failure"]
    why = f"can't be read: {failure}" if failure else "waiting for the first poll" if age_s is None else "doesn't reply"
    return f"{why} · {'never read' if age_s is None else f'last read {duration(max(1, age_s))} ago'}"
