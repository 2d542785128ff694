"""A small SVG writer: shapes with classes, colours from one palette, readable on light and dark paper."""

import re
from dataclasses import dataclass, field

from duel.reporting.text import xml

# Contrast on its own paper: text colours at least 4.5 : 1, shapes at least 3 : 1 (WCAG 2.2 AA).
LIGHT = {
    "page": "#f7f6f2",
    "paper": "#ffffff",
    "raised": "#fbfaf7",
    "ink": "#1f1e1b",
    "muted": "#66635b",
    "rule": "#e3e0d8",
    "final": "#1b7a5e",
    "refined": "#a86f08",
    "defeat": "#b5473a",
    "none": "#86827a",
    "king": "#7b4d94",
    "challenger": "#2a62b5",
    "king-tint": "#f0e4f6",
    "challenger-tint": "#dfeafa",
    "mark": "#ffe9a8",
    "warn": "#8a2f1d",
    "warn-tint": "#fdeee9",
}
DARK = {
    "page": "#121315",
    "paper": "#191b1e",
    "raised": "#1f2225",
    "ink": "#e8e6e0",
    "muted": "#a3a097",
    "rule": "#32353a",
    "final": "#4fba98",
    "refined": "#d9a441",
    "defeat": "#e37f70",
    "none": "#8b887f",
    "king": "#c4a0de",
    "challenger": "#86aef5",
    "king-tint": "#382a45",
    "challenger-tint": "#1f3355",
    "mark": "#6b5312",
    "warn": "#f2a595",
    "warn-tint": "#3a211b",
}
STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', Inter, Roboto, sans-serif; fill: var(--ink) }
.small { font-size: 11px }
.muted { fill: var(--muted) }
.strong { font-weight: 600 }
.end { text-anchor: end }
.middle { text-anchor: middle }
.rule { stroke: var(--rule); stroke-width: 1 }
.axis { stroke: var(--muted); stroke-width: 1 }
.threshold { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3 }
.line { stroke: var(--challenger); stroke-width: 2; fill: none }
.fill-challenger { fill: var(--challenger) }
.fill-king { fill: var(--king) }
.fill-final { fill: var(--final) }
.fill-refined { fill: var(--refined) }
.fill-defeat { fill: var(--defeat) }
.fill-none { fill: var(--none) }
.paper { fill: var(--paper) }
"""
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
        light, dark = _resolved(LIGHT), _resolved(DARK)
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


def page_colours() -> str:
    """The palette as CSS variables: the system's choice, unless the reader has chosen on the page."""
    light = "".join(f"--{name}:{value};" for name, value in LIGHT.items())
    dark = "".join(f"--{name}:{value};" for name, value in DARK.items())
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def page_style() -> str:
    """The charts' style for a page: the same rules, kept to charts."""
    return re.sub(r"(?m)^([.\w])", r".chart \1", STYLE)


def _resolved(palette: dict[str, str]) -> str:
    """The style with its colours written out: not every SVG reader knows CSS variables."""
    return re.sub(r"var\(--([\w-]+)\)", lambda match: palette[match[1]], STYLE)


def _class(classes: str) -> str:
    return f' class="{classes}"' if classes else ""
