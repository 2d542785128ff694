"""A small SVG writer: shapes with classes, colours from one palette, readable on light and dark paper."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from duel.reporting import page_file
from duel.reporting.text import xml

MARGIN = 16


@dataclass
class Drawing:
    """A chart of a fixed size in CSS pixels. Every text that is put in is escaped."""

    title: str
    description: str
    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: object, classes: str = "") -> None:
        """Words whose baseline starts at (x, y)."""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{_class(classes)}>{xml(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{_class(classes)}/>')

    def rect(
        self, x: float, y: float, width: float, height: float, classes: str, hint: str = "", opacity: float = 1
    ) -> None:
        """A box; `hint` is shown when it is pointed at."""
        shape = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
        self._shape("rect", shape, classes, hint, opacity)

    def circle(self, x: float, y: float, radius: float, classes: str, hint: str = "", opacity: float = 1) -> None:
        self._shape("circle", f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"', classes, hint, opacity)

    def path(self, points: list[tuple[float, float]], classes: str) -> None:
        if points:
            steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self.parts.append(f'<path d="M{steps}"{_class(classes)}/>')

    def _shape(self, name: str, shape: str, classes: str, hint: str, opacity: float) -> None:
        faint = f' opacity="{opacity:.2f}"' if opacity < 1 else ""
        inside = f"<title>{xml(hint)}</title>" if hint else ""
        self.parts.append(f"<{name} {shape}{_class(classes)}{faint}>{inside}</{name}>")

    def inline(self) -> str:
        """The drawing for a page that brings palette and style itself."""
        return self._svg("", "")

    def file(self) -> str:
        """The drawing as a file of its own: with title and paper, in the colours that the reader's system asks for."""
        light, dark = map(_resolved, _palettes())
        style = f"<style>{light}@media (prefers-color-scheme: dark) {{{dark}}}</style>"
        paper = f'<rect class="paper" x="{-MARGIN}" y="{-MARGIN - 24}" width="100%" height="100%" rx="8"/>'
        heading = f'<text class="strong" x="0" y="-10">{xml(self.title)}</text>'
        return self._svg(style + paper + heading, ' xmlns="http://www.w3.org/2000/svg"', framed=True) + "\n"

    def _svg(self, before: str, attributes: str, framed: bool = False) -> str:
        left, top = (-MARGIN, -MARGIN - 24) if framed else (0, 0)
        width, height = (
            (self.width + 2 * MARGIN, self.height + 2 * MARGIN + 24) if framed else (self.width, self.height)
        )
        size = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
        label = f'role="img" aria-label="{xml(self.title)}: {xml(self.description)}"'
        return f'<svg class="chart"{attributes} {size} {label}>{before}{"".join(self.parts)}</svg>'


@cache
def _palettes() -> list[dict[str, str]]:
    """The colours by name, on light and on dark paper."""
    rows = [line.split() for line in page_file("palette.txt").splitlines() if not line.startswith("#")]
    return [{name: colours[dark] for name, *colours in rows} for dark in (0, 1)]


def page_colours(names: Mapping[str, str] | None = None) -> str:
    """The palette as CSS variables: the system's choice, unless the reader has chosen on the page.

    `names`: only these colours, each under the name that it has on the page.
    """
    light, dark = (
        "".join(
            f"--{(names or {}).get(name, name)}:{value};"
            for name, value in colours.items()
            if name in (names or colours)
        )
        for colours in _palettes()
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def page_style() -> str:
    """The charts' style for a page: the same rules, kept to charts."""
    return re.sub(r"(?m)^([.\w])", r".chart \1", page_file("charts.css"))


def _resolved(palette: dict[str, str]) -> str:
    """The style with its colours written out: not every SVG reader knows CSS variables."""
    return re.sub(r"var\(--([\w-]+)\)", lambda match: palette[match[1]], page_file("charts.css"))


def _class(classes: str) -> str:
    return f' class="{classes}"' if classes else ""
