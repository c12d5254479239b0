"""Templates and static files, both read once; every value that a template shows is escaped."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse, Response

from app.text import duration

_HERE = Path(__file__).parent
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class Static:
    """Files under one version of all of them, so that modules find each other and a browser may keep them for good."""

    files: Mapping[str, bytes]
    """By path."""
    version: str

    @classmethod
    def of(cls, folder: Path) -> "Static":
        """Those of a folder of which we know what they are."""
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.suffix in _MEDIA_TYPES
        }
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return cls(files, digest.hexdigest()[:16])

    def answer(self, version: str, name: str) -> Response:
        """One file; 404 for what isn't there or was another version's."""
        content = self.files.get(name)
        if content is None or version != self.version:
            return Response("there is no such file\n", status_code=404, media_type="text/plain")
        return Response(content, headers=_FOR_EVER, media_type=_MEDIA_TYPES[Path(name).suffix])


class Rendering:
    """The pages' HTML."""

    def __init__(self, prefix: str, static: Static, **always: Any) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"duration": duration, "known": known}
        self._environment.globals |= {
            "prefix": prefix,
            "static": lambda name: f"{prefix}/static/{static.version}/{name}",
            **always,
        }

    def page(
        self, template: str, http_status: int = 200, headers: Mapping[str, str] | None = None, **context: Any
    ) -> Response:
        """A whole page."""
        html = self._environment.get_template(f"{template}.html").render(page=template, **context)
        return HTMLResponse(html, status_code=http_status, headers=headers)


def static_files() -> Static:
    """Ours."""
    return Static.of(_HERE / "static")


def known(value: float | None) -> str:
    """A number as people read it: `12,345`, or `unknown`."""
    if value is None:
        return "unknown"
    if isinstance(value, int):
        return f"{value:,}"
    return "< 0.1" if 0 < value < 0.05 else f"{value:,.1f}"
