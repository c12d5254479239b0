"""A picture of the terminal as an SVG that any page can show: no fonts from elsewhere, bars as shapes. Pure."""

import re
from html import unescape
from io import StringIO

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

from scripts.lib.demo_bars import EIGHTHS

_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_LETTERS = "Fira Code, monospace"
_MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_TEXT = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="(?P<width>[\d.]+)"[^>]*>'
    r"(?P<text>[^<]*)</text>"
)
_CELL_HEIGHT, _BASELINE = 24.4, 18.5
"""Of a line in rich's SVG, in its units; the baseline from the line's upper edge."""


def svg(picture: RenderableType, width: int, title: str) -> str:
    """The picture as SVG, `width` characters wide."""
    console = Console(record=True, width=width, file=StringIO(), color_system="truecolor", force_terminal=True)
    console.print(picture)
    drawn = console.export_svg(title=title, theme=_THEME, unique_id="demo")
    drawn = _FONT_FACE.sub("", drawn).replace(_LETTERS, _MONOSPACE)
    return _TEXT.sub(_bars_as_shapes, drawn)


def _bars_as_shapes(text: re.Match[str]) -> str:
    """A piece of a bar chart as a path: fonts draw block characters with gaps between the lines, each its own."""
    characters = unescape(text["text"]).replace("\N{NO-BREAK SPACE}", " ")
    if not characters.strip() or set(characters) - set(EIGHTHS):
        return text[0]
    left, bottom = float(text["x"]), float(text["y"]) - _BASELINE + _CELL_HEIGHT
    cell = float(text["width"]) / len(characters)
    heights = [EIGHTHS.index(character) * _CELL_HEIGHT / 8 for character in characters]
    path = "".join(
        f"M{left + number * cell:.1f} {bottom:.1f}v-{height:.1f}h{cell:.1f}V{bottom:.1f}z"
        for number, height in enumerate(heights)
        if height
    )
    return f'<path class="{text["style"]}" shape-rendering="crispEdges" d="{path}"/>'


_THEME = TerminalTheme(
    (24, 26, 31),
    (215, 218, 224),
    [
        (60, 64, 72),
        (224, 108, 117),
        (125, 195, 95),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (215, 218, 224),
    ],
)
