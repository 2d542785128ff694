"""A small SVG writer: shapes with classes, colours from one palette, readable on light and dark paper."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from duel.reporting import page_file
from duel.reporting.text import xml

MARGIN, TITLE = 16, 24
"""Pixels around a drawing that is a file of its own, and for the title above it."""


@dataclass
class Drawing:
    """A chart of a fixed size in CSS pixels. Every text that is put in is escaped; `hint` shows when pointed at."""

    title: str
    description: str
    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: object, classes: str = "") -> None:
        """Words whose baseline starts at (x, y)."""
        self._shape("text", f'x="{x:.1f}" y="{y:.1f}"', classes, xml(words))

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str) -> None:
        self._shape("line", f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"', classes)

    def rect(
        self, x: float, y: float, width: float, height: float, classes: str, hint: str = "", opacity: float = 1
    ) -> None:
        shape = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
        self._shape("rect", shape, classes, f"<title>{xml(hint)}</title>" * bool(hint), opacity)

    def circle(self, x: float, y: float, radius: float, classes: str, hint: str = "") -> None:
        shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
        self._shape("circle", shape, classes, f"<title>{xml(hint)}</title>" * bool(hint))

    def path(self, points: list[tuple[float, float]], classes: str) -> None:
        if points:
            steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self._shape("path", f'd="M{steps}"', classes)

    def _shape(self, name: str, shape: str, classes: str, inside: str | None = None, opacity: float = 1) -> None:
        told = (f' class="{classes}"' if classes else "") + (f' opacity="{opacity:.2f}"' if opacity < 1 else "")
        self.parts.append(f"<{name} {shape}{told}/>" if inside is None else f"<{name} {shape}{told}>{inside}</{name}>")

    def inline(self) -> str:
        """The drawing for a page that brings palette and style itself."""
        return self._svg(f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"')

    def file(self) -> str:
        """The drawing as a file of its own: with title and paper, in the colours that the reader's system asks for."""
        # Colours are written out: not every SVG reader knows CSS variables.
        light, dark = (_resolved(page_file("charts.css"), colours) for colours in _palettes())
        style = f"<style>{light}@media (prefers-color-scheme: dark) {{{dark}}}</style>"
        left, top = -MARGIN, -MARGIN - TITLE
        width, height = self.width + 2 * MARGIN, self.height + 2 * MARGIN + TITLE
        paper = f'<rect class="paper" x="{left}" y="{top}" width="100%" height="100%" rx="8"/>'
        heading = f'<text class="strong" x="0" y="-10">{xml(self.title)}</text>'
        size = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
        return self._svg(f'xmlns="http://www.w3.org/2000/svg" {size}', style + paper + heading) + "\n"

    def _svg(self, attributes: str, before: str = "") -> str:
        label = f'role="img" aria-label="{xml(self.title)}: {xml(self.description)}"'
        return f'<svg class="chart" {attributes} {label}>{before}{"".join(self.parts)}</svg>'


@cache
def _palettes() -> list[dict[str, str]]:
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


def _resolved(css: str, colours: Mapping[str, str]) -> str:
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], css)


def page_style() -> str:
    """The charts' style for a page: the same rules, kept to charts."""
    return re.sub(r"(?m)^([.\w])", r".chart \1", page_file("charts.css"))
